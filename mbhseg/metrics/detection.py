"""Whether a case holds the class at all: AUC, AP and Brier score of one number per case.

The number is fixed in advance: the largest probability of the class in the case; without
probabilities (raters, other systems), the labelled volume in ml.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.metrics.bootstrap import Resampling, percentile_interval

PROBABILITY, VOLUME = "max_probability", "candidate_ml"

Floats = NDArray[np.float64]


def auc(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Area under the ROC curve for each row of weights: [draws] from [draws, n].

    The weighted share of pairs of a positive and a negative case in which the positive scores
    higher, ties counting half. NaN for weights that leave no positive or no negative.
    """
    up, down = weights[:, positive], weights[:, ~positive]
    above = np.sign(scores[positive][:, None] - scores[~positive][None, :]) / 2 + 0.5
    with np.errstate(invalid="ignore"):
        return ((up @ above) * down).sum(axis=1) / (up.sum(axis=1) * down.sum(axis=1))


def average_precision(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Average precision for each row of weights: [draws] from [draws, n].

    The sum over thresholds of precision times the gain in recall, without interpolation; cases
    of the same score are one threshold. NaN for weights that leave no positive.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of each threshold
    called = np.cumsum(weights[:, order], axis=1)[:, last]
    right = np.cumsum(weights[:, order] * positive[order], axis=1)[:, last]
    gained = np.diff(right, axis=1, prepend=0)
    precision = np.divide(right, called, out=np.zeros_like(right), where=called > 0)
    with np.errstate(invalid="ignore"):
        return (precision * gained).sum(axis=1) / right[:, -1]


def brier(probabilities: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Mean squared difference of probability and truth for each row of weights: [draws]."""
    with np.errstate(invalid="ignore"):
        return weights @ (probabilities - positive) ** 2 / weights.sum(axis=1)


def detection_summary(rows: pd.DataFrame, resampling: Resampling) -> dict[str, Any]:
    """How well one score detects the cases whose reference holds the class, from its score rows.

    `score` is `max_probability` if every row has one, else `candidate_ml`, for which `brier` is of
    the prediction 0 or 1 (any volume). All cases weigh the same, however many pairs they have;
    n_positive and n_negative count rows. `intervals` resample patients; they are rough with few
    positive or few negative cases, and of no width for an AUC of 1. No rows, or rows of one kind
    only, give NaN.
    """
    positive = (rows["reference_voxels"] > 0).to_numpy(bool)
    known = bool(len(rows)) and bool(rows[PROBABILITY].notna().all())
    score = PROBABILITY if known else VOLUME
    scores = rows[score].to_numpy(np.float64)
    probabilities = scores if known else (scores > 0).astype(np.float64)
    shares = (1 / rows.groupby("case")["case"].transform("size")).to_numpy(np.float64)
    draws = resampling.weights(rows["patient"].to_numpy(dtype=np.str_)) * shares
    n_patients = int(rows["patient"].nunique())
    values = {
        "auc": (auc, scores),
        "ap": (average_precision, scores),
        "brier": (brier, probabilities),
    }
    summary: dict[str, Any] = {
        "score": score,
        "n_positive": int(positive.sum()),
        "n_negative": int((~positive).sum()),
    }
    intervals: dict[str, list[float]] = {}
    for name, (function, given) in values.items():
        if not len(rows):
            summary[name], intervals[name] = float("nan"), [float("nan")] * 2
            continue
        summary[name] = float(function(given, positive, shares[None])[0])
        sampled = function(given, positive, draws)
        intervals[name] = list(percentile_interval(sampled, n_patients))
    return {**summary, "intervals": intervals}
