"""DICOM series and multi-frame objects of CT: read, checked, put together to a volume.

Attributes: DICOM PS3.3, C.7.6.2 (Image Plane) and C.8.15.3 (Enhanced CT). Voxel (column, row,
plane) is [x, y, z].
"""

import contextlib
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from mbhseg.errors import InputError, reason
from mbhseg.imaging.plane_stream import MAX_BYTES
from mbhseg.scans.scan import Scan, compact, image_of
from mbhseg.scans.stacking import Plane, affine_of, stacked

_MAGIC = b"DICM"
_BROKEN = (
    *(InvalidDicomError, OSError, EOFError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, RuntimeError, NotImplementedError, OverflowError, MemoryError, struct.error),
)


def is_dicom(path: Path) -> bool:
    """Whether the file begins like a DICOM file."""
    try:
        with open(path, "rb") as stream:
            return stream.read(132)[128:] == _MAGIC
    except OSError:
        return False


def read(files: Sequence[Path], name: str, where: str) -> Scan:
    """The one CT series in the files, in any order; or one multi-frame object.

    Objects without pixels are skipped, and so is the second of two equal planes.

    Raises InputError if a file cannot be read or decoded, if there is more than one series or
    another modality, or if the planes do not form a volume: different sizes or
    directions, a missing plane, two planes at one position, uneven distances.
    """
    headers = _headers(files, where)
    paths = [path for path, _ in headers]
    datasets = [header for _, header in headers]
    with _readable(where):
        _refuse_strangers(datasets, where)
        planes = _planes(datasets, where)

    def pixels(plane: Plane) -> NDArray[Any]:
        with _readable(where):
            return _stored(paths[plane.file], plane.frame)

    planes = stacked(planes, paths, pixels, where)
    hu = _pixels(planes, paths, datasets, where)
    used = [datasets[plane.file] for plane in planes]
    multiframe = len({plane.file for plane in planes}) < len(planes)
    return Scan(
        name,
        where,
        "dicom",
        image_of(hu, affine_of(planes)),
        dicom=tuple(used[:1] if multiframe else used),
        frames=tuple(plane.frame for plane in planes),
    )


