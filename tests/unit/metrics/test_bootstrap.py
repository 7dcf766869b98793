"""Patient bootstrap: equal to plain resampling, and intervals have their stated coverage."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mbhseg.classes import ANY
from mbhseg.metrics.bootstrap import (
    Resampling,
    means_of,
    percentile_interval,
)
from mbhseg.metrics.casewise import case_table
from mbhseg.metrics.overlap import SCORED_CLASSES, confusion, score_confusion
from mbhseg.metrics.summary import summarise

NAN = math.nan


def patients_of(n: int, twice: int) -> np.ndarray:
    """n patients, the first `twice` of them with two scans."""
    return np.array([f"p{k:03}" for k in [*range(n), *range(twice)]])


def scores_like_dice(patients: np.ndarray, sets: int, seed: int) -> tuple[np.ndarray, float]:
    """Simulated [cases, sets] with the true mean: skewed, zeros for misses, patients alike."""
    rng = np.random.default_rng(seed)
    names, patient = np.unique(patients, return_inverse=True)
    quality = rng.beta(2, 1.5, (len(names), sets))[patient]
    missed = rng.random(quality.shape) < 0.2
    return np.where(missed, 0, quality), 0.8 * 2 / 3.5


@pytest.mark.parametrize(("n", "seed"), [(12, 0), (25, 1), (60, 2)])
def test_intervals_cover_the_true_mean(n, seed):
    patients = patients_of(n, n // 4)
    values, truth = scores_like_dice(patients, 1000, seed)
    intervals = Resampling(patients, seed=seed).mean_intervals(values)
    covered = np.mean([i.low <= truth <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.97


def test_intervals_of_differences_cover_the_true_difference():
    patients = patients_of(25, 6)
    values, _ = scores_like_dice(patients, 1000, 5)
    noise = np.random.default_rng(6).normal(0.03, 0.1, values.shape)
    intervals = Resampling(patients).difference_intervals(values + noise, values)
    covered = np.mean([i.low <= 0.03 <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.97


def test_macro_intervals_cover_the_true_macro_mean():
    patients = patients_of(40, 4)
    rng = np.random.default_rng(8)
    covered = []
    resampling = Resampling(patients, draws=1000)
    for _ in range(1000):
        values = rng.beta(2, 1.5, (len(patients), 3))
        values[rng.random(values.shape) < (0.0, 0.4, 0.6)] = NAN
        interval = resampling.macro_interval(values)
        covered.append(interval.low <= 2 / 3.5 <= interval.high)
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize("n", [30, 60])
def test_intervals_of_ratios_cover_the_true_ratio(n):
    """Model over ceiling on the same cases, as in summary.json."""
    patients = patients_of(n, 2)
    human, _ = scores_like_dice(patients, 1000, 7)
    rng = np.random.default_rng(8)
    model = 0.8 * human + rng.normal(0, 0.05, human.shape)
    intervals = Resampling(patients).ratio_intervals(model, human)
    covered = np.mean([i.low <= 0.8 <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.97


def test_intervals_with_cases_that_lack_the_class_cover_too():
    """Reference-present Dice: half of 60 patients have no value, another half in each data set."""
    patients = patients_of(60, 0)
    values, truth = scores_like_dice(patients, 1000, 9)
    values[np.random.default_rng(10).random(values.shape) < 0.5] = NAN
    intervals = Resampling(patients).mean_intervals(values)
    covered = np.mean([i.low <= truth <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.97


def test_ratios_and_macro_differences_by_hand():
    patients = patients_of(4, 0)
    above = np.array([[0.2, NAN], [0.4, NAN], [0.6, 0.5], [NAN, NAN]])
    below = np.array([[0.4, 0.0], [0.8, 0.0], [1.2, 0.0], [NAN, NAN]])
    ratios = Resampling(patients).ratio_intervals(above, below)
    assert (ratios[0].estimate, ratios[0].n_cases) == (pytest.approx(0.5), 3)
    assert (ratios[0].low, ratios[0].high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert math.isnan(ratios[1].estimate)
    assert math.isnan(ratios[1].low)
    gap, means = Resampling(patients).macro_difference(above + 0.1, above)
    assert (gap.estimate, means) == (pytest.approx(0.1), (pytest.approx(0.55), pytest.approx(0.45)))
    nothing, _ = Resampling(patients).macro_difference(above[:, :0], above[:, :0])
    assert math.isnan(nothing.estimate)


def test_draws_are_means_over_all_cases_of_the_drawn_patients():
    patients = patients_of(5, 2)
    rng = np.random.default_rng(1)
    values = rng.random((7, 2))
    values[3, 1] = NAN
    resampling = Resampling(patients, draws=50, seed=4)
    draws = resampling.means(values)
    weights = np.random.default_rng(4).multinomial(5, np.full(5, 0.2), size=50)
    for weight, draw in zip(weights, draws, strict=True):
        cases = [n for k, w in enumerate(weight) for _ in range(w) for n in (k, k + 5) if n < 7]
        np.testing.assert_allclose(draw, np.nanmean(values[cases], axis=0))


def test_the_same_seed_gives_the_same_interval_and_pairing_narrows_a_difference():
    patients = patients_of(20, 0)
    values, _ = scores_like_dice(patients, 1, 3)
    first = Resampling(patients).mean_intervals(values)[0]
    assert Resampling(patients).mean_intervals(values)[0] == first
    assert Resampling(patients, seed=1).mean_intervals(values)[0] != first
    paired = Resampling(patients).difference_intervals(values + 0.01, values)[0]
    assert paired.estimate == pytest.approx(0.01)
    assert (paired.low, paired.high) == (pytest.approx(0.01), pytest.approx(0.01))
    assert first.high - first.low > 0.1


def test_two_scans_of_a_patient_are_not_two_patients():
    values = np.random.default_rng(0).random((15, 1))
    doubled = np.concatenate([values, values])
    clustered = Resampling(patients_of(15, 15)).mean_intervals(doubled)[0]
    single = Resampling(patients_of(15, 0)).mean_intervals(values)[0]
    assert (clustered.low, clustered.high) == pytest.approx((single.low, single.high))
    assert (clustered.n_cases, clustered.n_patients) == (30, 15)


def test_width_is_about_that_of_students_interval():
    values = np.random.default_rng(2).normal(0, 1, (30, 1))
    interval = Resampling(patients_of(30, 0), draws=20000).mean_intervals(values)[0]
    expected = stats.t.interval(0.95, 29, values.mean(), stats.sem(values[:, 0]))
    assert (interval.low, interval.high) == pytest.approx(expected, abs=0.03)


def test_missing_values_and_few_patients():
    patients = patients_of(6, 0)
    values = np.full((6, 3), NAN)
    values[0, 0] = 0.5
    values[:2, 1] = 0.2, 0.4
    nothing = Resampling(patients).mean_intervals(values)
    assert (nothing[0].estimate, nothing[0].n_cases, nothing[0].n_patients) == (0.5, 1, 1)
    assert math.isnan(nothing[0].low)
    assert (nothing[1].low, nothing[1].high) == pytest.approx((0.2, 0.4))
    assert math.isnan(nothing[2].estimate)
    assert (nothing[2].n_cases, nothing[2].n_patients) == (0, 0)
    macro = Resampling(patients).macro_interval(values)
    assert macro.estimate == pytest.approx(0.4)
    assert math.isnan(macro.low)
    empty = Resampling(patients).macro_interval(values[:, 2:])
    assert math.isnan(empty.estimate)
    none = Resampling(np.array([], np.str_)).mean_intervals(np.zeros((0, 1)))[0]
    assert (none.n_cases, math.isnan(none.estimate)) == (0, True)
    assert percentile_interval(np.full(4, NAN), 9) == pytest.approx((NAN, NAN), nan_ok=True)


def test_values_of_a_score_table_have_the_means_of_its_summary():
    rng = np.random.default_rng(9)
    rows = []
    for n in range(8):
        volumes = rng.integers(0, 4, (3, 4, 4, 3)) * (rng.random((3, 4, 4, 3)) < 0.2)
        for reference in (1, 2):
            names = {
                "case": f"p{n // 2}_{n}",
                "patient": f"p{n // 2}",
                "candidate": "m",
                "reference": f"rater{reference}",
            }
            pair = volumes[reference].astype(np.uint8), volumes[0].astype(np.uint8)
            rows += [{**names, **row} for row in score_confusion(confusion(*pair), 1.0)]
    table = pd.DataFrame(rows).sample(frac=1, random_state=1)
    summary = summarise(table)
    found, patients = case_table(table), case_table(table).patients
    for score in ("dice_nnunet", "dice_present"):
        values = found.of(score)
        assert list(patients) == [f"p{n // 2}" for n in range(8)]
        expected = [summary["classes"][key][score] for key in SCORED_CLASSES]
        np.testing.assert_allclose(means_of(values), expected)
        macro = Resampling(patients).macro_interval(values[:, :-1])
        assert macro.estimate == pytest.approx(summary["macro"][score])
    assert SCORED_CLASSES[-1] == ANY
    assert np.isnan(values[:, SCORED_CLASSES.index("SDH")]).all()
