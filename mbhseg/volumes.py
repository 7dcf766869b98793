"""Volumes in memory: NIfTI bytes to arrays with their geometry, and back.

Axis order is NIfTI's throughout: [x, y, z], the third axis being the slice axis.
"""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.files import atomic_file

LABEL_TOLERANCE = 1e-3


def parse_nifti(data: bytes, where: str) -> nib.Nifti1Image:
    """Read a `.nii` or `.nii.gz` image from memory.

    Raises InputError where the bytes are no NIfTI-1 image or are cut short.
    """
    try:
        raw = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        image = nib.Nifti1Image.from_bytes(raw)
        needed = image.dataobj.offset + int(np.prod(image.shape)) * image.get_data_dtype().itemsize
        if len(raw) < needed:
            raise EOFError(f"{len(raw)} of {needed} bytes")
    except (OSError, EOFError, zlib.error, ValueError, nib.filebasedimages.ImageFileError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            where, f"not a readable NIfTI volume ({reason})", "Fetch it again"
        ) from error
    return image


def image_array(image: nib.Nifti1Image) -> NDArray[Any]:
    """HU values [x, y, z]: the stored dtype if unscaled, else float32 after slope and intercept."""
    slope, intercept = image.header.get_slope_inter()
    if slope in (None, 1.0) and intercept in (None, 0.0):
        return np.asanyarray(image.dataobj.get_unscaled())
    return np.asanyarray(image.get_fdata(dtype=np.float32))


def label_array(image: nib.Nifti1Image, where: str) -> NDArray[np.uint8]:
    """Labels [x, y, z] as uint8, rounded from whatever the file stores.

    Raises InputError if a value is not finite, not within 1e-3 of a whole number, or not a class.
    """
    values = image_array(image)
    if values.dtype == np.uint8:
        labels = values
    else:
        rounded = np.rint(values)
        with np.errstate(invalid="ignore"):
            off = ~(np.abs(values - rounded) <= LABEL_TOLERANCE)  # NaN and infinity are off too
        if off.any():
            raise InputError(
                where, f"label {values[off].flat[0]} is not a whole number", "Redraw or exclude it"
            )
        if rounded.size and (rounded.min() < 0 or rounded.max() >= len(CLASSES)):
            odd = rounded.max() if rounded.max() >= len(CLASSES) else rounded.min()
            raise InputError(
                where, f"label {odd:g} is outside 0..5", "Map it to a class or exclude it"
            )
        labels = rounded.astype(np.uint8)
    if labels.size and labels.max() >= len(CLASSES):
        raise InputError(
            where, f"label {labels.max()} is outside 0..5", "Map it to a class or exclude it"
        )
    return labels


def voxel_ml(affine: NDArray[Any]) -> float:
    """Volume of one voxel in ml, from |det(affine)|.

    The product of zooms overstates tilted scans, whose axes are not orthogonal.
    """
    return abs(float(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000.0


def labels_like(labels: NDArray[np.uint8], scan: nib.Nifti1Image) -> nib.Nifti1Image:
    """A uint8 label image [x, y, z] in the geometry of `scan`: affine, qform, sform, codes, units."""
    if labels.shape != scan.shape[:3]:
        raise ValueError(f"labels {labels.shape} do not fit the scan {scan.shape}")
    header = scan.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, len(CLASSES) - 1
    return nib.Nifti1Image(labels, None, header)


def nifti_bytes(image: nib.Nifti1Image) -> bytes:
    """Serialise as `.nii.gz`, the same bytes for the same image (no time stamp in the gzip)."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0, filename="") as stream:
        stream.write(image.to_bytes())
    return buffer.getvalue()


def save_nifti(path: str | Path, image: nib.Nifti1Image) -> None:
    """Write `.nii.gz`, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_bytes(nifti_bytes(image))


def load_labels(path: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Read a label volume from disk: labels [x, y, z] uint8 and its 4 x 4 affine in mm."""
    image = parse_nifti(Path(path).read_bytes(), str(path))
    return label_array(image, str(path)), np.asarray(image.affine, np.float64)
