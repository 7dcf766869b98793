"""Labels as the planes that were drawn in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mbhseg.imaging.drawn_planes import DrawnPlanes, is_blank

VOLUMES = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
    elements=st.sampled_from([0, 0, 0, 0, 5]),
)


@given(VOLUMES, st.sampled_from("CF"))
@settings(deadline=None)
def test_the_volume_comes_back(volume: np.ndarray, order: str) -> None:
    drawn = DrawnPlanes.of(np.array(volume, order=order))  # type: ignore[call-overload]
    assert list(drawn.planes) == [z for z in range(volume.shape[2]) if volume[:, :, z].any()]
    back = drawn.volume()
    assert back.flags.f_contiguous
    np.testing.assert_array_equal(back, volume)


def test_drawn_planes_are_no_copies() -> None:
    volume = np.ones((4, 3, 2), np.uint8, order="F")
    assert np.shares_memory(DrawnPlanes.of(volume).planes[1], volume)


@pytest.mark.parametrize("dtype", [np.uint8, ">i2", np.uint16, np.int32, np.float32, np.float64])
def test_one_voxel_is_enough(dtype: type) -> None:
    plane = np.zeros((7, 5), dtype, order="F")
    assert is_blank(plane)
    plane[6, 4] = 1
    assert not is_blank(plane)


@pytest.mark.parametrize("value", [np.nan, -0.0, 5e-324, -np.inf])
def test_what_is_odd_is_not_blank(value: float) -> None:
    plane = np.zeros((3, 3), order="F")
    plane[1, 1] = value
    assert not is_blank(plane)


def test_nothing_is_blank() -> None:
    assert is_blank(np.zeros((0, 4), order="F"))
