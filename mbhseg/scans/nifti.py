"""NIfTI volumes, single files and members of an archive."""

from pathlib import Path

from mbhseg.errors import InputError, reason
from mbhseg.imaging.nifti import parse_nifti
from mbhseg.inspect.archive import Archive
from mbhseg.scans.scan import Scan


def read(path: Path, name: str) -> Scan:
    """A `.nii` or `.nii.gz` file; InputError if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read ({reason(error)})", "Check the file") from error
    return Scan(name, str(path), "nifti", parse_nifti(data, str(path)))


def read_member(path: Path, case: str) -> Scan:
    """The image of a case of a zip in the data set's layout; InputError if it cannot be read."""
    with Archive(path) as archive:
        member = archive.cases[case].image
        if not member:
            raise InputError(path, f"case {case} has no image", "Pack it again")
        return Scan(case, archive.where(member), "zip", archive.nifti(member))


def cases(path: Path) -> list[str]:
    """The cases of a zip in the data set's layout; InputError if it is not one."""
    with Archive(path) as archive:
        return list(archive.cases)
