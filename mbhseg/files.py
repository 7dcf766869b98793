"""Files that appear whole or not at all, their digests, and the tables of the workflow."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it on success, remove it on failure.

    The temporary name keeps the suffixes, because writers choose the format by them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix="-" + path.name, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    partial.chmod(0o666 & ~_umask())  # mkstemp makes private files; results are shared
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_dir(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path` that replaces `path` on success."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-" + path.name, dir=path.parent))
    partial.chmod(0o777 & ~_umask())
    try:
        yield partial
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256(path: str | Path) -> str:
    """Hex sha256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON with sorted keys; NaN is written as null, as the JSON standard has no NaN."""
    with atomic_file(path) as partial:
        text = json.dumps(_without_nan(value), indent=2, sort_keys=True, allow_nan=False)
        partial.write_text(text + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if hasattr(value, "item"):  # numpy scalars
        value = value.item()
    return None if isinstance(value, float) and value != value else value


def read_json(path: str | Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text())


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as `.tsv` or `.csv`, without index, missing values as empty cells.

    Floats are written with as many digits as identify them, so equal tables are equal files.
    """
    separator = "\t" if Path(path).suffix == ".tsv" else ","
    with atomic_file(path) as partial:
        table.to_csv(partial, sep=separator, index=False, lineterminator="\n")


_TEXT_COLUMNS = {
    *("case", "patient", "subset", "candidate", "reference", "class", "classes", "status"),
    *("file", "image", "mask", "annotation", "raters", "sha256", "image_sha256", "mask_sha256"),
    *("severity", "what", "remedy", "orientation", "image_dtype"),
}


def read_table(path: str | Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a table; columns in `text` stay strings (empty cell: empty string).

    The workflow's own text columns (case, patient, file, ...) always stay strings, so that an id
    such as `007` or `NA` survives.
    """
    separator = "\t" if Path(path).suffix == ".tsv" else ","
    header = pd.read_csv(path, sep=separator, nrows=0).columns
    strings = [name for name in header if name in _TEXT_COLUMNS | set(text)]
    return pd.read_csv(
        path,
        sep=separator,
        dtype=dict.fromkeys(strings, object),
        keep_default_na=False,
        na_values={name: [""] for name in header if name not in strings},
    )


ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: equal content, equal bytes
MANIFEST_COLUMNS = ("file", "bytes", "sha256")


def files_below(root: str | Path) -> list[str]:
    """Every file below `root`, relative with `/`, sorted.

    Names that begin with a dot are Snakemake's (`.snakemake_timestamp`) and left out.
    """
    root = Path(root)
    return sorted(
        p.relative_to(root).as_posix()
        for p in root.rglob("*")
        if p.is_file() and not p.name.startswith(".")
    )


def manifest_of(root: str | Path) -> pd.DataFrame:
    """List `files_below(root)`: columns file, bytes, sha256."""
    root = Path(root)
    rows = [(name, (root / name).stat().st_size, sha256(root / name)) for name in files_below(root)]
    return pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))


class ManifestRow(NamedTuple):
    """One row of a manifest: the file's name below its folder, its size, its digest."""

    file: str
    bytes: int
    sha256: str


def slice_name(case: str, plane: int) -> str:
    """File name of one slice: `<case>_<zzz>.png`, zzz the voxel plane counted from 0."""
    return f"{case}_{plane:03d}.png"


def write_listed(root: Path, name: str, data: bytes) -> ManifestRow:
    """Write one file below `root`, which must exist; returns its row of the manifest.

    It is written in place, because `root` is a folder of `atomic_dir`.
    """
    (root / name).write_bytes(data)
    return ManifestRow(name, len(data), hashlib.sha256(data).hexdigest())
