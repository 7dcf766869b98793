"""Durations as a person reads them."""

import pytest

from mbhseg.runtime.durations import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (7500, "2 h 05 min"),
        (36061, "10 h 01 min"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
