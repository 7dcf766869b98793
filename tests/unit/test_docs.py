"""What the pages name exists: files, targets of make, functions of the library."""

import ast
import re
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *(REPO / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md")),
        *(REPO / "docs").rglob("*.md"),
    ]
)
FOLDERS = ["benchmarks", "captions", "config", "docs", "envs", "mbhseg", "profiles", "rules"]
FOLDERS += ["tests", "tools", "workflow_scripts"]


def code_of(page: str) -> list[str]:
    """Texts in backticks, and the lines of fenced blocks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\w*\n.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return [
        *re.findall(r"`([^`]+)`", prose),
        *(line for block in fenced for line in block.split("\n")),
    ]


def missing_links(page: str, folder: Path) -> list[str]:
    """Targets of links that are no file or folder, from the page's own folder."""
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    local = [link.split("#")[0] for link in links if "://" not in link]
    return [link for link in local if link and not (folder / link).exists()]


def missing_paths(page: str, root: Path) -> list[str]:
    """Paths of the repository that are not there; patterns and <names> are left out."""
    starts = "|".join(FOLDERS)
    words = [word for text in code_of(page) for word in text.split()]
    named = {word.rstrip(".,;:") for word in words if re.match(rf"({starts})/[\w./-]*$", word)}
    return sorted(name for name in named if not (root / name).exists())


def missing_targets(page: str, makefile: str) -> list[str]:
    """Names after `make` that the Makefile has no target of."""
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    named = {name for text in code_of(page) for name in re.findall(r"^make ([\w-]+)", text)}
    return sorted(named - targets)


def missing_names(page: str, root: Path) -> list[str]:
    """Dotted names `mbhseg.…` that are no package, module, function, class or method."""
    named = {
        name
        for text in code_of(page)
        for name in re.findall(r"^(mbhseg(?:\.\w+)+)$", text.split("(")[0])
    }
    return sorted(name for name in named if not is_there(name.split("."), root))


def is_there(parts: list[str], root: Path) -> bool:
    """Whether a dotted name is found by reading, without importing TensorFlow and the like."""
    path, rest = root, list(parts)
    while rest and (path / rest[0]).is_dir():
        path /= rest.pop(0)
    module = path / f"{rest[0]}.py" if rest else path / "__init__.py"
    if rest and module.is_file():
        rest.pop(0)
    elif rest:
        module = path / "__init__.py"
    if not module.is_file():
        return False
    body: list[ast.stmt] = ast.parse(module.read_bytes()).body
    for name in rest:
        found = [node for node in body if name in names_of(node)]
        if not found:
            return False
        body = getattr(found[0], "body", [])
    return True


def names_of(node: ast.stmt) -> set[str]:
    """What a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        named = {target.id for target in node.targets if isinstance(target, ast.Name)}
        # a package may load what it offers on first use, and then only __all__ says so
        return named | (set(ast.literal_eval(node.value)) if "__all__" in named else set())
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    if isinstance(node, ast.ImportFrom | ast.Import):
        return {alias.asname or alias.name for alias in node.names}
    return set()


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(REPO).as_posix())
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    assert missing_links(text, page.parent) == []
    assert missing_paths(text, REPO) == []
    assert missing_targets(text, (REPO / "Makefile").read_text()) == []
    assert missing_names(text, REPO) == []


def test_the_navigation_leads_to_every_page() -> None:
    def leaves(node: object) -> list[str]:
        if isinstance(node, list | dict):
            inner = node.values() if isinstance(node, dict) else node
            return [leaf for part in inner for leaf in leaves(part)]
        return [str(node)]

    pages = {page.relative_to(REPO).as_posix() for page in PAGES}
    assert set(leaves(yaml.safe_load((REPO / "mkdocs.yml").read_text())["nav"])) >= pages


@pytest.mark.parametrize(
    ("find", "text", "expected"),
    [
        (
            missing_links,
            "[a](here.md), [b](gone.md#x), [c](https://a.org/b.md)",
            ["gone.md"],
        ),
        (
            missing_paths,
            "`docs/here.md`, `docs/gone.md`, `docs/<any>.md`, `x/y`",
            ["docs/gone.md"],
        ),
        (
            missing_paths,
            "```\nsnakemake --configfile config/gone.yaml\n```\n",
            ["config/gone.yaml"],
        ),
        (missing_names, "`mbhseg.low.grid.cell`, `mbhseg.low.grid.Map.key`, `mbhseg.low`", []),
        (missing_names, "`mbhseg.low.grid.gone`", ["mbhseg.low.grid.gone"]),
        (missing_names, "`mbhseg.low.grid.Map.gone()`", ["mbhseg.low.grid.Map.gone"]),
        (missing_names, "`mbhseg.gone`, `mbhseg.lazy`", ["mbhseg.gone"]),
    ],
)
def test_a_missing_thing_is_found(find, text: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "mbhseg/low").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    for name in ("here.md", "docs/here.md", "mbhseg/__init__.py", "mbhseg/low/__init__.py"):
        (tmp_path / name).touch()
    source = "def cell(): ...\nclass Map:\n    def key(self): ...\n"
    (tmp_path / "mbhseg/low/grid.py").write_text(source)
    (tmp_path / "mbhseg/__init__.py").write_text('__all__ = ["lazy"]\n')
    assert find(text, tmp_path) == expected


def test_a_missing_target_is_found() -> None:
    page = "`make demo`, `make coffee`\n```\nmake tea  # hot\n```\nWe make do."
    assert missing_targets(page, "demo: x\n\techo\n") == ["coffee", "tea"]
