"""DICOM series and multi-frame objects of CT: read, checked, put together to a volume.

Attributes: DICOM PS3.3, C.7.6.2 (Image Plane) and C.8.15.3 (Enhanced CT). Voxel (column, row,
plane) is [x, y, z].
"""

import contextlib
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from mbhseg.errors import InputError
from mbhseg.imaging.plane_stream import MAX_BYTES
from mbhseg.scans.scan import Scan, compact, from_lps, image_of

_SAME = 1e-3  # of direction cosines and, as a share, of spacings
_DUPLICATE = 0.05  # of the step between planes
_UNEVEN = 0.1  # of the step, between the planes of one scan
_SHIFTED_MM = 1.0  # sideways; headers round positions
_MAGIC = b"DICM"
_BROKEN = (
    *(InvalidDicomError, OSError, EOFError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, RuntimeError, NotImplementedError, OverflowError, MemoryError, struct.error),
)


class Plane(NamedTuple):
    """One frame: which file, which frame in it, where it lies, what its numbers mean.

    `position` of the first pixel's centre and `across`, `down` (direction cosines of growing
    column and row) in LPS+, `pixel` the distance in mm of rows and of columns.
    """

    file: int
    frame: int
    position: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    pixel: tuple[float, float]
    slope: float
    intercept: float


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
    planes = _sorted(planes, paths, where)
    hu = _pixels(planes, paths, datasets, where)
    used = [datasets[plane.file] for plane in planes]
    multiframe = len({plane.file for plane in planes}) < len(planes)
    return Scan(
        name,
        where,
        "dicom",
        image_of(hu, _affine(planes)),
        dicom=tuple(used[:1] if multiframe else used),
        frames=tuple(plane.frame for plane in planes),
    )


@contextlib.contextmanager
def _readable(where: str | Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(where, f"not readable DICOM ({reason})", "Export it again") from error


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


def _sorted(planes: list[Plane], paths: Sequence[Path], where: str) -> list[Plane]:
    """The planes along their normal; InputError unless they stack to a volume."""
    first = planes[0]
    for plane in planes:
        turned = max(
            np.abs(plane.across - first.across).max(), np.abs(plane.down - first.down).max()
        )
        scaled = max(abs(a / b - 1) for a, b in zip(plane.pixel, first.pixel, strict=True))
        if not (turned <= _SAME and scaled <= _SAME):
            raise InputError(
                where, "mixes planes of several directions or pixel sizes", "Leave out localizers"
            )
    normal = np.cross(first.across, first.down)
    planes = sorted(planes, key=lambda plane: float(plane.position @ normal))
    planes = _without_duplicates(planes, normal, paths, where)
    heights = np.array([plane.position @ normal for plane in planes])
    gaps = np.diff(heights)
    if not gaps.size:
        return planes
    step = float(np.median(gaps))
    wide, uneven = gaps > (1 + _UNEVEN) * step, np.abs(gaps - step) > _UNEVEN * step
    if uneven.any():
        at = int(np.flatnonzero(wide if wide.any() else uneven)[0])
        lacking = "a slice is missing" if gaps[at] > 1.5 * step else "slices are not evenly spaced"
        raise InputError(
            where,
            f"{lacking}: {gaps[at]:.3g} mm after plane {at + 1} of {len(planes)}, {step:.3g} mm"
            " elsewhere",
            "Export it whole, or give evenly spaced parts in folders of their own",
        )
    line = np.linspace(planes[0].position, planes[-1].position, len(planes))
    aside = np.linalg.norm(np.array([plane.position for plane in planes]) - line, axis=1)
    if aside.max() > max(_SHIFTED_MM, _UNEVEN * step):
        raise InputError(
            where, f"slices are shifted by {aside.max():.3g} mm against each other", "Export again"
        )
    return planes


def _without_duplicates(
    planes: list[Plane], normal: NDArray[np.float64], paths: Sequence[Path], where: str
) -> list[Plane]:
    """Each place once; InputError if two planes at one place show different pictures."""
    heights = np.array([plane.position @ normal for plane in planes])
    gaps = np.diff(heights)
    typical = float(np.median(gaps[gaps > 1e-6])) if (gaps > 1e-6).any() else 1.0
    kept = planes[:1]
    for plane, gap in zip(planes[1:], gaps, strict=True):
        if gap > _DUPLICATE * typical:
            kept.append(plane)
            continue
        with _readable(where):
            one, other = (_stored(paths[twin.file], twin.frame) for twin in (kept[-1], plane))
        if not np.array_equal(one, other):
            raise InputError(
                where,
                f"two different slices lie at one place ({paths[kept[-1].file].name},"
                f" {paths[plane.file].name})",
                "Give each series or time point a folder of its own",
            )
    return kept


def _stored(path: Path, frame: int) -> NDArray[Any]:
    """A frame's stored values [row, column]."""
    pixels = np.asarray(pydicom.dcmread(path).pixel_array)
    return pixels[frame] if pixels.ndim == 3 else pixels


def _affine(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """To RAS+ in mm; the step from plane to plane is the positions' own, sheared by a tilt."""
    first = planes[0]
    if len(planes) > 1:
        step = (planes[-1].position - first.position) / (len(planes) - 1)
    else:  # ASSUME: one slice says nothing of the distance to the next; 5 mm, the usual
        step = 5.0 * np.cross(first.across, first.down)
    columns = np.column_stack((first.across * first.pixel[1], first.down * first.pixel[0], step))
    return from_lps(columns, first.position)


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
