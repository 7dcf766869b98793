"""Volumes and labels as files and texts hold them, where only tests write or read them."""

import base64
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mbhseg.imaging.nifti import nifti_bytes


def save_nifti(path: str | Path, image: nib.Nifti1Image) -> None:
    """Write an image as `.nii.gz`."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(nifti_bytes(image))


def decode_labels(text: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Undo `mbhseg.imaging.sprites.encode_labels` for labels of a shape."""
    numbers, value, shift = [], 0, 0
    for byte in base64.b64decode(text):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    flat = np.zeros(shape[0] * shape[1], np.uint8)
    place = 0
    for gap, run in zip(numbers[::2], numbers[1::2], strict=True):
        place += gap
        flat[place : place + run // 8] = run % 8
        place += run // 8
    return flat.reshape(shape)
