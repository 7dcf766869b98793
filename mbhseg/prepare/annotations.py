"""The raters' labels of one case."""

from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import Labels
from mbhseg.errors import InputError
from mbhseg.imaging.nifti import label_array
from mbhseg.inspect.archive import Archive


class RatedCase(NamedTuple):
    """All raters' labels of one case, uint8 [x, y, z], and the scan's 4 x 4 affine in mm."""

    case: str
    patient: str
    labels: dict[int, Labels]
    affine: NDArray[Any]


def rater_name(rater: int) -> str:
    """The rater's name in the candidate and reference columns."""
    return f"rater{rater}"


def read_raters(archive: Archive, case: str, scan: nib.Nifti1Image) -> RatedCase:
    """Read the labels of all raters of a case whose scan is `scan`.

    Raises InputError if no rater annotated it, or if the shape of a label volume is not the scan's.
    """
    files = archive.cases[case]
    if not files.labels:
        raise InputError(
            f"{archive.path}:{case}", "no rater annotated this case", "Exclude the case"
        )
    labels = {}
    for rater, member in files.labels.items():
        volume = label_array(archive.nifti(member), member)
        if volume.shape != scan.shape[:3]:
            raise InputError(
                f"{archive.path}:{member}",
                f"shape {volume.shape} is not the scan's {scan.shape[:3]}",
                "Exclude the rater or the case",
            )
        labels[rater] = volume
    return RatedCase(case, files.patient, labels, np.asarray(scan.affine, np.float64))
