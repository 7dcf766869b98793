"""Lesion-wise rates over cases, by hand."""

import numpy as np
import pandas as pd
import pytest

from mbhseg.metrics import lesions
from mbhseg.metrics.bootstrap import Resampling
from mbhseg.metrics.lesion_rates import lesion_summary


def rows_of(*cases: dict[str, int]) -> pd.DataFrame:
    """Rows of one class; counts by name, what is not named is 0."""
    blank = dict.fromkeys(lesions.COLUMNS, 0)
    columns = ["case", *lesions.COLUMNS]
    return pd.DataFrame([{**blank, **case} for case in cases], columns=columns)


def test_rates_by_hand():
    rows = rows_of(
        # two raters of one case: found 1 of 2 and 3 of 4, false 1 and 3
        {
            "case": "a",
            "lesions_reference": 2,
            "lesions_found_any": 1,
            "lesions_false_any": 1,
            "lesions_reference_lt1ml": 2,
            "lesions_found_any_lt1ml": 1,
        },
        {"case": "a", "lesions_reference": 4, "lesions_found_any": 3, "lesions_false_any": 3},
        {"case": "b", "lesions_reference": 1, "lesions_found_any": 0},
        {"case": "c", "lesions_false_any": 4},
    )
    found = lesion_summary(rows, Resampling(np.array(["a", "b", "c"])))
    whole = found["any"]["all"]
    assert (whole["n_reference"], whole["n_found"], whole["n_false"]) == (7, 4, 8)
    assert whole["sensitivity"] == pytest.approx(2 / (3 + 1))  # means of case a: 2 of 3
    assert whole["false_per_scan"] == pytest.approx((2 + 0 + 4) / 3)
    low, high = whole["intervals"]["false_per_scan"]
    assert low < whole["false_per_scan"] < high
    assert found["any"]["lt1ml"]["n_reference"] == 2
    assert found["any"]["lt1ml"]["sensitivity"] == pytest.approx(0.5)
    assert np.isnan(found["any"]["gt10ml"]["sensitivity"])
    assert found["any"]["gt10ml"]["false_per_scan"] == 0
    assert found["iou"]["all"]["sensitivity"] == 0


def test_no_rows_have_no_rates():
    found = lesion_summary(rows_of(), Resampling(np.array([], np.str_)))
    assert found["iou"]["all"]["n_reference"] == 0
    assert np.isnan(found["iou"]["all"]["false_per_scan"])
