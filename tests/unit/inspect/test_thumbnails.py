"""Pictures of cases for quality control."""

import numpy as np
import pytest

from mbhseg.imaging.drawn_planes import DrawnPlanes
from mbhseg.imaging.windows import Window
from mbhseg.inspect.thumbnails import shown_planes, thumbnail

BRAIN = Window("brain", 40, 80)


def test_thumbnail_keeps_the_smallest_bleed_and_takes_nan() -> None:
    volume = np.full((512, 512, 3), np.nan, np.float32)
    labels = np.zeros(volume.shape, np.uint8)
    labels[511, 0, 1] = 1
    sheet = thumbnail(volume, BRAIN, DrawnPlanes.of(labels))
    coloured = sheet.min(axis=2) != sheet.max(axis=2)  # the numbers of the planes are grey
    rows, columns = np.nonzero(coloured)
    assert (rows, columns) == (127, 255), "the lower right corner of the second tile"
    assert sheet[127, 255].tolist() == [128, 0, 0]


@pytest.mark.parametrize("planes", [1, 5, 12, 58])
def test_thumbnail_has_one_size(planes: int) -> None:
    volume = np.full((20, 30, planes), 40, np.int32)
    sheet = thumbnail(volume, BRAIN)
    assert sheet.shape == (384, 512, 3)
    shown = sheet.reshape(3, 128, 4, 128, 3).any(axis=(1, 3, 4))
    assert shown.sum() == min(planes, 12)


@pytest.mark.parametrize(
    ("count", "wanted", "shown"),
    [
        (3, [], [0, 1, 2]),
        (3, [1], [0, 1, 2]),
        (23, [], list(range(0, 23, 2))),
        (23, [7], [0, 2, 4, 7, 10, 12, 14, 16, 18, 20, 22]),
        (31, range(10, 30), list(range(10, 22))),
    ],
)
def test_a_wanted_plane_is_shown(count: int, wanted: list[int], shown: list[int]) -> None:
    found = shown_planes(count, wanted)
    assert len(found) == min(count, 12)
    assert set(shown) <= set(found)
    assert found == sorted(set(found))


def test_grey_follows_the_window() -> None:
    volume = np.full((128, 128, 1), 40, np.int16)
    for window, grey in ((BRAIN, 128), (Window("own", 80, 80), 0), (Window("own", 0, 80), 255)):
        assert thumbnail(volume, window)[64, 64].tolist() == [grey] * 3


def test_tiles_are_numbered_and_the_wanted_plane_lies_in_one() -> None:
    volume = np.full((64, 64, 40), -1000, np.int16)
    volume[:, :, 17] = 80
    for wanted, shown in (([], 0), ([17], 1)):
        sheet = thumbnail(volume, BRAIN, wanted=wanted)
        bright = sheet.any(axis=2).reshape(3, 128, 4, 128).mean(axis=(1, 3))
        assert (bright > 0.99).sum() == shown
        assert ((bright > 0) & (bright < 0.05)).sum() == 12 - shown, "the numbers of the others"
