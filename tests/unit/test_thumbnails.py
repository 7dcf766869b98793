"""Pictures of cases for quality control."""

import numpy as np
import pytest

from mbhseg.planes import DrawnPlanes
from mbhseg.thumbnails import thumbnail


def test_thumbnail_keeps_the_smallest_bleed_and_takes_nan() -> None:
    volume = np.full((512, 512, 3), np.nan, np.float32)
    labels = np.zeros(volume.shape, np.uint8)
    labels[511, 0, 1] = 1
    sheet = thumbnail(volume, DrawnPlanes.of(labels))
    rows, columns = np.nonzero(sheet.any(axis=2))
    assert (rows, columns) == (127, 255), "the lower right corner of the second tile"
    assert sheet[127, 255].tolist() == [128, 0, 0]


@pytest.mark.parametrize("planes", [1, 5, 12, 58])
def test_thumbnail_has_one_size(planes: int) -> None:
    volume = np.full((20, 30, planes), 40, np.int32)
    sheet = thumbnail(volume)
    assert sheet.shape == (384, 512, 3)
    shown = sheet.reshape(3, 128, 4, 128, 3).any(axis=(1, 3, 4))
    assert shown.sum() == min(planes, 12)
