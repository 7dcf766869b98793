"""Small pictures of a case, to look at the findings of quality control."""

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import PALETTE
from mbhseg.imaging.display import resize_image, to_display
from mbhseg.imaging.drawn_planes import DrawnPlanes
from mbhseg.imaging.windows import Window, to_grey

TILE, ROWS, COLUMNS = 128, 3, 4


def thumbnail(
    volume: NDArray[Any],
    window: Window,
    labels: DrawnPlanes | None = None,
    wanted: Iterable[int] = (),
) -> NDArray[np.uint8]:
    """Twelve numbered planes of a scan in `window`, labels in colour.

    Args:
        volume: HU [x, y, z]; NaN is shown black.
        window: of the grey.
        labels: of the same shape, or None.
        wanted: planes to show first, at most twelve; the others are spread evenly.

    Returns:
        uint8 RGB [384, 512, 3], four tiles per row. Tiles are square for any matrix. Fewer planes
        than tiles leave tiles black.
    """
    sheet = np.zeros((ROWS * TILE, COLUMNS * TILE, 3), np.uint8)
    for tile, z in enumerate(shown_planes(volume.shape[2], wanted)):
        row, column = divmod(tile, COLUMNS)
        place = np.s_[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        grey = _grey(volume[:, :, z], window)
        sheet[place] = grey[..., np.newaxis]
        if labels is not None and z in labels.planes:
            small = _small_labels(labels.planes[z])
            colours = PALETTE[small[small > 0]]
            sheet[place][small > 0] = np.rint(0.5 * grey[small > 0][:, np.newaxis] + 0.5 * colours)
        corner = column * TILE + 3, row * TILE + 10
        cv2.putText(sheet, str(z), corner, cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 255))
    return sheet


def shown_planes(count: int, wanted: Iterable[int] = ()) -> list[int]:
    """At most twelve of `count` planes, ascending: those wanted, and others spread evenly."""
    tiles = min(count, ROWS * COLUMNS)
    chosen = sorted(set(wanted))[:tiles]
    even = set(np.linspace(0, count - 1, tiles).round().astype(int).tolist())
    # a wanted plane takes the place of its neighbours
    far = sorted(even - set(chosen), key=lambda z: -min((abs(z - w) for w in chosen), default=0))
    return sorted(chosen + far[: tiles - len(chosen)])


def _grey(plane: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """A plane [x, y] as a tile in display orientation."""
    if plane.dtype.kind == "f":
        plane = np.nan_to_num(plane, nan=window.low, posinf=window.high, neginf=window.low)
    return resize_image(np.ascontiguousarray(to_display(to_grey(plane, window))), TILE)


def _small_labels(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels of a plane [x, y] as a tile in display orientation; even a single voxel stays."""
    small = np.zeros((TILE, TILE), np.uint8)
    x, y = np.nonzero(plane > 0)
    small[x * TILE // plane.shape[0], y * TILE // plane.shape[1]] = plane[x, y]
    return to_display(small)
