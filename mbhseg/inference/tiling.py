"""Slices with a larger field of view than in training, predicted in overlapping tiles.

A finer matrix of the same field of view, such as 768 x 768, is resized to the network's size. Only
a larger field of view would make the head too small for the network; such slices are resized to
the training's pixel size and cut into as few tiles as cover the body.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.imaging.display import to_display
from mbhseg.nn.patches import Network

Fit = Literal["auto", "resize", "tile"]
# ASSUME: 512 pixels of .488 mm, usual in MBH-Seg25 and in head CT
FIELD_MM = 250.0
_LARGER = 1.25  # up to this ratio slices are resized: heads vary as much, training augments
_OVERLAP = 0.25  # of a tile, at least
_BODY_HU = -200.0  # above air


class Tiling(NamedTuple):
    """How slices are cut: the `shape` (rows, columns) that they are resized to, the tiles' upper
    left corners in it, and the side of a tile in pixels."""

    shape: tuple[int, int]
    corners: tuple[tuple[int, int], ...]
    size: int


def plan(
    hu: NDArray[Any], field_mm: float, size: int, trained_mm: float, fit: Fit
) -> Tiling | None:
    """How the slices of HU [x, y, z] are tiled; None if they are resized whole.

    `field_mm` is the side of the square slices (nan if unknown: resized), `trained_mm` that in
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
    """Where tiles begin along one axis: spread over the body, centred if one is enough."""
    inside = np.flatnonzero(body)
    low, high = (inside[0], inside[-1] + 1) if inside.size else (0, body.size)
    low, high = (int(end * side / body.size) for end in (low, high))
    excess = high - low - size
    count = 1 if excess <= 0 else 1 + -(-excess // int(size * (1 - _OVERLAP)))
    first = low + excess // 2 if count == 1 else low
    starts = np.linspace(first, first + max(excess, 0), count).round().astype(int)
    return [int(start) for start in starts.clip(0, side - size)]


def tiled(network: Network, tiling: Tiling) -> Network:
    """A network for whole slices uint8 [B, rows, columns, 3] made from one for tiles.

    Tiles are averaged with weights that fall towards their borders, so that no seam shows; outside
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
            tile = np.asarray(network(np.ascontiguousarray(images[place])), np.float32)
            sums[place] += weight * tile
            weights[place] += weight
        sums /= np.maximum(weights, 1e-6)
        sums[..., 0] += weights[..., 0] == 0
        return sums

    return whole
