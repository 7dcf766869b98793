"""8-bit PNG files: the one place that encodes and decodes them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.errors import InputError
from mbhseg.files import atomic_file

_PARAMETERS = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG bytes of grey [H, W] or RGB [H, W, 3] pixels; the same bytes for the same pixels."""
    image = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", image, _PARAMETERS)[1].tobytes()


def write_png(path: str | Path, rgb: NDArray[np.uint8]) -> None:
    """Write RGB [H, W, 3] or grey [H, W] uint8 pixels as a PNG, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_bytes(encode_png(rgb))


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read any 8-bit image file as RGB [H, W, 3] uint8; grey and palette images are expanded.

    Raises InputError if the file is missing, cut short or no image.
    """
    return _read(path, cv2.IMREAD_COLOR_RGB)


def read_grey(path: str | Path) -> NDArray[np.uint8]:
    """Read a one-channel 8-bit image as [H, W] uint8; InputError as in `read_image`."""
    return _read(path, cv2.IMREAD_GRAYSCALE)


def _read(path: str | Path, flags: int) -> NDArray[np.uint8]:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Make it again") from error
    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if pixels is None:
        raise InputError(path, "not a readable image", "Make it again")
    return np.asarray(pixels, np.uint8)
