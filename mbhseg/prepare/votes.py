"""Soft targets, stored as the votes themselves.

One 8-bit grey PNG per slice, 6 H x W: the six labels' images one below the other (background
first), each pixel the number of raters who chose that label. The six numbers of a pixel sum to the
number of raters, so fractions are exact.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES, N_LABELS, Labels
from mbhseg.errors import InputError
from mbhseg.imaging.png import encode_png, read_grey


@functools.lru_cache(maxsize=8)
def blank_votes(shape: tuple[int, int], raters: int) -> bytes:
    """The PNG of a slice [H, W] in which all of `raters` chose background."""
    counts = np.zeros((*shape, N_LABELS), np.uint8)
    counts[..., 0] = raters
    return encode_png(encode_votes(counts))


def encode_votes(counts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Vote counts [H, W, 6] as the grey image [6 H, W] to store."""
    return np.ascontiguousarray(np.moveaxis(counts, -1, 0)).reshape(-1, counts.shape[1])


def votes_of(masks: Sequence[Labels]) -> NDArray[np.uint8]:
    """Vote counts [H, W, 6] of the masks [H, W] of one slice, one per rater, labels 0..5.

    The last axis sums to the number of masks. Equal to `read_votes` of the slice's stored votes.
    Raises ValueError without masks and for shapes that differ.
    """
    stack = np.stack(masks)
    return np.stack([(stack == c.label).sum(axis=0, dtype=np.uint8) for c in CLASSES], axis=-1)


def read_votes(path: str | Path) -> NDArray[np.uint8]:
    """Vote counts [H, W, 6] of a stored slice, background first: the raters who chose each label.

    The last axis sums to the number of raters, the same in every pixel. A soft target is the
    counts divided by that sum.

    Raises InputError if the file is not an image of votes: the six numbers of all pixels must have
    the same sum above 0, the number of raters.
    """
    image = read_grey(path)
    stack = image[:0]
    if len(image) % N_LABELS == 0:
        stack = image.reshape(N_LABELS, -1, image.shape[1])
    raters = stack.sum(axis=0, dtype=np.int64)
    if not raters.size or raters.min() != raters.max() or raters.min() == 0:
        raise InputError(path, "not an image of votes", "Run rasterize again")
    return np.moveaxis(stack, 0, -1)
