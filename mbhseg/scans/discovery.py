"""Find the scans in the files and folders that a user names."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mbhseg.errors import InputError, reason
from mbhseg.scans import dicom, itk, nifti, npy_png
from mbhseg.scans.failures import Failure
from mbhseg.scans.scan import Scan

_READERS: dict[str, Callable[[Path, str], Scan]] = {
    ".nii.gz": nifti.read,
    ".nii": nifti.read,
    **dict.fromkeys((".mha", ".mhd", ".nrrd", ".nhdr"), itk.read),
    ".npy": npy_png.read_array,
    ".png": npy_png.read_picture,
}
_DICOM, _ZIP, _LIST = (".dcm", ".dicom"), ".zip", ".txt"
_KNOWN = "NIfTI, MHA, NRRD, NPY, PNG, DICOM, or a zip of the data set's layout"


class FoundScan(NamedTuple):
    """A scan that was found but not read yet; `read` raises InputError if it is broken.

    `files` are those it is read from: one, or those of a DICOM series.
    """

    name: str
    where: str
    read: Callable[[], Scan]
    files: tuple[Path, ...] = ()


def find(inputs: Iterable[str | Path]) -> tuple[list[FoundScan], list[Failure]]:
    """The scans of the inputs, sorted by name, and the inputs that are no scans.

    An input is a file, a folder (searched recursively), or a zip in the data set's layout; a
    `.txt` file lists further inputs, one per line. A scan is named by its file without suffix, a
    DICOM series by its folder, and `<case>/image.nii.gz` by its case, whose `label_annot_<k>`
    are ignored. Files of unknown formats in a folder are skipped.

    Two scans with the same name are both failures. So is a list that lists itself.
    """
    scans: list[FoundScan] = []
    failures: list[Failure] = []
    for given in inputs:
        _add(Path(given), scans, failures)
    for name, count in Counter(scan.name for scan in scans).items():
        if count > 1:
            twins = [scan.where for scan in scans if scan.name == name]
            what = f"{count} scans are named {name}"
            failures += [Failure(name, twin, what, "Rename all but one") for twin in twins]
            scans = [scan for scan in scans if scan.name != name]
    return sorted(scans, key=lambda scan: scan.name), failures


def find_some(inputs: Sequence[str | Path]) -> tuple[list[FoundScan], list[Failure]]:
    """Like `find`; InputError if the inputs name nothing, or one of them is an empty word."""
    found, failures = ([], []) if "" in inputs else find(inputs)
    if not found and not failures:
        raise InputError(
            ", ".join(str(each) for each in inputs if each) or "scans",
            "names no scan",
            "Give files or folders; the workflow takes them from scans of its config",
        )
    return found, failures


def _add(
    path: Path, scans: list[FoundScan], failures: list[Failure], lists: tuple[Path, ...] = ()
) -> None:
    """Add the scans or the failure of one input, or of each line of a list, named by `lists`."""
    try:
        if path.suffix.lower() == _LIST and path.is_file():
            lines, here = _lines(path), path.resolve()
            if here in lists:
                raise InputError(path, "lists itself", f"Remove it from {lists[-1].name}")
            for line in lines:
                _add(path.parent / line, scans, failures, (*lists, here))
        else:
            scans += _search(path)
    except InputError as error:
        failures.append(Failure.of(_stem(path), error))
    except OSError as error:  # such as a name that is too long, or no permission
        failures.append(
            Failure(path.name, str(path), f"cannot be read ({reason(error)})", "Check the path")
        )


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            path, "is no list of scans (not UTF-8 text)", "List files or folders, one per line"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _search(path: Path) -> list[FoundScan]:
    if path.is_dir():
        scans = list(_in_folder(path))
        if not scans:
            raise InputError(path, "has no scan", f"Give {_KNOWN}")
        return scans
    if not path.exists():
        raise InputError(path, "no such file or folder", "Check the path")
    if path.suffix.lower() == _ZIP:
        return [
            FoundScan(c, f"{path}:{c}", partial(nifti.read_member, path, c), (path,))
            for c in nifti.cases(path)
        ]
    if reader := _reader(path):
        return [_file(path, reader)]
    if path.suffix.lower() in _DICOM or dicom.is_dicom(path):
        return [_series([path], _stem(path), str(path))]
    raise InputError(path, "has an unknown format", f"Give {_KNOWN}")


def _in_folder(folder: Path) -> Iterator[FoundScan]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here, slices = Path(root), []
        for name in sorted(name for name in names if not name.startswith(".")):
            path = here / name
            if reader := _reader(path):
                if not name.startswith("label_annot_"):
                    yield _file(path, reader)
            elif path.suffix.lower() in _DICOM or (name != "DICOMDIR" and dicom.is_dicom(path)):
                slices.append(path)
        if slices:
            yield _series(slices, here.resolve().name, str(here))


def _reader(path: Path) -> Callable[[Path, str], Scan] | None:
    lower = path.name.lower()
    return next((read for suffix, read in _READERS.items() if lower.endswith(suffix)), None)


def _file(path: Path, reader: Callable[[Path, str], Scan]) -> FoundScan:
    name = _stem(path)
    if name == "image":  # the data set's own layout
        name = path.resolve().parent.name
    return FoundScan(name, str(path), partial(reader, path, name), (path,))


def _series(files: list[Path], name: str, where: str) -> FoundScan:
    return FoundScan(name, where, partial(dicom.read, files, name, where), tuple(files))


def _stem(path: Path) -> str:
    """The file's name without the suffix of its format; other dots are part of the name."""
    lower = path.name.lower()
    known = (*_READERS, *_DICOM, _ZIP)
    suffix = next((suffix for suffix in known if lower.endswith(suffix)), "")
    return path.name[: len(path.name) - len(suffix)] if not path.is_dir() else path.name
