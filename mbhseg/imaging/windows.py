"""CT windows: from Hounsfield units to 8-bit grey, one function for every stage."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_BLOCK = 2**16  # values at a time, which stay in the processor's cache


class Window(NamedTuple):
    """A display window in Hounsfield units: grey runs from level - width/2 to level + width/2."""

    name: str
    level: float
    width: float

    @property
    def low(self) -> float:
        return self.level - self.width / 2

    @property
    def high(self) -> float:
        return self.level + self.width / 2


def shown_in(windows: Sequence[Window]) -> Window:
    """The window of a model's inputs in which pictures show its scans: `brain`, else the first."""
    return next((window for window in windows if window.name == "brain"), windows[0])


def to_grey(hu: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """Map finite HU to 0..255 grey, linearly inside the window, clipped outside; same shape, uint8.

    Rounds half to even. A window of low 0 and width 255 (the reference project's) is the
    identity on whole HU from 0 to 255. An empty array gives an empty array.
    """
    grey = np.empty(hu.shape, np.uint8)
    if hu.size == 0:
        return grey
    flat = hu.ndim < 2
    hu, shown = (hu.reshape(1, -1), grey.reshape(1, -1)) if flat else (hu, grey)
    low, high = np.float32(window.low), np.float32(window.high)
    rows = max(1, _BLOCK * len(hu) // hu.size)
    block = np.empty((rows, *hu.shape[1:]), np.float32)
    for start in range(0, len(hu), rows):
        part = hu[start : start + rows]
        inside = block[: len(part)]
        inside[...] = part
        np.clip(inside, low, high, out=inside)
        inside -= low
        # scales, rounds half to even and casts in one pass; no value is negative
        target = shown[start : start + rows]
        cv2.convertScaleAbs(
            inside.reshape(len(part), -1), target.reshape(len(part), -1), 255 / window.width
        )
    return grey
