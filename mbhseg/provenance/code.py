"""Digests of the code behind a rule.

Light on purpose: the Snakefile imports it at every call.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "mbhseg"
ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def code_digest(script: Path, root: Path = ROOT) -> str:
    """Digest of a script and of everything it imports from the repository, 16 hex digits.

    The digest is over the syntax trees without docstrings, so comments, docstrings and layout
    do not count. A package's data files (templates, styles) count with any module beside them.
    Imports are found in the syntax tree: an import inside a function counts too.
    """
    code = closure(script, root)
    data = {d for p in code if PACKAGE in p.parts for d in _data_files(p.parent)}
    files = [*sorted(code), *sorted(data)]
    parts = [f"{p.relative_to(root).as_posix()}:{_file_digest(p)}" for p in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def closure(script: Path, root: Path = ROOT) -> set[Path]:
    """A script and every module of the repository that it imports, directly or indirectly."""
    files: set[Path] = set()
    queue = [script]
    while queue:
        path = queue.pop()
        if path not in files:
            files.add(path)
            queue.extend(_imports(path, root))
    return files


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
    """Files of the folders templates/ and static/ beside a module."""
    plain = [d for d in folder.iterdir() if d.is_dir() and d.name in ("templates", "static")]
    return tuple(sorted(p for d in plain for p in d.rglob("*") if p.is_file()))


@functools.cache  # most scripts import the same modules
def _imports(path: Path, root: Path) -> frozenset[Path]:
    """Files of the package that a module imports, its parents' __init__ included."""
    files: set[Path] = set()
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
                files.update(_files_of(parts, root))
    return frozenset(files)


def _files_of(parts: list[str], root: Path) -> Iterator[Path]:
    for depth in range(1, len(parts) + 1):
        stem = root.joinpath(*parts[:depth])
        for candidate in (stem.with_suffix(".py"), stem / "__init__.py"):
            if candidate.is_file():
                yield candidate
