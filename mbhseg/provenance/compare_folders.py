"""Two results folders compared file by file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mbhseg.errors import InputError
from mbhseg.files import sha256

COLUMNS = ("file", "status")
# folders and files about when and where a run took place, not about its results; `cache` holds
# the data set's slices decoded
RUNTIME_FOLDERS = ("logs", "benchmarks", "state", "cache")
RUNTIME_FILES = ("provenance.json", "ro-crate-metadata.json")
# such keys of JSON files, at any depth
RUNTIME_KEYS = frozenset({"timings", "device", "versions", "git", "probe", "machine", "times"})


def compare(left: str | Path, right: str | Path) -> pd.DataFrame:
    """Compare two results folders (`results/`, or `results/<dataset>/` of two runs).

    Columns file (relative, `/`) and status: `same` bytes; `same but for times` for a JSON file
    that differs only in when and where it was made (`RUNTIME_KEYS`), for a page that differs only
    in training time, commit or command line, and for a manifest that lists such a file; `differs`;
    `only left`; `only right`. Sorted by file. Logs, benchmarks and provenance are left out, as are
    Snakemake's own files (names that begin with a dot). Two empty folders give no rows.
    Raises InputError if one of them is no folder.
    """
    first, second = (dict(_files(Path(side))) for side in (left, right))
    rows = [(name, _status(first.get(name), second.get(name))) for name in {*first, *second}]
    return pd.DataFrame(sorted(rows), columns=list(COLUMNS))


def check(table: pd.DataFrame, left: str | Path, right: str | Path) -> None:
    """Raise InputError naming the first files of `compare` that are not the same, if any."""
    odd = table[~table["status"].str.startswith("same")]
    if len(odd):
        named = "; ".join(f"{row.file}: {row.status}" for row in odd.head(10).itertuples())
        more = f"; and {len(odd) - 10} more" if len(odd) > 10 else ""
        raise InputError(
            left,
            f"{len(odd)} of {len(table)} files differ from those of {right}: {named}{more}",
            "Compare the two provenance.json: code, config, data and versions",
        )


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    if not root.is_dir():
        raise InputError(root, "is no folder", "Give two results folders")
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") for part in parts)
        runtime = path.name in RUNTIME_FILES or any(p in RUNTIME_FOLDERS for p in parts[:-1])
        if path.is_file() and not hidden and not runtime:
            yield "/".join(parts), path


def _status(left: Path | None, right: Path | None) -> str:
    if left is None or right is None:
        return "only right" if left is None else "only left"
    if left.stat().st_size == right.stat().st_size and sha256(left) == sha256(right):
        return "same"
    readers = ((".json", _timeless_json), (".tsv", _without_json), (".html", _timeless_page))
    for suffix, read in readers:
        if left.suffix == suffix and read(left) == read(right):
            return "same but for times"
    return "differs"


def _without_json(path: Path) -> list[str]:
    """Lines of a table, without those of a manifest that hold the digest of a JSON file."""
    return [x for x in path.read_text().splitlines() if not x.split("\t")[0].endswith(".json")]


# the same on the report's pages: training time, commit, command line
_RUNTIME_HTML = re.compile(
    r"<dt>training time</dt><dd>[^<]*</dd>|<div><dt>code</dt><dd>[^<]*</dd></div>"
    r"|<h3>Command</h3>\s*<pre[^>]*><code>[^<]*</code></pre>"
)


def _timeless_page(path: Path) -> str:
    return _RUNTIME_HTML.sub("", path.read_text(encoding="utf-8"))


def _timeless_json(path: Path) -> Any:
    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without(v) for k, v in value.items() if k not in RUNTIME_KEYS}
        return [without(item) for item in value] if isinstance(value, list) else value

    try:
        return without(json.loads(path.read_bytes()))
    except ValueError:
        return path  # two broken files are equal in their bytes only
