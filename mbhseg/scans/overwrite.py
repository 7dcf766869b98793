"""What must not be replaced: the user's own files, and folders not made by --report."""

import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from mbhseg.errors import InputError
from mbhseg.files import read_table
from mbhseg.imaging.nifti import parse_nifti
from mbhseg.predictions.writing import MASKS, OVERLAYS, PROBABILITIES, case_file
from mbhseg.scans import outcome
from mbhseg.scans.discovery import FoundScan
from mbhseg.scans.layout import (
    ANIMATIONS,
    DICOM_SEG,
    ENTROPY,
    FAILED,
    MOSAICS,
    REPORT,
    VIEWER,
    VOLUMES,
)

_PICTURES = MASKS.split("/")[0]
_FOLDERS = (PROBABILITIES, ENTROPY, _PICTURES, MOSAICS, ANIMATIONS, DICOM_SEG, VIEWER, REPORT)
_REMEDY = "Choose another --out"
_PAGE = "index.html"
_MARK = b"<title>Scans predicted by "  # of every page of `mbhseg.report.scans_page`
_PAGE_FILES = re.compile(
    r"index\.html|report\.css|viewer\.css|viewer\.js|scans\.js|data/volumes\.csv|data/failed\.tsv"
    r"|viewer/index\.js|viewer/scan\d{4,}\.(webp|js)"
)


def refuse_over_inputs(scans: Sequence[FoundScan], folder: str | Path) -> None:
    """Raise InputError if predicting `scans` into `folder` would replace a file of one of them.

    An input counts by its own path and by the file that its links lead to, ignoring case as some
    file systems do. Nothing needs to exist yet.
    """
    folder = Path(folder).resolve()
    labels = {
        name.casefold() for scan in scans for name in (case_file(scan.name), f"{scan.name}.npy")
    }
    for scan in scans:
        for path in _places(scan.files):
            if not path.is_relative_to(folder) or path == folder:
                continue
            first, *rest = path.relative_to(folder).parts
            if first in _FOLDERS if rest else first.casefold() in labels:
                raise InputError(path, "is an input, and a result would replace it", _REMEDY)


def refuse_over_others(scans: Sequence[FoundScan], folder: str | Path) -> None:
    """Raise InputError if predicting `scans` into `folder` would replace what no prediction made.

    A folder with a volumes.csv of ours may be predicted into again: its label volumes are those
    that volumes.csv lists, or hold uint8 as ours do. In any other folder nothing may lie where a
    result goes. Subfolders of results must not be links, which would lead elsewhere.
    """
    folder = Path(folder)
    places = [folder / name for name in (*_FOLDERS, MASKS, OVERLAYS)]
    for place in places:
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise InputError(place, "is in the way: results need a folder there", _REMEDY)
    listed = _listed(folder / VOLUMES)
    labels = [folder / case_file(scan.name) for scan in scans]
    if listed is None:
        tables = [folder / VOLUMES, folder / FAILED]
        labels += [folder / f"{scan.name}.npy" for scan in scans]
        taken = [path for path in (*tables, *labels) if path.exists()]
        own = [place for place in places if place.name != REPORT]  # `refuse_foreign_report`
        taken += [place for place in own if place.is_dir() and any(place.iterdir())]
    else:
        taken = [path for path in labels if path.name not in listed and not _is_labels(path)]
    if taken:
        raise InputError(taken[0], "is there, and no prediction made it", _REMEDY)


def _listed(volumes: Path) -> set[str] | None:
    """The label files that a table of predicted scans lists; None if it is no such table."""
    try:
        table = read_table(volumes)
    except (OSError, ValueError):
        return None
    known = list(table.columns) == list(outcome.COLUMNS)
    return set(map(case_file, table["case"])) if known else None


def _is_labels(path: Path) -> bool:
    """Whether nothing is at `path`, or a NIfTI volume that stores uint8."""
    if not path.exists():
        return True
    try:
        return bool(parse_nifti(path.read_bytes(), str(path)).extra["dtype"] == "uint8")
    except (OSError, InputError):
        return False


def refuse_foreign_entry(output: str | Path) -> None:
    """Raise InputError if `output` is there and is no zip of label volumes, as `submit` makes."""
    output = Path(output)
    if not output.exists():
        return
    try:
        with zipfile.ZipFile(output) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        names = [""]
    if not all(name.endswith(".nii.gz") and "/" not in name for name in names):
        raise InputError(output, "is there, and is not a challenge entry", _REMEDY)


def refuse_over(inputs: Iterable[str | Path], output: str | Path) -> None:
    """Raise InputError if the file `output` is one of the files `inputs`, by whatever name."""
    output = Path(output)
    places = set(_places([output]))
    for path in map(Path, inputs):
        same = path.exists() and output.exists() and path.samefile(output)
        if same or places & set(_places([path])):
            raise InputError(output, f"is also an input ({path})", _REMEDY)


def refuse_foreign_report(folder: str | Path) -> None:
    """Raise InputError if `folder` is there and holds anything but a page of predicted scans.

    An empty folder may be replaced.
    """
    folder = Path(folder)
    remedy = f"Move it away, or choose another folder for the results: {folder} is replaced whole"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(folder, "is not a folder", remedy)
    files = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    if not files:
        return
    page = folder / _PAGE
    if not page.is_file() or _MARK not in page.read_bytes()[:4096]:
        raise InputError(folder, "was not made by --report", remedy)
    for path in files:
        known = _PAGE_FILES.fullmatch(path.relative_to(folder).as_posix())
        if path.is_symlink() or not known:
            raise InputError(path, "was not made by --report", remedy)


def _places(paths: Iterable[Path]) -> list[Path]:
    """Each path below its resolved folder, and the file that it leads to."""
    return [p for path in paths for p in (path.parent.resolve() / path.name, path.resolve())]
