"""The planes of a CT series, put in order: sorted along their normal, checked for gaps, tilt kept.

Planes run along the cross product of row and column direction.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.errors import InputError
from mbhseg.scans.scan import from_lps

_SAME = 1e-3  # of direction cosines and, as a share, of spacings
_DUPLICATE = 0.05  # of the step between planes
_UNEVEN = 0.1  # of the step, between the planes of one scan
_SHIFTED_MM = 1.0  # sideways; headers round positions


class Plane(NamedTuple):
    """One frame: its file, the frame in the file, its place, and its rescale slope and intercept.

    `position` is the first pixel's centre, `across` and `down` are the direction cosines of growing
    column and row, all in LPS+; `pixel` is the distance of rows and of columns in mm.
    """

    file: int
    frame: int
    position: NDArray[np.float64]
    across: NDArray[np.float64]
    down: NDArray[np.float64]
    pixel: tuple[float, float]
    slope: float
    intercept: float


def stacked(
    planes: list[Plane],
    paths: Sequence[Path],
    pixels: Callable[[Plane], NDArray[Any]],
    where: str,
) -> list[Plane]:
    """The planes sorted along their normal, each position once.

    `paths` are the files of the planes; `pixels` reads a plane's stored values, to compare planes
    at the same position. Raises InputError unless the planes form a volume.
    """
    first = planes[0]
    for plane in planes:
        turned = max(
            np.abs(plane.across - first.across).max(), np.abs(plane.down - first.down).max()
        )
        scaled = max(abs(a / b - 1) for a, b in zip(plane.pixel, first.pixel, strict=True))
        if not (turned <= _SAME and scaled <= _SAME):
            raise InputError(
                where, "mixes planes of several directions or pixel sizes", "Exclude localizers"
            )
    normal = np.cross(first.across, first.down)
    planes = sorted(planes, key=lambda plane: float(plane.position @ normal))
    planes = _without_duplicates(planes, normal, paths, pixels, where)
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
            "Export it completely, or put evenly spaced parts into their own folders",
        )
    line = np.linspace(planes[0].position, planes[-1].position, len(planes))
    aside = np.linalg.norm(np.array([plane.position for plane in planes]) - line, axis=1)
    if aside.max() > max(_SHIFTED_MM, _UNEVEN * step):
        raise InputError(
            where, f"slices are shifted by {aside.max():.3g} mm against each other", "Export again"
        )
    return planes


def _without_duplicates(
    planes: list[Plane],
    normal: NDArray[np.float64],
    paths: Sequence[Path],
    pixels: Callable[[Plane], NDArray[Any]],
    where: str,
) -> list[Plane]:
    """Each position once; InputError if two planes at one position have different pixels."""
    heights = np.array([plane.position @ normal for plane in planes])
    gaps = np.diff(heights)
    typical = float(np.median(gaps[gaps > 1e-6])) if (gaps > 1e-6).any() else 1.0
    kept = planes[:1]
    for plane, gap in zip(planes[1:], gaps, strict=True):
        if gap > _DUPLICATE * typical:
            kept.append(plane)
            continue
        if not np.array_equal(pixels(kept[-1]), pixels(plane)):
            raise InputError(
                where,
                f"two different slices are at one position ({paths[kept[-1].file].name},"
                f" {paths[plane.file].name})",
                "Put each series or time point into its own folder",
            )
    return kept


def affine_of(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """The affine to RAS+ mm; planes step by their positions, which a tilt shears."""
    first = planes[0]
    if len(planes) > 1:
        step = (planes[-1].position - first.position) / (len(planes) - 1)
    else:  # ASSUME: a single slice has no distance to the next; 5 mm is usual
        step = 5.0 * np.cross(first.across, first.down)
    columns = np.column_stack((first.across * first.pixel[1], first.down * first.pixel[0], step))
    return from_lps(columns, first.position)
