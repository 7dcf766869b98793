"""Colours on grey: labels over a CT slice, their outlines, and mosaics of such pictures.

Images are 8-bit and in display orientation: grey [H, W], labels [H, W] uint8 0..5, RGB
[H, W, 3] uint8. Pixels labelled 0 keep their grey.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import PALETTE

FILL = 0.35  # lets the texture of the hemorrhage show through


def to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey image [H, W] as RGB [H, W, 3]; an RGB image as it is."""
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image


def blend(
    grey: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    alpha: float = FILL,
) -> NDArray[np.uint8]:
    """Colour the labelled pixels of `grey`; RGB [H, W, 3].

    A labelled pixel is grey + alpha (colour - grey), rounded half up: alpha 0 leaves the image, 1
    shows the plain colour. Without labels the result is the grey image. Raises ValueError if
    shapes differ or a label has no colour.
    """
    _check(grey, labels)
    rgb = to_rgb(grey).copy()
    drawn = labels > 0
    below = rgb[drawn].astype(np.float64)
    mixed = below + alpha * (PALETTE[labels[drawn]] - below)
    rgb[drawn] = np.floor(mixed + 0.5).astype(np.uint8)
    return rgb


def outline(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """The rim of every labelled region, bool [H, W].

    The rim consists of the region's pixels that share an edge with another label, with background
    or with the border of the image; a region of one pixel is all rim, background has none.
    """
    padded = np.pad(labels, 1)
    inner = padded[1:-1, 1:-1]
    around = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    rim = np.zeros(labels.shape, bool)
    for neighbour in around:
        rim |= neighbour != inner
    return rim & (inner > 0)


def contours(
    image: NDArray[np.uint8],
    labels: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Draw the rims of `labels` in full colour on a grey or RGB image; RGB [H, W, 3]."""
    _check(image, labels)
    rgb = to_rgb(image).copy()
    rim = outline(labels)
    rgb[rim] = PALETTE[labels[rim]]
    return rgb


def overlay(
    grey: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    alpha: float = FILL,
) -> NDArray[np.uint8]:
    """The usual picture of a labelled slice: tinted regions with a rim of full colour."""
    return contours(blend(grey, labels, alpha), labels)


def mosaic(
    tiles: Sequence[NDArray[np.uint8]], columns: int, gap: int = 0, fill: int = 0
) -> NDArray[np.uint8]:
    """Lay RGB tiles of one shape row by row into one RGB image, `gap` pixels of `fill` between.

    The last row is padded with `fill`; fewer tiles than `columns` make one shorter row.
    Raises ValueError if there is no tile, or if their shapes differ.
    """
    if not tiles:
        raise ValueError("a mosaic needs a tile")
    height, width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    shape = rows * (height + gap) - gap, columns * (width + gap) - gap, 3
    canvas = np.full(shape, fill, np.uint8)
    for n, tile in enumerate(tiles):
        if tile.shape != (height, width, 3):
            raise ValueError(f"tile {n} is {tile.shape}, the first ({height}, {width}, 3)")
        top, left = n // columns * (height + gap), n % columns * (width + gap)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def _check(image: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    if image.shape[:2] != labels.shape:
        raise ValueError(f"image {image.shape} and labels {labels.shape} differ")
    if labels.size and labels.max() >= len(PALETTE):
        raise ValueError(f"label {labels.max()} has no colour")
