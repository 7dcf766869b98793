"""Label planes as RGB mask PNGs, and back: one colour per class, exact both ways."""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES, PALETTE, Labels
from mbhseg.errors import InputError
from mbhseg.imaging.png import encode_png, read_image

_SHIFTS = np.array([1 << 16, 1 << 8, 1], np.int32)  # a colour as one number, 0xRRGGBB
_CODES = np.sort(PALETTE[1:].astype(np.int32) @ _SHIFTS)
_CODE_LABELS = (np.argsort(PALETTE[1:].astype(np.int32) @ _SHIFTS) + 1).astype(np.uint8)


def encode_rgb(labels: Labels) -> NDArray[np.uint8]:
    """Colours of labels 0..5: [H, W] to RGB [H, W, 3]. Raises ValueError for another label."""
    flat = labels.reshape(-1)
    drawn = np.flatnonzero(flat != 0)  # few pixels are
    values = flat[drawn]
    if values.max(initial=0) >= len(CLASSES):
        raise ValueError(f"label {values.max()} is outside 0..{len(CLASSES) - 1}")
    rgb = np.zeros((*labels.shape, 3), np.uint8)
    rgb.reshape(-1, 3)[drawn] = PALETTE[values]
    return rgb


def decode_rgb(rgb: NDArray[np.uint8], where: str | Path) -> Labels:
    """Labels [H, W] uint8 of an RGB mask [H, W, 3]; undoes `encode_rgb`.

    Raises InputError that names the colour and `where` if a colour belongs to no class.
    """
    drawn = np.flatnonzero((rgb[..., 0] | rgb[..., 1] | rgb[..., 2]) != 0)
    colours = rgb.reshape(-1, 3)[drawn]
    codes = colours.astype(np.int32) @ _SHIFTS
    nearest = np.searchsorted(_CODES, codes).clip(max=len(_CODES) - 1)
    wrong = _CODES[nearest] != codes
    if wrong.any():
        colour = tuple(int(value) for value in colours[wrong][0])
        raise InputError(
            where,
            f"colour {colour} in {int(wrong.sum())} pixels is of no class",
            "Make the mask again, as PNG and without smoothing",
        )
    labels = np.zeros(rgb.shape[:2], np.uint8)
    labels.reshape(-1)[drawn] = _CODE_LABELS[nearest]
    return labels


def encode_mask(labels: Labels) -> bytes:
    """The mask PNG of labels [H, W]; empty masks are encoded once per shape."""
    return encode_png(encode_rgb(labels)) if labels.any() else blank_mask(labels.shape)


@functools.lru_cache(maxsize=8)
def blank_mask(shape: tuple[int, int]) -> bytes:
    """The mask PNG of a slice [H, W] without hemorrhage."""
    return encode_png(np.zeros((*shape, 3), np.uint8))


def read_mask(path: str | Path) -> Labels:
    """Labels [H, W] uint8 of a mask PNG; InputError if unreadable or with an unknown colour."""
    return decode_rgb(read_image(path), path)
