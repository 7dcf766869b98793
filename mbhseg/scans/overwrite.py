"""What must not be replaced: the user's own files, and folders not made by --report."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mbhseg.errors import InputError
from mbhseg.predictions.writing import MASKS, PROBABILITIES, case_file
from mbhseg.scans.discovery import FoundScan
from mbhseg.scans.layout import ANIMATIONS, DICOM_SEG, ENTROPY, MOSAICS, REPORT, VIEWER

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
