"""Arrays and pictures: scans without millimetres."""

from pathlib import Path

import cv2
import numpy as np

from mbhseg.errors import InputError, reason
from mbhseg.imaging.display import from_display
from mbhseg.imaging.plane_stream import MAX_BYTES
from mbhseg.scans.scan import Scan, image_of

# ASSUME: voxels lie as in the training set, x to the patient's left, y to the front
_UNMEASURED = np.diag((-1.0, 1.0, 1.0, 1.0))


def read_array(path: Path, name: str) -> Scan:
    """A NumPy file of HU [x, y, z]; InputError if it is not one, or would need to run code."""
    try:
        values = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError, SyntaxError, OverflowError) as error:
        raise InputError(
            path, f"not a readable array ({reason(error)})", "Save it with numpy.save"
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        kind = getattr(values, "dtype", type(values).__name__)
        raise InputError(path, f"has {kind}, not numbers", "Save HU [x, y, z]")
    if values.nbytes > MAX_BYTES:
        raise InputError(path, f"has {values.nbytes:,} bytes", "Save one scan per file")
    return Scan(name, str(path), "npy", image_of(np.array(values), _UNMEASURED), measured=False)


def read_picture(path: Path, name: str) -> Scan:
    """One slice as an 8-bit grey PNG; grey is HU 0..255 as in the reference project.

    RGB with three equal channels is grey too. Raises InputError for any other picture.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(path, f"cannot be read ({reason(error)})", "Check the file") from error
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if pixels is None:
        raise InputError(path, "not a readable picture", "Save it as an 8-bit grey PNG")
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    if pixels.dtype != np.uint8 or (
        pixels.ndim == 3 and (pixels[..., :3] != grey[..., None]).any()
    ):
        raise InputError(
            path, "is not an 8-bit grey picture", "Save HU 0..255 as grey, or give the volume"
        )
    hu = np.ascontiguousarray(from_display(grey)[:, :, None]).astype(np.int16)
    return Scan(name, str(path), "png", image_of(hu, _UNMEASURED), measured=False)
