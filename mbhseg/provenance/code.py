"""What made a result: digests of the code behind a rule, versions, and the state of git.

Light on purpose: the Snakefile imports it at every call.
"""

import ast
import datetime
import functools
import hashlib
import importlib.metadata
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = "mbhseg"
ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def code_digest(script: Path, root: Path = ROOT) -> str:
    """Digest of a script and of everything it imports from the repository, 16 hex digits.

    The digest is over the syntax trees without docstrings, so comments, docstrings and layout
    do not count. A package's data files (templates, styles) count with any module beside them.
    Imports are found by reading, not by running: an import inside a function counts too.
    """
    code = closure(script, root)
    data = {d for p in code if PACKAGE in p.parts for d in _data_files(p.parent)}
    files = [*sorted(code), *sorted(data)]
    parts = [f"{p.relative_to(root).as_posix()}:{_file_digest(p)}" for p in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def closure(script: Path, root: Path = ROOT) -> set[Path]:
    """A script and every module of the repository that it imports, by however many steps."""
    found: set[Path] = set()
    queue = [script]
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            queue.extend(_imports(path, root))
    return found


@functools.cache
def _tree(path: Path) -> ast.Module:
    """The syntax tree of a module without its docstrings."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree


@functools.cache
def _file_digest(path: Path) -> str:
    data = path.read_bytes() if path.suffix != ".py" else ast.dump(_tree(path)).encode()
    return hashlib.sha256(data).hexdigest()


@functools.cache
def _data_files(folder: Path) -> tuple[Path, ...]:
    """Files of the folders beside a module that are no packages, such as templates/."""
    plain = [d for d in folder.iterdir() if d.is_dir() and d.name in ("templates", "static")]
    return tuple(sorted(p for d in plain for p in d.rglob("*") if p.is_file()))


@functools.cache  # for most rules' scripts import the same modules
def _imports(path: Path, root: Path) -> frozenset[Path]:
    """Files of the package that a module imports, its parents' __init__ included."""
    found: set[Path] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = path.parent.relative_to(root).parts
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE:
                found.update(_files_of(parts, root))
    return frozenset(found)


def _files_of(parts: list[str], root: Path) -> Iterator[Path]:
    for depth in range(1, len(parts) + 1):
        stem = root.joinpath(*parts[:depth])
        for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
            if candidate.is_file():
                yield candidate


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of the named distributions and of Python; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state(root: Path = ROOT) -> dict[str, str | bool | None]:
    """The commit that the code is at, and whether tracked files differ from it.

    Both are None where the code is not in a git checkout or git is not installed.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
        return {"commit": git("rev-parse", "HEAD"), "changed": changed}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None}


COMMANDS = Path("logs/commands.tsv")  # below results/


def note_command(results: str | Path) -> None:
    """Append time and command line of this process to the list of commands below `results`."""
    path = Path(results) / COMMANDS
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(f"{now}\t{shlex.join(words)}\n")


def last_command(results: str | Path) -> str | None:
    """The command line noted last below `results`; None if there is none."""
    path = Path(results) / COMMANDS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return lines[-1].split("\t", 1)[1] if lines else None
