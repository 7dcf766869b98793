"""Volume agreement against published examples and plain loops."""

import math

import numpy as np
import pandas as pd
import pytest

from mbhseg.metrics.bootstrap import Resampling
from mbhseg.metrics.volume import icc_a1, volume_agreement, volume_summary

# Shrout and Fleiss (1979), six targets rated by four judges: ICC(2,1) is .29
SHROUT_FLEISS = [
    [9, 2, 5, 8],
    [6, 1, 3, 2],
    [8, 4, 6, 8],
    [7, 1, 2, 6],
    [10, 5, 6, 9],
    [6, 2, 4, 7],
]


def icc_by_anova(table: np.ndarray) -> float:
    """The mean squares of a two-way layout, cell by cell."""
    n, k = table.shape
    grand = table.mean()
    rows = sum(k * (table[i].mean() - grand) ** 2 for i in range(n)) / (n - 1)
    columns = sum(n * (table[:, j].mean() - grand) ** 2 for j in range(k)) / (k - 1)
    error = 0.0
    for i in range(n):
        for j in range(k):
            error += (table[i, j] - table[i].mean() - table[:, j].mean() + grand) ** 2
    error /= (n - 1) * (k - 1)
    return (rows - error) / (rows + (k - 1) * error + k / n * (columns - error))


def test_icc_of_the_published_example():
    assert round(icc_a1(SHROUT_FLEISS), 2) == 0.29


@pytest.mark.parametrize("seed", range(5))
def test_icc_agrees_with_the_analysis_of_variance(seed):
    rng = np.random.default_rng(seed)
    table = rng.normal(20, 8, (9, 1)) + rng.normal(0, 3, (9, 2 + seed)) + rng.normal(0, 2, 2 + seed)
    assert icc_a1(table) == pytest.approx(icc_by_anova(table))


def test_icc_asks_for_agreement_and_not_for_correlation_only():
    volumes = np.array([1.0, 5, 12, 30, 44])
    assert icc_a1(np.stack([volumes, volumes], axis=1)) == pytest.approx(1)
    assert icc_a1(np.stack([volumes, 2 * volumes], axis=1)) < 0.8
    assert icc_a1(np.stack([volumes, volumes + 20], axis=1)) < 0.8


@pytest.mark.parametrize("table", [[[1.0, 2.0]], [[1.0], [2.0]], [[3.0, 3.0], [3.0, 3.0]]])
def test_icc_without_spread_or_subjects_is_nan(table):
    assert math.isnan(icc_a1(table))


def test_agreement_by_hand():
    found = volume_agreement([10, 20, 30, 0], [12, 19, 35, 0])
    differences = [2, -1, 5, 0]
    sd = math.sqrt(sum((d - 1.5) ** 2 for d in differences) / 3)
    assert found["n"] == 4
    assert found["bias_ml"] == 1.5
    assert found["mae_ml"] == 2.0
    assert found["sd_ml"] == pytest.approx(sd)
    assert found["loa_low_ml"] == pytest.approx(1.5 - 1.96 * sd, abs=1e-3)
    assert found["loa_high_ml"] == pytest.approx(1.5 + 1.96 * sd, abs=1e-3)
    assert found["icc_a1"] == pytest.approx(
        icc_by_anova(np.array([[10.0, 12], [20, 19], [30, 35], [0, 0]]))
    )


def test_too_few_cases():
    none, one = volume_agreement([], []), volume_agreement([3.0], [4.0])
    assert none["n"] == 0
    assert all(math.isnan(value) for name, value in none.items() if name != "n")
    assert (one["bias_ml"], one["mae_ml"]) == (1.0, 1.0)
    assert math.isnan(one["sd_ml"])
    assert math.isnan(one["loa_high_ml"])


def test_summary_tells_all_cases_from_those_drawn():
    rows = pd.DataFrame(
        {
            "patient": ["a", "b", "c", "d"],
            "status": ["both", "absent", "missed", "spurious"],
            "reference_ml": [10.0, 0.0, 4.0, 0.0],
            "candidate_ml": [12.0, 0.0, 0.0, 1.0],
        }
    )
    summary = volume_summary(rows, Resampling(rows["patient"].to_numpy(np.str_)))
    assert (summary["all"]["n"], summary["drawn"]["n"]) == (4, 3)
    assert summary["all"]["mae_ml"] == pytest.approx(7 / 4)
    assert summary["drawn"]["mae_ml"] == pytest.approx(7 / 3)
