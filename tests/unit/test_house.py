"""The library's rooms: few at the root, in one order, of a size, and with names of their own.

docs/architecture.md lists the rooms in order, and this test reads them there. A room is a package
or a module at the root of mbhseg/, and, within nn/, a package or a module there. Every check is a
function that returns complaints, so that it is seen to fail on a small tree made up for it.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
LONGEST = 350
AT_THE_ROOT = 6
INNER = "nn"  # the package that has rooms of its own


def listed_rooms(page: str) -> list[str]:
    """The rooms in order: the first word of each line of the page's first block of plain text."""
    block = re.search(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert block, "docs/architecture.md has no block ```text with the rooms"
    return [line.split()[0] for line in block[1].splitlines() if line.strip()]


def modules(root: Path) -> dict[str, Path]:
    """Every module and package below root/mbhseg by its dotted name."""
    named = {}
    for path in sorted((root / "mbhseg").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def room(module: str) -> str:
    """The room of a dotted name: `nn.feed` of `mbhseg.nn.feed.store`; empty for mbhseg itself."""
    parts = module.split(".")[1:]
    return ".".join(parts[: 2 if parts[:1] == [INNER] else 1])


def nodes(tree: ast.AST, inside_functions: bool) -> Iterator[ast.AST]:
    """All nodes, or those that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if inside_functions or not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        ):
            yield from nodes(node, inside_functions)


def imports(module: str, path: Path, inside_functions: bool = True) -> set[str]:
    """Dotted names that a module imports: `a.b` and `a.b.c` of `from a.b import c`."""
    named = set()
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in nodes(ast.parse(path.read_bytes()), inside_functions):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            named |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return named


def crowd(root: Path) -> list[str]:
    """The root of the package holds packages and a few modules."""
    there = sorted(path.name for path in (root / "mbhseg").glob("*.py"))
    return [f"{len(there)} modules at the root: {there}"] if len(there) > AT_THE_ROOT else []


def long_modules(root: Path) -> list[str]:
    lengths = {name: len(p.read_text().splitlines()) for name, p in modules(root).items()}
    return [f"{name} has {n} lines" for name, n in lengths.items() if n > LONGEST]


def unlisted(root: Path, order: list[str]) -> list[str]:
    """The list and the folders are the same rooms."""
    rooms = {room(name) for name in modules(root)} - {"", "__main__"}
    return sorted(f"{name} is in one alone of list and folder" for name in rooms ^ set(order))


def upward(root: Path, order: list[str]) -> list[str]:
    """A room imports only rooms that the list has before it."""
    named, place = modules(root), {name: n for n, name in enumerate(order)}
    complaints = []
    for module, path in named.items():
        if room(module) not in place:  # mbhseg itself and __main__ may import anything
            continue
        for other in sorted(imports(module, path) & set(named)):
            if place.get(room(other), -1) > place[room(module)]:
                complaints.append(f"{module} imports {other}, of a later room")
    return complaints


ENDINGS = re.compile(r"(ations?|ators?|izers?|ize|ions?|ings?|ments?|ables?|ors?|ers?|ed|es|s|e)$")


def stem(word: str) -> str:
    """A word without its endings: `predict` of predictions and predictor."""
    shorter = ENDINGS.sub("", word)
    return stem(shorter) if len(shorter) >= 3 and shorter != word else word


def one_edit_apart(first: str, second: str) -> bool:
    """One letter more, less or another, or the same letters in another order."""
    if sorted(first) == sorted(second):
        return True
    short, long = sorted((first, second), key=len)
    cuts = [long[:n] + long[n + 1 :] for n in range(len(long))]
    if len(short) == len(long):
        return any(short[:n] + short[n + 1 :] == cut for n, cut in enumerate(cuts))
    return short in cuts


def alike(names: set[str]) -> list[str]:
    return [
        f"{a} and {b} are too much alike"
        for a, b in combinations(sorted(names), 2)
        if one_edit_apart(a, b) or stem(a) == stem(b)
    ]


def names_alike(root: Path) -> list[str]:
    """Two modules, or two packages, whose names differ by a letter or an ending.

    A package may hold a module of its stage (scans, scan). The same name in two packages is one
    thing in two stages: agreement measured, agreement in a figure.
    """
    paths = modules(root).values()
    packages = {path.parent.name for path in paths if path.name == "__init__.py"}
    plain = {path.stem for path in paths if not path.name.startswith("__")}
    return [*alike(plain), *alike(packages)]


def homeless_tests(root: Path) -> list[str]:
    """A test lies in a folder named as the package that it tests; in tests/nn without nn/, too."""
    complaints = []
    for tests, bases in (("unit", ["mbhseg"]), ("nn", ["mbhseg/nn", "mbhseg"])):
        for path in sorted((root / "tests" / tests).rglob("test_*.py")):
            folder = path.relative_to(root / "tests" / tests).parent
            if not any((root / base / folder / "__init__.py").is_file() for base in bases):
                complaints.append(f"{path.relative_to(root).as_posix()} is of no package")
    return complaints


def strangers(root: Path) -> list[str]:
    """Keras and TensorFlow outside nn/, and Snakemake anywhere, even inside a function."""
    complaints = []
    for module, path in modules(root).items():
        tops = {name.split(".")[0] for name in imports(module, path)}
        barred = {"snakemake"} if room(module).startswith(INNER) else BARRED
        complaints += [f"{module} imports {name}" for name in sorted(tops & barred)]
    return complaints


BARRED = {"keras", "tensorflow", "snakemake"}


def loaded_with(root: Path, starts: set[str]) -> set[str]:
    """Top-level packages from outside that are loaded when these modules are imported."""
    named, seen, outside = modules(root), set(), set()
    queue = list(starts)
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if "." in name:
            queue.append(name.rpartition(".")[0])  # a parent is imported first
        for other in imports(name, named[name], inside_functions=False):
            if other in named:
                queue.append(other)
            elif other.split(".")[0] not in {"mbhseg", *sys.stdlib_module_names}:
                outside.add(other.split(".")[0])
    return outside


def imported_by_rules(root: Path) -> set[str]:
    """Modules of the library that the Snakefile and the rules import at every call."""
    named = modules(root)
    lines = [
        re.findall(r"^from (mbhseg[\w.]*) import (.+)$", path.read_text(), re.MULTILINE)
        for path in (root / "Snakefile", *(root / "rules").glob("*.smk"))
    ]
    words = {
        word
        for file in lines
        for base, names in file
        for word in (base, *(f"{base}.{name.strip()}" for name in names.split(",")))
    }
    return words & set(named)


# --- the house as it stands


@pytest.fixture(scope="module")
def order() -> list[str]:
    return listed_rooms((REPO / "docs/architecture.md").read_text())


@pytest.mark.parametrize(
    "check", [crowd, long_modules, names_alike, homeless_tests, strangers], ids=lambda f: f.__name__
)
def test_the_house_stands(check: Callable[[Path], list[str]]) -> None:
    assert check(REPO) == []


@pytest.mark.parametrize("check", [unlisted, upward], ids=lambda f: f.__name__)
def test_the_rooms_are_in_their_order(
    check: Callable[[Path, list[str]], list[str]], order: list[str]
) -> None:
    assert check(REPO, order) == []


def test_the_drawing_shows_the_rooms_of_the_list(order: list[str]) -> None:
    drawing = (REPO / "docs/house.svg").read_text()
    drawn = re.findall(r'<text class="room"[^>]*>([^<]+)</text>', drawing)
    assert sorted(drawn) == sorted(name.removeprefix(f"{INNER}.") for name in order)


def test_what_the_rules_import_is_light() -> None:
    """Snakemake reads the rules at every call, so that numpy would be a second of waiting."""
    names = imported_by_rules(REPO)
    assert {"mbhseg.config.schema", "mbhseg.provenance.code"} <= names
    assert loaded_with(REPO, names) <= {"yaml", "jsonschema"}


def test_keras_is_loaded_with_a_network_and_not_before() -> None:
    """Scans can be predicted, and the command line answers, where there is no TensorFlow."""
    starts = {name for name in modules(REPO) if room(name) and room(name).split(".")[0] != INNER}
    assert not loaded_with(REPO, starts) & {"keras", "tensorflow"}


# --- every check can fail

TIDY = {
    "mbhseg/__init__.py": "",
    "mbhseg/low/__init__.py": "",
    "mbhseg/low/grid.py": "",
    "mbhseg/nn/__init__.py": "",
    "mbhseg/nn/feed/__init__.py": "",
    "mbhseg/nn/feed/store.py": "import keras\nfrom mbhseg.low import grid\n",
    "mbhseg/nn/device.py": "from mbhseg.nn.feed import store\n",
    "mbhseg/top/__init__.py": "",
    "mbhseg/top/page.py": "import numpy\nfrom mbhseg.low import grid\n",
    "tests/unit/low/test_grid.py": "",
    "tests/nn/feed/test_store.py": "",
    "tests/nn/top/test_page.py": "",
    "rules/all.smk": "from mbhseg.low import grid\n",
    "Snakefile": "",
}
ORDER = ["low", "nn", "nn.feed", "nn.device", "top"]


def build(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def in_order(check: Callable[[Path, list[str]], list[str]]) -> Callable[[Path], list[str]]:
    return lambda root: check(root, ORDER)


def heavy(root: Path) -> list[str]:
    return sorted(loaded_with(root, imported_by_rules(root)))


FAULTS = [
    (crowd, {f"mbhseg/m{n}.py": "" for n in range(6)}, "7 modules"),
    (long_modules, {"mbhseg/low/grid.py": "x = 1\n" * 351}, r"grid has 351 lines"),
    (in_order(unlisted), {"mbhseg/attic/__init__.py": ""}, "attic"),
    (in_order(unlisted), {"mbhseg/nn/attic.py": ""}, "nn.attic"),
    (in_order(upward), {"mbhseg/low/grid.py": "import mbhseg.top.page\n"}, "top.page"),
    (in_order(upward), {"mbhseg/low/grid.py": "def f():\n    from mbhseg import top\n"}, "top"),
    (in_order(upward), {"mbhseg/low/grid.py": "from ..top.page import x\n"}, "top.page"),
    (in_order(upward), {"mbhseg/nn/feed/store.py": "from mbhseg.nn import device\n"}, "nn.device"),
    (names_alike, {"mbhseg/top/pages.py": ""}, "page and pages"),
    (names_alike, {"mbhseg/top/gird.py": ""}, "gird and grid"),
    (names_alike, {"mbhseg/top/stone.py": ""}, "stone and store"),
    (names_alike, {"mbhseg/top/storing.py": ""}, "store and storing"),
    (names_alike, {"mbhseg/tops/__init__.py": ""}, "top and tops"),
    (homeless_tests, {"tests/unit/attic/test_box.py": ""}, "attic/test_box"),
    (homeless_tests, {"tests/nn/attic/test_box.py": ""}, "attic/test_box"),
    (strangers, {"mbhseg/top/page.py": "def f():\n    import tensorflow.nn\n"}, "tensorflow"),
    (strangers, {"mbhseg/nn/device.py": "from snakemake.utils import x\n"}, "snakemake"),
    (heavy, {"mbhseg/low/grid.py": "from mbhseg.top.page import x\n"}, "numpy"),
    (
        heavy,
        {"mbhseg/__init__.py": "try:\n    import pandas\nfinally:\n    0\n"},
        "pandas",
    ),
]


@pytest.mark.parametrize(("check", "fault", "complaint"), FAULTS)
def test_each_check_can_fail(
    check: Callable[[Path], list[str]], fault: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    assert check(build(tmp_path, TIDY)) == []
    complaints = check(build(tmp_path, fault))
    assert len(complaints) == 1
    assert complaint in complaints[0]


def test_what_a_function_imports_is_not_loaded_with_its_module(tmp_path: Path) -> None:
    root = build(tmp_path, {**TIDY, "mbhseg/low/grid.py": "def f():\n    import keras\n"})
    assert heavy(root) == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("raster", "raters", True),
        ("predictor", "predictions", True),
        ("train", "trainer", True),
        ("rasterize", "raster", True),
        ("png", "ping", True),
        ("losses", "lesions", False),
        ("overlap", "overlays", False),
        ("schema", "scatter", False),
    ],
)
def test_names_are_told_apart(first: str, second: str, expected: bool) -> None:
    assert bool(alike({first, second})) is expected
