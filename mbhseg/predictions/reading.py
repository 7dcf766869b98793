"""Reads predictions for scoring, and checks them against their scans."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import FOREGROUND, Labels
from mbhseg.errors import InputError
from mbhseg.imaging import geometry
from mbhseg.imaging.nifti import load_labels
from mbhseg.imaging.plane_stream import open_volume, readable
from mbhseg.predictions.writing import PROBABILITIES, case_file
from mbhseg.prepare.annotations import RatedCase


def read_prediction(folder: str | Path, rated: RatedCase) -> Labels:
    """The predicted labels [x, y, z] of a case, from `<folder>/<case>.nii.gz`.

    Raises InputError if there is none, if its shape is not the scan's, or if its affine puts a
    voxel more than 1e-3 mm from the scan's.
    """
    path = Path(folder) / case_file(rated.case)
    if not path.is_file():
        raise InputError(path, "no prediction for this case", "Predict every case of the subset")
    return read_fitting(path, next(iter(rated.labels.values())).shape, rated.affine)


def read_fitting(path: Path, shape: tuple[int, ...], scan_affine: NDArray[np.float64]) -> Labels:
    """The labels uint8 [x, y, z] of a file, which must be in the scan's grid.

    Raises InputError as `read_prediction`, and for a value other than a label.
    """
    labels, affine = load_labels(path)
    if labels.shape != shape:
        raise InputError(
            path, f"shape {labels.shape} is not the scan's {shape}", "Predict in the scan's grid"
        )
    if offset := geometry.off_grid_mm(affine, scan_affine, shape):
        raise InputError(
            path,
            f"affine is off the scan's by {offset:.3g} mm",
            "Write predictions with the scan's own affine",
        )
    return labels


def has_probabilities(folder: str | Path) -> bool:
    """Whether a folder of predictions holds probability volumes too."""
    return (Path(folder) / PROBABILITIES).is_dir()


def read_probabilities(folder: str | Path, rated: RatedCase) -> NDArray[np.uint8]:
    """The probabilities uint8 [x, y, z, 5] of EDH..SDH of a case, 255 for 1.

    Raises InputError if there are none, or if they do not have the shape and type that
    `writing.write_case` gives them.
    """
    path = Path(folder) / PROBABILITIES / case_file(rated.case)
    if not path.is_file():
        raise InputError(path, "no probabilities for this case", "Predict every case of the subset")
    with readable(str(path)):
        source = open_volume(path.read_bytes())
        voxels = source._replace(scale=None).read_volume()  # the bytes as they are stored
        source.finish()
    expected = (*next(iter(rated.labels.values())).shape, len(FOREGROUND))
    if voxels.dtype != np.uint8 or voxels.shape != expected:
        raise InputError(
            path,
            f"{voxels.dtype.name} of shape {voxels.shape} is not uint8 of {expected}",
            "Predict again",
        )
    return voxels
