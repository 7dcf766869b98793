"""8-bit PNG files: the one place that encodes and decodes them."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.errors import InputError, reason
from mbhseg.files import atomic_file
from mbhseg.imaging.deflate import compress, crc32

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {1: 0, 3: 2}  # channels -> PNG's code: grey, RGB


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG bytes of grey [H, W] or RGB [H, W, 3] uint8 pixels; the same bytes for the same pixels.

    Rows are stored unfiltered: on windowed CT and on masks no filter is worth its time, and with a
    fast deflate this is several times as fast as OpenCV's encoder (benchmarks/prepare.py).

    Raises ValueError for any other array, and for one without pixels, which PNG cannot hold.
    """
    channels = {2: 1, 3: pixels.shape[-1]}.get(pixels.ndim, 0)
    if pixels.dtype != np.uint8 or channels not in _COLOUR_TYPE or pixels.size == 0:
        raise ValueError(f"{pixels.dtype} {pixels.shape} is not 8-bit grey or RGB")
    height, width = pixels.shape[:2]
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = 0  # filter type "none"
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPE[channels], 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", compress(rows)), (b"IEND", b"")
    return b"".join([_SIGNATURE, *(part for chunk in chunks for part in _chunk(*chunk))])


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    checksum = crc32(data, crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)


def write_png(path: str | Path, rgb: NDArray[np.uint8]) -> None:
    """Write RGB [H, W, 3] or grey [H, W] uint8 pixels as a PNG, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_bytes(encode_png(rgb))


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read any 8-bit image file as RGB [H, W, 3] uint8; grey and palette images are expanded.

    Raises InputError if the file is missing, cut short, corrupt or no image.
    """
    return _read(path, cv2.IMREAD_COLOR_RGB)


def read_grey(path: str | Path) -> NDArray[np.uint8]:
    """Read a one-channel 8-bit image as [H, W] uint8; InputError as in `read_image`."""
    return _read(path, cv2.IMREAD_GRAYSCALE)


def _read(path: str | Path, flags: int) -> NDArray[np.uint8]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read ({reason(error)})", "Make it again") from error
    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if pixels is None:
        raise InputError(path, "not a readable image", "Make it again")
    return np.asarray(pixels, np.uint8)
