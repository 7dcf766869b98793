"""CT slices and label planes, small enough for a page: grey sprites and run-length text.

A sprite is one WebP image with all slices of a case as tiles, row by row. Its grey is a tone curve
over all HU instead of one window, so that the page can apply any window: 1 HU per grey level from
-50 to 150 HU, where hemorrhage is read, coarser outside.
"""

import base64
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.imaging.display import resize_image, to_display

TONE_HU = (-1024.0, -50.0, 150.0, 3000.0)  # knots of the tone curve, linear in between
TONE_GREY = (0.0, 24.0, 224.0, 255.0)
COLUMNS = 8
_LONGEST = 16_383  # pixels: the longest side of a WebP image
_PIXELS = 40_000_000  # of a sprite: more would take too much of a browser's memory


class Rung(NamedTuple):
    """One step of picture quality: longest side of a tile in pixels, WebP quality 1..100."""

    side: int
    quality: int


LADDER = (
    *(Rung(512, q) for q in (90, 75)),
    *(Rung(384, q) for q in (90, 75)),
    *(Rung(256, q) for q in (90, 75, 50)),
    *(Rung(160, q) for q in (75, 50, 25)),
)


def finest_rung(n_slices: int) -> Rung:
    """The best quality at which a sprite of `n_slices` square slices can be written and shown.

    Up to 152 slices keep 512 pixels per side, 400 have 316.
    """
    down = -(-n_slices // COLUMNS)
    side = min(_LONGEST // max(down, 1), int((_PIXELS / max(n_slices, 1)) ** 0.5))
    return LADDER[0]._replace(side=min(LADDER[0].side, side))


def to_tone(hu: NDArray[Any]) -> NDArray[np.uint8]:
    """HU of any shape on the tone curve, uint8; clipped at both ends, NaN is 0."""
    values = np.nan_to_num(np.asarray(hu, np.float32), nan=TONE_HU[0])
    return np.rint(np.interp(values, TONE_HU, TONE_GREY)).astype(np.uint8)


def tile_shape(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Rows and columns of a tile: the image's own, or shrunk so that the longer is `side`."""
    longest = max(shape)
    if longest <= side:
        return shape
    rows, columns = (max(1, round(n * side / longest)) for n in shape)
    return rows, columns


def sprite(images: Sequence[NDArray[np.uint8]], rung: Rung) -> bytes:
    """Lay images [H, W] of one shape out as tiles, COLUMNS per row, and encode them as WebP.

    Equal images give equal bytes. Raises ValueError without an image.
    """
    if not images:
        raise ValueError("a sprite needs a slice")
    rows, columns = tile_shape(images[0].shape[:2], rung.side)
    across = min(COLUMNS, len(images))
    sheet = np.zeros((-(-len(images) // across) * rows, across * columns), np.uint8)
    for n, image in enumerate(images):
        top, left = n // across * rows, n % across * columns
        tile = resize_image(np.ascontiguousarray(image), (rows, columns))
        sheet[top : top + rows, left : left + columns] = tile
    done, data = cv2.imencode(".webp", sheet, [cv2.IMWRITE_WEBP_QUALITY, rung.quality])
    if not done:
        raise ValueError(f"a sprite of {sheet.shape} pixels cannot be encoded")
    return data.tobytes()


def choose_rung(
    samples: Sequence[Sequence[NDArray[np.uint8]]], n_slices: int, budget: int
) -> Rung | None:
    """The best quality at which `n_slices` slices are likely to fit into `budget` bytes.

    `samples` are the images of a few cases, from which the size of a slice is measured. None if
    even the lowest quality does not fit.
    """
    measured = sum(map(len, samples))
    for rung in LADDER:
        size = sum(len(sprite(images, rung)) for images in samples)
        if size / measured * n_slices <= budget:
            return rung
    return None


def encode_labels(labels: NDArray[np.uint8]) -> str:
    """Labels 0..7 [H, W] as text; empty text if all are 0.

    Row by row, each run of one label above 0 is two numbers: how many pixels of 0 precede it,
    and its length x 8 + label. Numbers are little-endian base 128 (LEB128), bytes base 64.
    """
    flat = labels.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=0))  # where a run begins, of 0 too
    if not starts.size:
        return ""
    ends = np.append(starts[1:], flat.size)
    drawn = flat[starts] > 0
    starts, ends = starts[drawn], ends[drawn]
    gaps = starts - np.append(0, ends[:-1])
    runs = (ends - starts) * 8 + flat[starts]
    data = bytearray()
    for value in np.stack([gaps, runs], axis=1).ravel().tolist():
        while value > 127:
            data.append(value & 127 | 128)
            value >>= 7
        data.append(value)
    return base64.b64encode(data).decode("ascii")


def encode_planes(labels: NDArray[np.uint8], planes: Iterable[int]) -> list[str]:
    """`encode_labels` of some planes of a volume [x, y, z], as they are displayed."""
    return [encode_labels(to_display(labels[:, :, plane])) for plane in planes]
