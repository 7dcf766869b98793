"""The digest of a rule's code follows what it imports and nothing else."""

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


def digests(tree):
    for name in ("code_digest", "_tree", "_file_digest", "_imports", "_data_files"):
        getattr(code, name).cache_clear()
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


def test_versions_leave_out_what_is_not_installed():
    found = environment.versions(["numpy", "no-such-distribution"])
    assert set(found) == {"python", "numpy"}


def test_git_state_of_a_folder_without_git_is_none(tmp_path):
    assert environment.git_state(tmp_path) == {"commit": None, "changed": None}
