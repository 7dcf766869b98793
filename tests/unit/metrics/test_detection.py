"""AUC, AP and Brier score of cases against brute force and scikit-learn; their intervals cover."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mbhseg.metrics.bootstrap import Resampling
from mbhseg.metrics.detection import auc, average_precision, brier, detection_summary


def simulated(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with ties, truths, and weights of one sample."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    scores = np.round(np.clip(0.3 * positive + 0.6 * rng.random(n), 0, 1), 1)
    return scores, positive, rng.integers(0, 4, n).astype(float)


def one(function, scores, positive, weights) -> float:
    return float(function(scores, positive, np.asarray(weights, float)[None])[0])


@pytest.mark.parametrize("seed", range(20))
def test_weights_are_repetitions_and_agree_with_brute_force(seed):
    scores, positive, weights = simulated(seed)
    repeated = np.repeat(np.arange(len(scores)), weights.astype(int))
    s, p = scores[repeated], positive[repeated]
    wins = [(a > b) + (a == b) / 2 for a in s[p] for b in s[~p]]
    assert one(auc, scores, positive, weights) == pytest.approx(np.mean(wins))
    precision, recall = [], [0.0]
    for threshold in np.unique(s)[::-1]:
        called = s >= threshold
        precision.append(p[called].mean())
        recall.append((p & called).sum() / p.sum())
    expected = np.sum(np.diff(recall) * precision)
    assert one(average_precision, scores, positive, weights) == pytest.approx(expected)
    assert one(brier, scores, positive, weights) == pytest.approx(np.mean((s - p) ** 2))


def test_auc_is_that_of_mann_and_whitney():
    scores, positive, _ = simulated(3, 200)
    u = stats.mannwhitneyu(scores[positive], scores[~positive]).statistic
    expected = u / positive.sum() / (~positive).sum()
    assert one(auc, scores, positive, np.ones(200)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    scores, positive, weights = simulated(seed, 60)
    for function, theirs in (
        (auc, metrics.roc_auc_score),
        (average_precision, metrics.average_precision_score),
        (brier, metrics.brier_score_loss),
    ):
        expected = theirs(positive, scores, sample_weight=weights)
        assert one(function, scores, positive, weights) == pytest.approx(expected)


def test_one_kind_of_case_only_has_no_area():
    scores, every = np.array([0.2, 0.8]), np.array([True, True])
    assert np.isnan(one(auc, scores, every, [1, 1]))
    assert np.isnan(one(auc, scores, ~every, [1, 1]))
    assert one(average_precision, scores, every, [1, 1]) == 1
    assert np.isnan(one(average_precision, scores, ~every, [1, 1]))


def rows_of(probability, voxels, cases, ml=None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "case": cases,
            "patient": [case[:2] for case in cases],
            "reference_voxels": voxels,
            "max_probability": probability,
            "candidate_ml": np.zeros(len(cases)) if ml is None else ml,
        }
    )


def test_summary_takes_probabilities_where_there_are_any_and_volumes_else():
    rows = rows_of([0.9, 0.2, 0.7, 0.4], [5, 0, 3, 0], ["p1", "p2", "p3", "p4"], [2.0, 1, 0, 0])
    resampling = Resampling(rows["patient"].to_numpy(np.str_))
    found = detection_summary(rows, resampling)
    assert (found["score"], found["n_positive"], found["n_negative"]) == ("max_probability", 2, 2)
    assert (found["auc"], found["ap"]) == (1.0, 1.0)
    assert found["brier"] == pytest.approx(np.mean([0.01, 0.04, 0.09, 0.16]))
    found = detection_summary(rows.assign(max_probability=np.nan), resampling)
    assert found["score"] == "candidate_ml"
    assert found["auc"] == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert found["brier"] == pytest.approx(0.5)
    nothing = detection_summary(rows.iloc[:0], Resampling(np.array([], np.str_)))
    assert np.isnan(nothing["auc"])
    assert np.isnan(nothing["intervals"]["ap"]).all()


def test_a_case_with_many_raters_weighs_as_much_as_one_with_one():
    rows = rows_of([0.9] * 3 + [0.5, 0.6], [4, 4, 0, 2, 0], ["p1", "p1", "p1", "p2", "p3"])
    found = detection_summary(rows, Resampling(np.array(["p1", "p2", "p3"])))
    # p1 against its own third rater ties, against p3 wins; p2 loses both
    above = (2 / 3 * (1 / 3 * 0.5 + 1)) / ((2 / 3 + 1) * (1 / 3 + 1))
    assert found["auc"] == pytest.approx(above)


def test_intervals_cover_the_true_area():
    rng = np.random.default_rng(5)
    truth = stats.norm.cdf(1 / np.sqrt(2))
    covered = []
    for _ in range(400):
        positive = np.arange(50) < 20
        scores = rng.normal(positive * 1.0, 1)
        cases = [f"{n:02}" for n in range(50)]
        rows = rows_of(scores, positive.astype(int), cases)
        resampling = Resampling(rows["patient"].to_numpy(np.str_), draws=500)
        low, high = detection_summary(rows, resampling)["intervals"]["auc"]
        covered.append(low <= truth <= high)
    assert 0.92 <= np.mean(covered) <= 0.98
