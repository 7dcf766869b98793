"""CT windows: HU to grey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbhseg.imaging.display import from_display, network_input
from mbhseg.imaging.windows import Window, to_grey

WINDOWS = (
    Window("brain", 40, 80),
    Window("subdural", 75, 215),
    Window("bone", 600, 2800),
    Window("seed", 127.5, 255),
    Window("narrow", 33.3, 1),
)
ALL_HU = np.arange(-34_000, 32_001)


def formula(hu: np.ndarray, window: Window) -> np.ndarray:
    """The window's definition, step by step."""
    scaled = (hu.astype(np.float32) - np.float32(window.low)) * np.float32(255 / window.width)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: window.name)
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_every_hu_of_the_data_set_follows_the_formula(window: Window, dtype: type) -> None:
    hu = ALL_HU.astype(dtype)
    np.testing.assert_array_equal(to_grey(hu, window), formula(hu, window))


@settings(deadline=None)
@given(
    st.floats(-1000, 1000),
    st.floats(1, 4000),
    st.lists(st.floats(-4000, 4000, width=32), min_size=1, max_size=50),
)
def test_any_window_follows_the_formula(level: float, width: float, hu: list[float]) -> None:
    values, window = np.array(hu, np.float32), Window("any", level, width)
    np.testing.assert_array_equal(to_grey(values, window), formula(values, window))


def test_seed_window_is_the_identity_on_its_hu() -> None:
    inside = np.arange(256)
    np.testing.assert_array_equal(to_grey(inside, WINDOWS[3]), inside)


def test_brain_window_by_hand() -> None:
    # 8 HU of 80 are 25.5 of 255: half to even
    np.testing.assert_array_equal(
        to_grey(np.array([-1, 0, 8, 40, 80, 81]), WINDOWS[0]), [0, 0, 26, 128, 255, 255]
    )


def test_values_beyond_any_integer_are_clipped() -> None:
    hu = np.array([-3e38, 3e38, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(to_grey(hu, WINDOWS[0]), [0, 255, 255, 0])


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_order_does_not_matter(order: str) -> None:
    hu = np.arange(60).reshape(3, 4, 5)
    stored = np.array(hu, order=order)  # type: ignore[call-overload]
    np.testing.assert_array_equal(to_grey(stored, WINDOWS[0]), formula(hu, WINDOWS[0]))
    np.testing.assert_array_equal(
        to_grey(hu[::-1, ::2], WINDOWS[0]), formula(hu, WINDOWS[0])[::-1, ::2]
    )


def test_input_is_left_alone() -> None:
    hu = np.array([-50.0, 500.0], np.float32)
    to_grey(hu, WINDOWS[0])
    np.testing.assert_array_equal(hu, [-50, 500])


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
def test_empty_gives_empty(shape: tuple[int, ...]) -> None:
    assert to_grey(np.zeros(shape, np.int16), WINDOWS[0]).shape == shape


def test_channels_are_the_windows_in_their_order() -> None:
    hu = np.arange(-100, 200).reshape(20, 15)
    channels = from_display(network_input(hu[..., np.newaxis], WINDOWS[:3])[0])
    assert channels.shape == (20, 15, 3)
    for n, window in enumerate(WINDOWS[:3]):
        np.testing.assert_array_equal(channels[..., n], formula(hu, window))
