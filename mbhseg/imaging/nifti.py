"""Volumes in memory: NIfTI bytes to arrays with their geometry, and back.

Axis order is NIfTI's throughout: [x, y, z], the third axis being the slice axis.
"""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.imaging.drawn_planes import DrawnPlanes, is_blank
from mbhseg.imaging.plane_stream import Source, open_volume, readable

LABEL_TOLERANCE = 1e-3


def parse_nifti(data: bytes, where: str) -> nib.Nifti1Image:
    """Read a `.nii` or `.nii.gz` image (NIfTI-1 or -2, either byte order) from memory.

    The image's data object is an array of the machine's byte order: the stored values, or
    float32 after slope and intercept where the header has them. Axes of length 1 after the third
    are dropped. `image.extra` holds `dtype`, the type in the file, and `notes`, a tuple of oddities
    of the file that do not make it unreadable.

    Memory is taken only for what the header asks for and the file can hold.

    Raises InputError if the bytes are no such image, are cut short or damaged, hold no voxels or
    values other than real numbers, have an affine that is not finite, or inflate to more than the
    header asks for.
    """
    with readable(where):
        source = open_volume(data)
        affine = _affine(source.header)
        voxels = source.read_volume()
        notes = (*source.notes, *_finish(source))
        header = source.header
        header["scl_slope"] = header["scl_inter"] = np.nan  # applied above
        kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        extra = {"dtype": source.dtype.name, "notes": notes}
        return kind(voxels, affine, header, extra=extra)


def _affine(header: nib.Nifti1Header) -> NDArray[np.float64]:
    affine = np.asarray(header.get_best_affine(), np.float64)
    if not np.isfinite(affine).all():
        raise ValueError("the affine has a value that is not finite")
    return affine


def _finish(source: Source) -> tuple[str, ...]:
    """Read a file to its end, and note what follows the voxels."""
    trailing = source.finish()
    return (f"{trailing:,} bytes after the voxels",) if trailing else ()


class PlaneReader:
    """The planes [x, y] of a `.nii` or `.nii.gz` file one after the other, as they are inflated.

    A plane stays in the processor's cache from the inflate to the next step, and memory does not
    grow with the number of planes. `shape` is the volume's, [x, y, z]; `header`, `affine` and
    `notes` are as in `parse_nifti`. The file is checked as by `parse_nifti`, its end and checksum
    only if the planes are read to the end.

    Raises InputError as `parse_nifti`, and for a volume without exactly three axes.
    """

    def __init__(self, data: bytes, where: str) -> None:
        self.where = where
        with readable(where):
            self._source = open_volume(data)
            if len(self._source.shape) != 3:
                raise ValueError(f"its shape {self._source.shape} is not of three axes")
            self.affine = _affine(self._source.header)
        self.header = self._source.header
        self.shape: tuple[int, ...] = self._source.shape
        self.notes = self._source.notes

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield each plane once, in `parse_nifti`'s number type."""
        for _ in range(self.shape[2]):
            with readable(self.where):
                plane = self._source.read_plane()
            yield plane
        with readable(self.where):
            self.notes += _finish(self._source)


def image_array(image: nib.Nifti1Image) -> NDArray[Any]:
    """HU values [x, y, z]: the stored dtype if unscaled, else float32 after slope and intercept.

    Takes images of `parse_nifti`, without a copy, and any other nibabel image.
    """
    data: Any = image.dataobj
    if isinstance(data, np.ndarray):
        return data
    if data.slope == 1 and data.inter == 0:
        return np.asanyarray(data.get_unscaled())
    return np.asanyarray(image.get_fdata(dtype=np.float32, caching="unchanged"))


def label_array(image: nib.Nifti1Image, where: str) -> NDArray[np.uint8]:
    """Labels [x, y, z] as uint8, rounded from whatever the file stores.

    Raises InputError if a value is not finite, not within 1e-3 of a whole number, or not a class.
    """
    return _to_labels(image_array(image), where)


