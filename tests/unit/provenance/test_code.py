"""The digest of a rule's code follows what it imports and nothing else."""

import ast
import hashlib
import os
import shutil
import subprocess

import pytest

from mbhseg.provenance import code, environment

COMMENTED = '''"""Other."""
from mbhseg import third

def f():
    """Other words."""
    return 1  # one
'''


@pytest.fixture
def tree(tmp_path):
    files = {
        "workflow_scripts/one.py": "from mbhseg import first\nfrom mbhseg.sub.deep import name\n",
        "workflow_scripts/two.py": "import mbhseg.second as s\n",
        "mbhseg/__init__.py": "",
        "mbhseg/first.py": "from mbhseg import third\n\ndef f():\n    return 1\n",
        "mbhseg/second.py": "x = 2\n",
        "mbhseg/third.py": "def g():\n    from . import fourth\n    return fourth\n",
        "mbhseg/fourth.py": "y = 4\n",
        "mbhseg/sub/__init__.py": "",
        "mbhseg/sub/deep.py": "from .other import z as name\n",
        "mbhseg/sub/other.py": "z = 1\n",
        "mbhseg/sub/templates/page.html": "<p>one</p>",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def forget():
    for name in ("code_digest", "_tree", "_file_digest", "_imports", "_data_files"):
        getattr(code, name).cache_clear()


def digests(tree):
    forget()
    return [
        code.code_digest(tree / "workflow_scripts" / f"{name}.py", tree) for name in ("one", "two")
    ]


@pytest.mark.parametrize(
    ("name", "text", "changes"),
    [
        ("mbhseg/first.py", "from mbhseg import third\n\ndef f():\n    return 2\n", (True, False)),
        ("mbhseg/third.py", "def g():\n    return 1\n", (True, False)),
        ("mbhseg/fourth.py", "y = 5\n", (True, False)),
        ("mbhseg/second.py", "x = 3\n", (False, True)),
        ("mbhseg/sub/other.py", "z = 2\n", (True, False)),
        ("mbhseg/sub/__init__.py", "a = 1\n", (True, False)),
        ("mbhseg/__init__.py", "a = 1\n", (True, True)),
        ("mbhseg/sub/templates/page.html", "<p>two</p>", (True, False)),
        ("workflow_scripts/two.py", "import mbhseg.second as t\nprint(t)\n", (False, True)),
        ("mbhseg/second.py", "# a comment\nx    =   2\n", (False, False)),
        ("mbhseg/first.py", COMMENTED, (False, False)),
    ],
)
def test_a_change_shows_in_the_scripts_that_reach_it(tree, name, text, changes):
    before = digests(tree)
    (tree / name).write_text(text)
    after = digests(tree)
    assert tuple(a != b for a, b in zip(before, after, strict=True)) == changes


def test_a_new_module_shows_only_when_imported(tree):
    before = digests(tree)
    (tree / "mbhseg/fifth.py").write_text("v = 5\n")
    assert digests(tree) == before


# a function that is named in the config by its dotted path, and who imports what
NETWORK = {
    "mbhseg/nn/__init__.py": "",
    "mbhseg/nn/unet.py": "from mbhseg.nn.blocks import block\n\ndef build():\n    return block\n",
    "mbhseg/nn/blocks.py": "def block():\n    return 1\n",
    "mine/nets/__init__.py": "",
    "mine/nets/model.py": "import numpy\nfrom nets import layers\nfrom mbhseg import second\n",
    "mine/nets/layers.py": "from .deep import depth\n",
    "mine/nets/deep.py": "depth = 3\n",
    "mine/nets/unused.py": "depth = 3\n",
    "mine/alone.py": "import helper\n\ndef build():\n    return helper\n",
    "mine/helper.py": "import json\n",
    "lib/site-packages/vendor/__init__.py": "from vendor.core import build\nimport other\n",
    "lib/site-packages/vendor/core.py": "def build():\n    return 1\n",
    "lib/site-packages/other.py": "x = 1\n",
}


def network_digest(tree, dotted):
    forget()
    folders = (tree / "mine", tree / "lib/site-packages")
    return code.code_digest(tree / "workflow_scripts/two.py", tree, dotted, folders)


@pytest.mark.parametrize(
    ("dotted", "seen"),
    [
        ("mbhseg.nn.unet.build", {"mbhseg/nn/unet.py", "mbhseg/nn/blocks.py", "mbhseg/second.py"}),
        (
            "nets.model.build",
            {f"mine/nets/{n}.py" for n in ("model", "layers", "deep")} | {"mbhseg/second.py"},
        ),
        ("alone.build", {"mine/alone.py", "mine/helper.py", "mbhseg/second.py"}),
        (
            "vendor.build",
            {f"lib/site-packages/vendor/{n}.py" for n in ("__init__", "core")}
            | {"mbhseg/second.py"},
        ),
        ("nowhere.build", {"mbhseg/second.py"}),
        ("build", {"mbhseg/second.py"}),
    ],
)
def test_the_network_named_in_the_config_is_code_too(tree, dotted, seen):
    for name, text in NETWORK.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = network_digest(tree, dotted)
    changed = set()
    for name in (*NETWORK, "mbhseg/second.py"):
        path = tree / name
        text = path.read_text()
        path.write_text(text + "\nnew = 1\n")
        if network_digest(tree, dotted) != before:
            changed.add(name)
        path.write_text(text)
    packages = {name for name in changed if name.endswith("__init__.py")}
    assert changed - packages == seen - packages


SOURCES = {
    "a comment": ("x = 1\n", "x = 1  # one\n", True),
    "a line of comment": ("x = 1\n", "# one\nx = 1\n", True),
    "empty lines": ("x = 1\ny = 2\n", "x = 1\n\n\n\ny = 2\n", True),
    "spaces": ("x = 1\n", "x   =  1   \n", True),
    "line ends": ("x = 1\ny = 2\n", "x = 1\r\ny = 2\r\n", True),
    "a byte order mark": ("x = 1\n", "\ufeffx = 1\n", True),
    "a docstring": ('def f():\n    "a"\n    return 1\n', "def f():\n    return 1\n", True),
    "a module's docstring": ('"""a\n\nb"""\nx = 1\n', '"""c"""\nx = 1\n', True),
    "a class's docstring": ('class A:\n    """a"""\n    x = 1\n', "class A:\n    x = 1\n", True),
    "a hash in a string": ('x = "# a"\n', 'x = "# b"\n', False),
    "spaces in a string": ('x = "a  b"\n', 'x = "a b"\n', False),
    "empty lines in a string": ('x = """a\n\nb"""\n', 'x = """a\nb"""\n', False),
    "an f-string": ('x = f"{y} # {z}"\n', 'x = f"{y} # {w}"\n', False),
    "a number": ("x = 1\n", "x = 2\n", False),
    "indentation": ("if a:\n    b()\nc()\n", "if a:\n    b()\n    c()\n", False),
    "letters beyond ASCII": ('x = "ä"  # ö\ny = 1\n', 'x = "ä"  # ü\ny = 2\n', False),
    "a comment behind such letters": ('x = "ä"  # ö\n', 'x = "ä"  # ü\n', True),
}


@pytest.mark.parametrize(("one", "other", "same"), SOURCES.values(), ids=SOURCES)
def test_what_of_a_source_counts(one, other, same):
    assert (code.meaning(one.encode()) == code.meaning(other.encode())) is same


def syntax(source):
    """The syntax tree without docstrings, as text."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            alone = len(node.body) == 1 and not isinstance(node, ast.Module)
            node.body = [ast.Pass()] if alone else node.body[1:]
    return ast.dump(tree)


def test_the_rest_of_every_module_of_ours_is_all_its_code():
    files = sorted((code.ROOT / "mbhseg").rglob("*.py"))
    for path in files:
        source = path.read_bytes()
        assert ast.dump(ast.parse(code.meaning(source))) == syntax(source), path
    assert len(files) > 150


PYTHONS = sorted(
    {
        os.path.realpath(found): found
        for folder in (*os.environ["PATH"].split(os.pathsep), "")
        for found in (shutil.which(f"python3.{minor}", path=folder) for minor in range(11, 16))
        if found
    }.values()
)


@pytest.mark.skipif(len(PYTHONS) < 2, reason="one Python alone is installed here")
def test_every_python_gives_the_same_digests():
    text = (
        "import sys, hashlib; sys.path.insert(0, '.')\n"
        "from mbhseg.provenance.code import meaning\n"
        "from pathlib import Path\n"
        "files = sorted(Path('mbhseg').rglob('*.py'))\n"
        "whole = b'\\0'.join(meaning(path.read_bytes()) for path in files)\n"
        "print(hashlib.sha256(whole).hexdigest())\n"
    )
    told = {}
    for python in PYTHONS:
        done = subprocess.run([python, "-c", text], cwd=code.ROOT, capture_output=True, text=True)
        if done.returncode == 0:  # a shim of a version manager may refuse
            told[python] = done.stdout.strip()
    files = sorted((code.ROOT / "mbhseg").rglob("*.py"))
    whole = b"\0".join(code.meaning(path.read_bytes()) for path in files)
    assert set(told.values()) | {hashlib.sha256(whole).hexdigest()} == {
        hashlib.sha256(whole).hexdigest()
    }, told


def test_versions_leave_out_what_is_not_installed():
    found = environment.versions(["numpy", "no-such-distribution"])
    assert set(found) == {"python", "numpy"}


def test_git_state_of_a_folder_without_git_is_none(tmp_path):
    assert environment.git_state(tmp_path) == {"commit": None, "changed": None}
