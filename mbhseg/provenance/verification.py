"""Results compared with their manifests: files that are missing, changed or unknown."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from mbhseg.errors import InputError
from mbhseg.files import files_below, read_json, read_table, sha256

COLUMNS = ("file", "status")


Digest = Callable[[Path], str]


def hashing_once() -> Digest:
    """A `sha256` that reads a file only once, however many hard links it has."""
    known: dict[tuple[int, int], str] = {}

    def digest(path: Path) -> str:
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key not in known:
            known[key] = sha256(path)
        return known[key]

    return digest


def check_files(
    expected: Iterable[tuple[str, str]], root: Path, digest: Digest = sha256
) -> pd.DataFrame:
    """Hash each (file relative to `root`, sha256): columns file, status (ok, changed, missing)."""
    rows = []
    for name, wanted in expected:
        path = root / name
        status = "missing" if not path.is_file() else "ok" if digest(path) == wanted else "changed"
        rows.append((name, status))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def check_folder(manifest: Path, folder: Path, digest: Digest = sha256) -> pd.DataFrame:
    """Compare a folder with its manifest; files that the manifest does not list are `unknown`.

    Files in the result are relative to the folder that holds the manifest.
    """
    listed = read_table(manifest)
    prefix = folder.relative_to(manifest.parent).as_posix() + "/"
    checked = check_files(zip(listed["file"], listed["sha256"], strict=True), folder, digest)
    strangers = sorted(set(files_below(folder)) - set(listed["file"]))
    unknown = pd.DataFrame([(name, "unknown") for name in strangers], columns=list(COLUMNS))
    both = pd.concat([checked, unknown], ignore_index=True)
    return both.assign(file=prefix + both["file"].astype(str))


def check_dataset(table: Path, root: Path, digest: Digest = sha256) -> pd.DataFrame:
    """Compare images and masks of the data set with dataset.tsv."""
    rows = read_table(table)
    pairs = [
        *zip(rows["image"], rows["image_sha256"], strict=True),
        *zip(rows["mask"], rows["mask_sha256"], strict=True),
    ]
    return check_files(pairs, root, digest)


def verify(root: Path, folders: Iterable[Path], models: Iterable[Path]) -> pd.DataFrame:
    """Verify a data set's results below `root`: archive, data set, annotations, folders, models.

    `folders` are manifests of the folder of the same stem beside them, `models` are manifests
    inside the model's folder. Columns file (relative to `root`) and status, sorted by file.
    Raises InputError naming the files at fault, if any.
    """
    table = _collected(root, folders, models)
    refuse(table, root)
    return table


def _collected(root: Path, folders: Iterable[Path], models: Iterable[Path]) -> pd.DataFrame:
    digest = hashing_once()  # the data set's files are links to those of the shards
    archive = (root / "raw" / "archive.zip.sha256").read_text().split()[0]
    parts = [check_files([("raw/archive.zip", archive)], root, digest)]
    parts.append(check_dataset(root / "dataset.tsv", root, digest))
    listed = read_table(root / "annotations.tsv")
    parts.append(check_files(zip(listed["mask"], listed["mask_sha256"], strict=True), root, digest))
    for manifest in folders:
        part = check_folder(manifest, manifest.with_suffix(""), digest)
        above = manifest.parent.relative_to(root).as_posix()
        parts.append(part.assign(file=above + "/" + part["file"]))
    for manifest in models:
        listed = read_table(manifest)
        pairs = zip(listed["file"], listed["sha256"], strict=True)
        part = check_files(pairs, manifest.parent, digest)
        above = manifest.parent.relative_to(root).as_posix()
        parts.append(part.assign(file=above + "/" + part["file"]))
    return pd.concat(parts, ignore_index=True).sort_values("file", ignore_index=True)


def refuse(table: pd.DataFrame, root: Path) -> None:
    """Raise InputError naming the first files of `table` that are not `ok`, if any."""
    faults = table[table["status"] != "ok"]
    if len(faults):
        named = [f"{row.file} {row.status}" for row in faults.head(10).itertuples()]
        more = f" and {len(faults) - len(named)} more" if len(faults) > len(named) else ""
        raise InputError(
            root,
            f"{len(faults)} of {len(table)} files changed or are missing: {', '.join(named)}{more}",
            "Delete the named files or their folder and run the workflow again",
        )


def verify_all(root: Path) -> pd.DataFrame:
    """Verify everything below `root` (results/<dataset>) that a manifest or provenance.json lists.

    That is what `verify` checks, all of which must exist, and the files listed in provenance.json,
    if there is one: inventory, splits, agreement, scores and the report. Columns file (relative to
    `root`) and status (ok, changed, missing, unknown), sorted by file; does not raise for them.
    Raises InputError if the archive's digest or the data set's table is missing.
    """
    for name in ("raw/archive.zip.sha256", "dataset.tsv", "annotations.tsv"):
        if not (root / name).is_file():
            raise InputError(root / name, "is missing", "Run the workflow first")
    folders = [m for p in ("slices/*", "masks/*", "predictions/*/*") for m in root.glob(f"{p}.tsv")]
    models = list(root.glob("models/*/manifest.tsv"))
    parts = [_collected(root, folders, models)]
    record = root / "provenance.json"
    if record.is_file():
        listed = read_json(record)["artifacts"]
        parts.append(check_files(((row["file"], row["sha256"]) for row in listed), root))
    table = pd.concat(parts, ignore_index=True).drop_duplicates()
    return table.sort_values(["file", "status"], ignore_index=True)