def read_labels(data: bytes, where: str) -> DrawnPlanes:
    """Labels of a `.nii` or `.nii.gz` file, plane by plane.

    The same as `parse_nifti` and `label_array` give for three axes, without ever holding all
    voxels as they are stored. Raises InputError as `PlaneReader` and `label_array` do.
    """
    return labels_of(PlaneReader(data, where))


def labels_of(planes: PlaneReader) -> DrawnPlanes:
    """Labels of the planes, of which none may have been read yet."""
    drawn = {
        z: _to_labels(plane, planes.where) for z, plane in enumerate(planes) if not is_blank(plane)
    }
    return DrawnPlanes(planes.shape, drawn)


def _to_labels(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if values.dtype.kind == "f":
        return _whole(values, where)
    _check_range(values, where)
    return values.astype(np.uint8, copy=False)


def _whole(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Labels from floating-point values; only those other than 0, which are few, are rounded."""
    labels = np.zeros(values.shape, np.uint8, order="F")
    source = values.reshape(-1, order="F")
    drawn = np.flatnonzero(source != 0)  # NaN differs from 0
    stored = source[drawn]
    rounded = np.rint(stored)
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(stored - rounded) <= LABEL_TOLERANCE)  # NaN and infinity are off too
    if off.any():
        raise InputError(
            where, f"label {stored[off][0]:g} is not a whole number", "Fix or exclude it"
        )
    _check_range(rounded, where)
    labels.reshape(-1, order="F")[drawn] = rounded
    return labels


def _check_range(values: NDArray[Any], where: str) -> None:
    """Raise InputError if a label is not a class."""
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0 or high >= len(CLASSES):
        raise InputError(
            where,
            f"label {high if high >= len(CLASSES) else low:g} is outside 0..{len(CLASSES) - 1}",
            "Map it to a class or exclude it",
        )


def voxel_ml(affine: NDArray[Any]) -> float:
    """Volume of one voxel in ml, from |det(affine)|.

    The product of zooms overstates tilted scans, whose axes are not orthogonal.
    """
    return abs(float(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000.0


def labels_like(labels: NDArray[np.uint8], scan: nib.Nifti1Image) -> nib.Nifti1Image:
    """A uint8 label image [x, y, z] in the geometry of `scan`: affine, qform, sform, codes, units.

    Raises ValueError if the shapes differ.
    """
    if labels.shape != scan.shape[:3]:
        raise ValueError(f"labels {labels.shape} do not fit the scan {scan.shape}")
    header = scan.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, len(CLASSES) - 1
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    return kind(labels, header.get_best_affine(), header)


def nifti_bytes(image: nib.Nifti1Image) -> bytes:
    """Serialise as `.nii.gz`, the same bytes for the same image (no time stamp in the gzip)."""
    return _gzipped(image.to_bytes())


def scaled_nifti_bytes(stored: NDArray[Any], scan: nib.Nifti1Image, slope: float) -> bytes:
    """A `.nii.gz` whose header says that the values are `stored` times `slope`.

    `stored` [x, y, z, ...] is written as it is, in the geometry of `scan`. Raises ValueError if the
    first three axes differ from the scan's.
    """
    if stored.shape[:3] != scan.shape[:3]:
        raise ValueError(f"values {stored.shape} do not fit the scan {scan.shape}")
    header = scan.header.copy()
    header.set_data_dtype(stored.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    data = kind(stored, header.get_best_affine(), header).to_bytes()  # nibabel would rescale
    written = type(header)(data[: header.sizeof_hdr], check=False)
    written["scl_slope"], written["scl_inter"] = slope, 0
    return _gzipped(written.binaryblock + data[header.sizeof_hdr :])


def _gzipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0, filename="") as stream:
        stream.write(data)
    return buffer.getvalue()


def load_labels(path: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Read a label volume from disk: labels [x, y, z] uint8 and its 4 x 4 affine in mm."""
    image = parse_nifti(Path(path).read_bytes(), str(path))
    return label_array(image, str(path)), np.asarray(image.affine, np.float64)
