"""Planes larger than what a network was trained on, seen through overlapping tiles.

CT pixels shrink with the field of view, not with the matrix: a head at 768 x 768 is the same head
in finer pixels, and is reduced to the network's size like any other. Only where the field itself
is larger than in training would that make the head too small for the network; there the plane is
brought to the training's pixel size and cut into tiles, as few as cover the body.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.imaging.display import to_display
from mbhseg.nn.patches import Network

Fit = Literal["auto", "resize", "tile"]
# ASSUME: 512 pixels of .488 mm, the usual of MBH-Seg25 and of head CT at large
FIELD_MM = 250.0
_LARGER = 1.25  # a field up to here is resized: heads differ as much, and training augments
_OVERLAP = 0.25  # of a tile, at least
_BODY_HU = -200.0  # above air


class Tiling(NamedTuple):
    """How planes are cut: `shape` (rows, columns) they are resized to, the tiles' upper left
    corners in it, and the side of a tile."""

    shape: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    size: int


def plan(
    hu: NDArray[Any], field_mm: float, size: int, trained_mm: float, fit: Fit
) -> Tiling | None:
    """How planes [x, y, z] in HU are tiled, None if they are resized whole.

    `field_mm` is the side of the square planes (nan if unknown: resized), `trained_mm` that of the
    training. `auto` tiles fields more than a quarter larger, `tile` all larger ones.
    """
    if fit == "resize" or not field_mm > trained_mm * (_LARGER if fit == "auto" else 1.0):
        return None
    side = round(size * field_mm / trained_mm)
    if side <= size:
        return None
    body = to_display(np.asarray((hu > _BODY_HU).any(axis=2)))
    rows, columns = (_starts(np.asarray(body.any(axis=axis)), side, size) for axis in (1, 0))
    return Tiling((side, side), tuple((row, column) for row in rows for column in columns), size)


def _starts(body: NDArray[np.bool_], side: int, size: int) -> list[int]:
    """Where tiles begin along one axis: evenly over the body, in the middle if one is enough."""
    drawn = np.flatnonzero(body)
    low, high = (drawn[0], drawn[-1] + 1) if drawn.size else (0, body.size)
    low, high = (int(end * side / body.size) for end in (low, high))
    excess = high - low - size
    count = 1 if excess <= 0 else 1 + -(-excess // int(size * (1 - _OVERLAP)))
    first = low + excess // 2 if count == 1 else low
    starts = np.linspace(first, first + max(excess, 0), count).round().astype(int)
    return [int(start) for start in starts.clip(0, side - size)]


def tiled(network: Network, tiling: Tiling) -> Network:
    """A network for whole planes uint8 [B, rows, columns, 3] made from one for tiles.

    Tiles are averaged with a weight that falls to their borders, so that no seam shows; outside
    of all tiles there is background.
    """
    size = tiling.size
    ramp = np.minimum(np.arange(size) + 1, size - np.arange(size)).astype(np.float32)
    weight = np.outer(ramp, ramp)[..., None]

    def whole(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        sums = np.zeros((*images.shape[:3], len(CLASSES)), np.float32)
        weights = np.zeros((1, *images.shape[1:3], 1), np.float32)
        for row, column in tiling.corners:
            place = np.s_[:, row : row + size, column : column + size]
            found = np.asarray(network(np.ascontiguousarray(images[place])), np.float32)
            sums[place] += weight * found
            weights[place] += weight
        sums /= np.maximum(weights, 1e-6)
        sums[..., 0] += weights[..., 0] == 0
        return sums

    return whole