@contextlib.contextmanager
def _readable(where: str | Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        problem = f"not readable DICOM ({reason(error)})"
        raise InputError(where, problem, "Export it again") from error


def _headers(files: Sequence[Path], where: str) -> list[tuple[Path, pydicom.Dataset]]:
    """The files with an image, with their headers."""
    headers: list[tuple[Path, pydicom.Dataset]] = []
    for path in sorted(files):
        with _readable(path):
            header = pydicom.dcmread(path, stop_before_pixels=True)
            if "Rows" in header and "Columns" in header:
                headers.append((path, header))
    if not headers:
        raise InputError(where, "has no DICOM image", "Export the CT series again")
    return headers


def _refuse_strangers(headers: Sequence[pydicom.Dataset], where: str) -> None:
    """Raise InputError unless all files are of one series of grey CT."""
    kinds = Counter(str(header.get("Modality", "unknown")) for header in headers)
    if set(kinds) != {"CT"}:
        others = ", ".join(f"{n} of {kind}" for kind, n in sorted(kinds.items()) if kind != "CT")
        raise InputError(where, f"modality is not CT ({others})", "Give a CT series")
    series = Counter(str(header.get("SeriesInstanceUID", "")) for header in headers)
    if len(series) > 1:
        named = {
            str(h.get("SeriesInstanceUID", "")): f"{h.get('SeriesNumber', '?')} "
            f"{h.get('SeriesDescription', '')}".strip()
            for h in headers
        }
        listed = ", ".join(f"{named[uid]} ({n})" for uid, n in sorted(series.items())[:5])
        raise InputError(
            where, f"mixes {len(series)} series: {listed}", "Put each series into its own folder"
        )
    sizes = Counter((int(header.Columns), int(header.Rows)) for header in headers)
    if len(sizes) > 1:
        listed = ", ".join(f"{n} of {x} x {y}" for (x, y), n in sorted(sizes.items()))
        raise InputError(where, f"mixes matrices ({listed})", "Exclude the files of another size")
    for header in headers:
        if header.get("SamplesPerPixel", 1) != 1:
            raise InputError(where, "is a colour picture", "Give the original CT series")


def _planes(headers: Sequence[pydicom.Dataset], where: str) -> list[Plane]:
    """The planes of single-frame files, or of the only file."""
    frames = [int(header.get("NumberOfFrames", 1) or 1) for header in headers]
    if max(frames) == 1 and not any("PerFrameFunctionalGroupsSequence" in h for h in headers):
        return [_single(header, k, where) for k, header in enumerate(headers)]
    if len(headers) > 1:
        raise InputError(
            where, f"mixes {len(headers)} multi-frame objects", "Put each into its own folder"
        )
    if "PerFrameFunctionalGroupsSequence" not in headers[0]:
        raise InputError(
            where, "is multi-frame without a position for each frame", "Export single slices"
        )
    return [_frame(headers[0], k, where) for k in range(frames[0])]


def _single(header: pydicom.Dataset, file: int, where: str) -> Plane:
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if not header.get(keyword):
            raise InputError(
                where, f"an image (localizer or capture?) has no {keyword}", "Exclude it"
            )
    return _plane(header, header, header, header, file, 0)


def _frame(header: pydicom.Dataset, frame: int, where: str) -> Plane:
    """A frame's own functional groups take precedence over the shared ones."""

    def group(keyword: str) -> pydicom.Dataset:
        for groups in (
            header.PerFrameFunctionalGroupsSequence[frame],
            *header.get("SharedFunctionalGroupsSequence", ()),
        ):
            if groups.get(keyword):
                return groups[keyword].value[0]
        raise InputError(where, f"frame {frame + 1} has no {keyword}", "Export single slices")

    return _plane(
        group("PlanePositionSequence"),
        group("PlaneOrientationSequence"),
        group("PixelMeasuresSequence"),
        group("PixelValueTransformationSequence"),
        0,
        frame,
    )


def _plane(
    position: pydicom.Dataset,
    orientation: pydicom.Dataset,
    measures: pydicom.Dataset,
    values: pydicom.Dataset,
    file: int,
    frame: int,
) -> Plane:
    cosines = np.array(orientation.ImageOrientationPatient, float)
    down, across = (float(mm) for mm in measures.PixelSpacing)
    return Plane(
        file,
        frame,
        np.array(position.ImagePositionPatient, float),
        cosines[:3],
        cosines[3:],
        (down, across),
        float(values.get("RescaleSlope", 1)),
        float(values.get("RescaleIntercept", 0)),
    )


def _stored(path: Path, frame: int) -> NDArray[Any]:
    """A frame's stored values [row, column]."""
    pixels = np.asarray(pydicom.dcmread(path).pixel_array)
    return pixels[frame] if pixels.ndim == 3 else pixels


def _pixels(
    planes: Sequence[Plane],
    paths: Sequence[Path],
    headers: Sequence[pydicom.Dataset],
    where: str,
) -> NDArray[Any]:
    """HU [x, y, z]; whole numbers if every slope is 1 and every intercept a whole number."""
    shape = int(headers[0].Columns), int(headers[0].Rows), len(planes)
    if 4 * int(np.prod(shape, dtype=object)) > MAX_BYTES:
        raise InputError(where, f"claims {' x '.join(map(str, shape))} voxels", "Export it again")
    whole = all(plane.slope == 1 and plane.intercept.is_integer() for plane in planes)
    hu = np.empty(shape, np.int32 if whole else np.float32, order="F")
    opened: tuple[int, Any] = (-1, None)
    for k, plane in enumerate(planes):
        path = paths[plane.file]
        if opened[0] != plane.file:
            opened = plane.file, _decoded(path)
        frame = opened[1][plane.frame] if opened[1].ndim == 3 else opened[1]
        if frame.shape != shape[1::-1]:
            raise InputError(path, "does not have the size in its header", "Export it again")
        stored = frame.T.astype(hu.dtype)
        scaled = stored if whole else stored * plane.slope
        hu[:, :, k] = scaled + np.asarray(plane.intercept, hu.dtype)
    return compact(hu)


def _decoded(path: Path) -> NDArray[Any]:
    """The stored values of a file, [row, column] or [frame, row, column]."""
    with _readable(path):
        dataset = pydicom.dcmread(path)
        return np.asarray(dataset.pixel_array)
