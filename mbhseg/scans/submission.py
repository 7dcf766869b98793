"""A challenge entry: one label volume per scan, checked against the scans, in one zip."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

from mbhseg.errors import InputError, disk_errors
from mbhseg.files import ZIP_EPOCH, atomic_file
from mbhseg.imaging import geometry
from mbhseg.imaging.nifti import load_labels, parse_nifti
from mbhseg.predictions.writing import case_file
from mbhseg.scans.discovery import FoundScan


def check(folder: str | Path, scans: Sequence[FoundScan]) -> list[Path]:
    """The label volumes `<name>.nii.gz` of the scans, each in its scan's geometry.

    Raises InputError if there is no scan, if a volume is missing, is not uint8 labels 0..5, or
    does not match its scan's voxels, or if the folder has a volume of no given scan.
    """
    if not scans:
        raise InputError(folder, "no scan to check the entry against", "Give the challenge's scans")
    expected = {case_file(scan.name) for scan in scans}
    strangers = sorted({p.name for p in Path(folder).glob("*.nii.gz")} - expected)
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        raise InputError(
            Path(folder) / strangers[0], f"belongs to no given scan{more}", "Remove it"
        )
    return [_check_one(Path(folder) / case_file(scan.name), scan) for scan in scans]


def _check_one(path: Path, found: FoundScan) -> Path:
    if not path.is_file():
        raise InputError(path, "labels of this scan are missing", "Predict it")
    stored = parse_nifti(path.read_bytes(), str(path)).extra["dtype"]
    if stored != "uint8":
        raise InputError(path, f"labels are stored as {stored}, not uint8", "Predict it again")
    labels, affine = load_labels(path)
    scan = found.read()
    if labels.shape != scan.image.shape:
        raise InputError(
            path, f"shape {labels.shape} is not the scan's {scan.image.shape}", "Predict it again"
        )
    if apart := geometry.off_grid_mm(affine, scan.affine, labels.shape):
        raise InputError(
            path, f"lies up to {apart:.3g} mm off its scan ({found.where})", "Predict it again"
        )
    return path


def pack(folder: str | Path, scans: Sequence[FoundScan], target: str | Path) -> int:
    """Check the label volumes of `folder` and zip them without folders; return their number.

    The zip is written completely or not at all. Raises InputError like `check`, and if the zip
    cannot be written.
    """
    if Path(target).is_dir():
        raise InputError(target, "is a folder", "Give the name of a zip file")
    volumes = check(folder, scans)
    with (
        disk_errors(target),
        atomic_file(target) as partial,
        zipfile.ZipFile(partial, "w") as archive,
    ):
        for path in sorted(volumes):
            archive.writestr(zipfile.ZipInfo(path.name, ZIP_EPOCH), path.read_bytes())
    return len(volumes)
