"""The temperature of a trained model, fitted on its validation cases."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mbhseg.errors import InputError
from mbhseg.files import read_json
from mbhseg.imaging.nifti import image_array
from mbhseg.inference.averaging import PlanePredictor
from mbhseg.inspect.archive import Archive
from mbhseg.metrics.calibration import REGION_MM, region_of
from mbhseg.predictions import temperature
from mbhseg.predictions.temperature import Voxels
from mbhseg.runtime.progress import progress

FILE = "calibration.json"
MOST_VOXELS = 200_000  # per case; more would not change the fit


def calibrate(
    archive_path: str | Path, cases: Sequence[str], predictor: PlanePredictor
) -> dict[str, Any]:
    """Fit the temperature of a predictor that has none yet, on cases of an archive.

    Uses the voxels within 10 mm of any rater's annotation, each with every rater's label, because
    voxels far from any hemorrhage are trivially right. Large cases are subsampled evenly.

    Returns temperature, cases, region_mm, and loss and calibration error before and after.
    Raises InputError if a case cannot be read, or if no case has a hemorrhage.
    """
    with Archive(archive_path) as archive:
        voxels = [
            case_voxels(archive, case, predictor)
            for case in progress(sorted(cases), label="calibrate", unit="scans")
        ]
    fitted = temperature.fit(voxels)
    return {
        "temperature": fitted,
        "cases": len(cases),
        "region_mm": REGION_MM,
        **{
            name: {"before": measure(voxels, 1.0), "after": measure(voxels, fitted)}
            for name, measure in (
                ("loss", temperature.loss),
                ("calibration_error", temperature.mean_calibration_error),
            )
        },
    }


def case_voxels(archive: Archive, case: str, predictor: PlanePredictor) -> Voxels:
    """The case's voxels that `calibrate` uses; none if no rater annotated anything.

    Raises InputError if the case cannot be read.
    """
    files = archive.files_of(case)
    scan = archive.nifti(files.image)
    hu = image_array(scan)
    raters = [archive.labels(member).volume() for member in files.labels.values()]
    annotated = np.zeros(hu.shape, bool, order="F")
    for labels in raters:
        annotated |= labels != 0
    region = region_of(annotated, scan.affine)
    region = region[:: max(1, len(region) // MOST_VOXELS)]
    plane_size = hu.shape[0] * hu.shape[1]
    parts: list[Any] = [np.zeros((0, 6), np.float32)]
    for z, plane in predictor.planes(hu):
        start, stop = np.searchsorted(region, (z * plane_size, (z + 1) * plane_size))
        flat = plane.reshape(plane_size, -1, order="F")
        parts.append(flat[region[start:stop] - z * plane_size])
    chosen = np.stack([volume.ravel(order="F")[region] for volume in raters])
    return Voxels(np.concatenate(parts), chosen)


def stored_temperature(folder: str | Path) -> float:
    """The temperature stored beside a model, 1 if there is none.

    Raises InputError if the file is broken.
    """
    path = Path(folder) / FILE
    return read_temperature(path) if path.is_file() else 1.0


def read_temperature(path: str | Path) -> float:
    """The temperature in a file with the result of `calibrate`; InputError if there is none."""
    try:
        value = float(read_json(path)["temperature"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"has no temperature ({error!r})", "Calibrate again") from error
    if not value > 0:
        raise InputError(path, f"temperature {value} is not positive", "Calibrate again")
    return value
