"""The code behind a rule, as a digest that changes with what it computes and with nothing else.

Light on purpose: the Snakefile imports it at every call.
"""

import ast
import functools
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

PACKAGE = "mbhseg"
ROOT = Path(__file__).resolve().parents[2]
_INSTALLED = ("site-packages", "dist-packages")
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_COMMENT = re.compile(rb"#[^\r\n]*")
_SPACES = re.compile(rb"(?<=[^ \t\f\r\n])[ \t\f]+")
_ENDS = re.compile(rb"[ \t\f]*(?:\r\n|\n|\r)(?:[ \t\f]*(?:\r\n|\n|\r))*")


@functools.cache
def code_digest(
    script: Path, root: Path = ROOT, network: str | None = None, folders: tuple[Path, ...] = ()
) -> str:
    """Digest of a script and of everything it imports from the repository, 16 hex digits.

    Comments, docstrings, empty lines and spaces within a line do not count (`meaning`). A
    package's data files (templates, styles) count with any module beside them. Imports are found
    by reading, not by running: an import inside a function counts too. What is imported by a
    dotted path, which no reading finds, is named by `network`; see `network_files`.
    """
    code = {(root, path) for path in closure(script, root)}
    if network is not None:
        code |= network_files(network, root, folders)
    data = {(base, d) for base, p in code if base == root for d in _data_files(p.parent)}
    parts = {f"{p.relative_to(base).as_posix()}:{_file_digest(p)}" for base, p in code | data}
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def closure(script: Path, root: Path = ROOT) -> set[Path]:
    """A script and every module of the repository that it imports, directly or indirectly."""
    return _closure([script], root, PACKAGE)


def network_files(
    dotted: str, root: Path = ROOT, folders: Iterable[Path] = ()
) -> set[tuple[Path, Path]]:
    """The files behind the dotted path of a function, each with the folder its name begins at.

    The module is looked for as Python does: below `root`, then `folders`, then where packages are
    installed. What it imports counts too: all that lies in its own folder, of an installed package
    no more than that package; and of `root` what it takes from this library. A module that is not
    found gives nothing.
    """
    parts = dotted.split(".")[:-1]
    for base in (root, *folders, *map(Path, filter(None, sys.path))):
        found = list(_files_of(parts, base))
        if parts and _is_module(base.joinpath(*parts)):
            installed = any(part in _INSTALLED for part in base.parts)
            files = {
                (base, path) for path in _closure(found, base, parts[0] if installed else None)
            }
            if base == root:
                return files
            ours = {name for _, path in files for name in _imports(path, root, PACKAGE)}
            return files | {(root, path) for path in _closure(ours, root, PACKAGE)}
    return set()


def _is_module(stem: Path) -> bool:
    return stem.with_suffix(".py").is_file() or (stem / "__init__.py").is_file()


def _closure(start: Iterable[Path], root: Path, package: str | None) -> set[Path]:
    found: set[Path] = set()
    queue = list(start)
    while queue:
        path = queue.pop()
        if path not in found:
            found.add(path)
            queue.extend(_imports(path, root, package))
    return found


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


def meaning(source: bytes) -> bytes:
    """Python source without what computes nothing; the same bytes on every version of Python.

    Docstrings and comments are cut out by position, runs of spaces within a line become one, and
    empty lines go; strings stay as they are written. Raises SyntaxError if it is no Python.
    """
    return _meaning(source, ast.parse(source))


def _meaning(source: bytes, tree: ast.Module) -> bytes:
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    bom = 3 if source.startswith(b"\xef\xbb\xbf") else 0  # columns of the first line leave it out

    def place(line: int, column: int) -> int:
        return starts[line - 1] + column + (bom if line == 1 else 0)

    text, kept = b"", []
    at = bom
    for node, instead in _strings(tree):
        start = place(node.lineno, node.col_offset)
        end = place(node.end_lineno or node.lineno, node.end_col_offset or 0)
        text += source[at:start]
        at = end
        if instead is None:
            kept += [_tidied(text), source[start:end]]
            text = b""
        else:
            text += instead
    return b"".join([*kept, _tidied(text + source[at:])]).strip()


def _tidied(text: bytes) -> bytes:
    """Code between strings without comments, superfluous spaces and empty lines."""
    return _ENDS.sub(b"\n", _SPACES.sub(b" ", _COMMENT.sub(b"", text)))


def _strings(tree: ast.Module) -> list[tuple[ast.expr, bytes | None]]:
    """The string literals of a module in their order, and what stands for each that is a docstring.

    Nothing does, but for a body that is a docstring alone.
    """
    found: list[tuple[ast.expr, bytes | None]] = []
    queue: list[ast.AST] = [tree]
    docstrings: dict[ast.AST, bytes] = {}
    while queue:
        node = queue.pop()
        if isinstance(node, _Documented) and ast.get_docstring(node, clean=False) is not None:
            alone = len(node.body) == 1 and not isinstance(node, ast.Module)
            docstrings[cast(ast.Expr, node.body[0]).value] = b"pass" if alone else b""
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        ):
            found.append((node, docstrings.get(node)))
        else:  # what lies within an f-string is part of it
            queue.extend(ast.iter_child_nodes(node))
    return sorted(found, key=lambda item: (item[0].lineno, item[0].col_offset))


@functools.cache
def _file_digest(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix == ".py":
        data = _meaning(data, _tree(path))
    return hashlib.sha256(data).hexdigest()


@functools.cache
def _data_files(folder: Path) -> tuple[Path, ...]:
    """Files of the folders templates/ and static/ beside a module."""
    plain = [d for d in folder.iterdir() if d.is_dir() and d.name in ("templates", "static")]
    return tuple(sorted(p for d in plain for p in d.rglob("*") if p.is_file()))


@functools.cache  # for most rules' scripts import the same modules
def _imports(path: Path, root: Path, package: str | None) -> frozenset[Path]:
    """Files below `root` that a module imports, its parents' __init__ included.

    Those of one package, or any that lie there.
    """
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
            if package in (None, parts[0]):
                found.update(_files_of(parts, root))
    return frozenset(found)


def _files_of(parts: list[str], root: Path) -> Iterator[Path]:
    for depth in range(1, len(parts) + 1):
        stem = root.joinpath(*parts[:depth])
        for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
            if candidate.is_file():
                yield candidate
