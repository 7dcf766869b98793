"""Writes predictions: a label volume in the scan's own geometry, and pictures of its slices.

Layout of a folder of predictions:
    <case>.nii.gz                        uint8 labels 0..5 [x, y, z]
    probabilities/<case>.nii.gz          uint8 [x, y, z, 5], EDH..SDH, scl_slope 1/255 (optional)
    png/masks/<case>_<zzz>.png           labels in the RGB colour code, exact
    png/overlays/<case>_<zzz>.png        labels drawn on the windowed CT, for viewing
Pictures have the scan's matrix, not the network's, and are in display orientation.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import N_LABELS, Labels
from mbhseg.files import ManifestRow, slice_name, write_listed
from mbhseg.imaging.display import to_display
from mbhseg.imaging.masks import encode_mask
from mbhseg.imaging.nifti import image_array, labels_like, nifti_bytes, scaled_nifti_bytes
from mbhseg.imaging.overlays import overlay
from mbhseg.imaging.png import encode_png
from mbhseg.imaging.windows import Window, to_grey

PROBABILITIES = "probabilities"
FULL = 255  # a probability of 1
MASKS = "png/masks"
OVERLAYS = "png/overlays"


def case_file(case: str) -> str:
    """File name of a case's label volume."""
    return f"{case}.nii.gz"


def write_case(
    folder: str | Path,
    case: str,
    labels: Labels,
    scan: nib.Nifti1Image,
    window: Window,
    pictures: bool = True,
    probabilities: NDArray[np.uint8] | None = None,
) -> list[ManifestRow]:
    """Write one case's prediction into `folder`, which the caller makes visible as a whole.

    Args:
        folder: is made if needed, with the folders of the pictures.
        case: the case's id.
        labels: uint8 0..5 [x, y, z], of the scan's shape.
        scan: gives the geometry (affine, qform, sform and their codes) and the grey of overlays.
        window: of the overlays' grey.
        pictures: also write mask and overlay PNGs of every plane.
        probabilities: also write these, uint8 [x, y, z, 5] of EDH..SDH, 255 for 1
            (`probability_bytes`).

    Returns the rows of the manifest (file relative to `folder`, bytes, sha256), the volume first.
    Raises ValueError if the shapes differ or a value is not a label.
    """
    if labels.max(initial=0) >= N_LABELS:
        raise ValueError(f"label {labels.max()} is outside 0..{N_LABELS - 1}")
    volume = nifti_bytes(labels_like(labels, scan))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [write_listed(folder, case_file(case), volume)]
    if probabilities is not None:
        (folder / PROBABILITIES).mkdir(exist_ok=True)
        data = scaled_nifti_bytes(probabilities, scan, 1 / FULL)
        rows.append(write_listed(folder, f"{PROBABILITIES}/{case_file(case)}", data))
    if not pictures:
        return rows
    for name in (MASKS, OVERLAYS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    grey = to_grey(image_array(scan), window)
    for plane in range(labels.shape[2]):
        shown, below = to_display(labels[:, :, plane]), to_display(grey[:, :, plane])
        file = slice_name(case, plane)
        rows.append(write_listed(folder, f"{MASKS}/{file}", encode_mask(shown)))
        rows.append(write_listed(folder, f"{OVERLAYS}/{file}", encode_png(overlay(below, shown))))
    return rows


def probability_bytes(probabilities: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The bytes 0..255 of hemorrhage probabilities: [..., 6] with background to [..., 5] without.

    Background is the rest to 1. Values are rounded, so a probability is off by .002 at most.
    """
    return np.rint(probabilities[..., 1:] * np.float32(FULL)).astype(np.uint8)
