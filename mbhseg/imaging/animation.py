"""Animated GIFs of a labelled scan, small and with one exact palette."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mbhseg.classes import FOREGROUND, PALETTE
from mbhseg.imaging.overlays import FILL, outline

_GREYS, _TINTS = 128, 24  # shades of plain grey, and of grey under each colour
_MS = 250  # per frame


def _palette() -> NDArray[np.uint8]:
    """256 colours: greys, tinted greys of each class, each class's own colour."""
    colours = np.zeros((256, 3))
    colours[:_GREYS] = np.linspace(0, 255, _GREYS)[:, None]
    tints = np.linspace(0, 255, _TINTS)[:, None]
    for n, c in enumerate(FOREGROUND):
        start = _GREYS + n * _TINTS
        colours[start : start + _TINTS] = tints + FILL * (PALETTE[c.label] - tints)
        colours[_GREYS + len(FOREGROUND) * _TINTS + n] = c.rgb
    return np.rint(colours).astype(np.uint8)


def frame(grey: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`overlays.overlay` as palette indices uint8 [H, W]: tinted regions, rims in full colour.

    `grey` and `labels` (0..5) are uint8 [H, W].
    """
    index = (grey >> 1).copy()
    drawn = labels > 0
    shade = (grey.astype(np.uint16) * (_TINTS - 1) + 127) // 255
    index[drawn] = (_GREYS + (labels[drawn] - 1) * _TINTS + shade[drawn]).astype(np.uint8)
    rim = outline(labels)
    index[rim] = _GREYS + len(FOREGROUND) * _TINTS + labels[rim] - 1
    return np.asarray(index, np.uint8)


def gif_bytes(frames: Sequence[NDArray[np.uint8]]) -> bytes:
    """A looping GIF of frames of palette indices [H, W]; equal frames give equal bytes.

    Raises ValueError without a frame.
    """
    if not frames:
        raise ValueError("an animation needs a frame")
    palette = _palette().tobytes()
    images = []
    for index in frames:
        image = Image.fromarray(index)
        image.putpalette(palette)
        images.append(image)
    buffer = io.BytesIO()
    options: dict[str, Any] = {"loop": 0, "duration": _MS, "optimize": False, "disposal": 1}
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], **options)
    return buffer.getvalue()
