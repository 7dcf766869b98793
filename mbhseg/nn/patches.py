"""The part of a slice that the network sees: a patch at the head, as air has nothing to segment.

A head fills about half of its slice. Training draws patches of one shape, in or around the head;
prediction covers the heads of a batch with the smallest box that the network can take.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.errors import InputError

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]  # [B, H, W, C]
Network = Callable[[Pixels], Probabilities]

# a row or column with a smaller share of head pixels is noise
_SPECK = 0.02


class Patch(NamedTuple):
    """Height and width of a training patch in pixels, and what sizes are multiples of."""

    rows: int
    columns: int
    multiple: int

    @classmethod
    def of(
        cls, shares: Sequence[float] | None, size: int, network: Mapping[str, Any]
    ) -> "Patch | None":
        """The patch that covers at least `shares` (height, width) of a slice; None for None.

        Its sides are divisible by 2^(levels - 1), as the network needs. Raises InputError if
        `size` is not.
        """
        if shares is None:
            return None
        multiple = 2 ** (int(network["levels"]) - 1)
        if size % multiple:
            raise InputError(
                "slices.size", f"{size} is not divisible by {multiple}", "Change network.levels"
            )
        rows, columns = (math.ceil(round(share * size / multiple, 6)) for share in shares)
        return cls(rows * multiple, columns * multiple, multiple)


class Box(NamedTuple):
    """A part of a slice: first row and column, and the number of each."""

    row: int
    column: int
    rows: int
    columns: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Index of the box in an image [row, column]."""
        return (
            slice(self.row, self.row + self.rows),
            slice(self.column, self.column + self.columns),
        )


def head_spans(images: Pixels) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and end of the rows, and of the columns, that the heads on images [B, H, W, C] cover.

    The head is what no window shows black; black images give the whole slice.
    """
    channels = images.reshape(-1, images.shape[-1]).any(axis=0)
    head = np.asarray(images[..., channels].min(axis=-1, initial=255) > 0) & bool(channels.any())
    spans = []
    for along in (2, 1):
        side = images.shape[3 - along]
        held = (head.sum(axis=along) >= _SPECK * images.shape[along]).any(axis=0)
        places = np.flatnonzero(held)
        spans.append((int(places[0]), int(places[-1]) + 1) if places.size else (0, side))
    return spans[0], spans[1]


def draw(image: Pixels, patch: Patch, rng: np.random.Generator) -> Box:
    """A random patch of an image [H, W, C]: around the head, or within a head that is larger."""
    starts = []
    shape = (patch.rows, patch.columns)
    for (low, high), length, side in zip(
        head_spans(image[None]), shape, image.shape[:2], strict=True
    ):
        ends = sorted((low, high - length))
        first, last = (min(max(end, 0), side - length) for end in ends)
        starts.append(int(rng.integers(first, last + 1)))
    return Box(starts[0], starts[1], patch.rows, patch.columns)


def cover(images: Pixels, patch: Patch) -> Box:
    """The smallest box over all heads of images [B, H, W, C], no smaller than the patch."""
    starts, lengths = [], []
    shape = (patch.rows, patch.columns)
    for (low, high), length, side in zip(head_spans(images), shape, images.shape[1:3], strict=True):
        wanted = max(length, -(-(high - low) // patch.multiple) * patch.multiple)
        wanted = min(wanted, side)
        starts.append(min(max((low + high - wanted) // 2, 0), side - wanted))
        lengths.append(wanted)
    return Box(starts[0], starts[1], lengths[0], lengths[1])


def seen(images: Pixels, patch: Patch | None) -> tuple[slice, slice]:
    """Rows and columns of images [B, H, W, C] that a network sees: `cover`; all without a patch."""
    return cover(images, patch).place if patch is not None else (slice(None), slice(None))


def around(network: Network, patch: Patch) -> Network:
    """A network for whole images [B, H, W, C] from one for boxes; background outside the box."""

    def whole(images: Pixels) -> NDArray[np.float32]:
        box = cover(images, patch)
        if (box.rows, box.columns) == images.shape[1:3]:
            return network(images)
        probabilities = np.zeros((*images.shape[:3], len(CLASSES)), np.float32)
        probabilities[..., 0] = 1
        part = np.ascontiguousarray(images[:, *box.place])
        probabilities[:, *box.place] = network(part)
        return probabilities

    return whole
