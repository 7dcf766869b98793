"""Agreement of hemorrhage volumes in ml: bias, Bland-Altman limits, and the ICC."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mbhseg.metrics.bootstrap import Resampling, percentile_interval

_NORMAL_975 = 1.959963984540054  # 97.5 % quantile of the normal distribution
NAN = float("nan")


def icc_a1(ratings: ArrayLike) -> float:
    """ICC(A,1): absolute agreement of single ratings, two-way model; [subjects, raters].

    McGraw and Wong (Psychol Methods 1996); equals Shrout and Fleiss' ICC(2,1).
    NaN for fewer than two subjects or raters, or where all ratings are equal.
    """
    table = np.asarray(ratings, np.float64)
    n, k = table.shape
    if n < 2 or k < 2:
        return NAN
    mean, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    between_rows = k * ((rows - mean) ** 2).sum() / (n - 1)
    between_columns = n * ((columns - mean) ** 2).sum() / (k - 1)
    residual = table - rows[:, None] - columns + mean
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    total = between_rows + (k - 1) * error + k / n * (between_columns - error)
    return float((between_rows - error) / total) if total > 0 else NAN


def volume_agreement(reference_ml: ArrayLike, candidate_ml: ArrayLike) -> dict[str, Any]:
    """How two measurements of the same n volumes agree, in ml.

    Differences are candidate - reference: `bias_ml` is their mean, `mae_ml` their mean absolute
    value, `sd_ml` their standard deviation (n - 1), `loa_low_ml` and `loa_high_ml` the limits of
    agreement, bias -+ 1.96 sd (Bland and Altman, Lancet 1986); `icc_a1`: see the function. All
    are NaN for n 0; the spread, limits and ICC are NaN for n 1.
    """
    reference = np.asarray(reference_ml, np.float64)
    candidate = np.asarray(candidate_ml, np.float64)
    difference: NDArray[np.float64] = candidate - reference
    n = len(difference)
    bias = float(difference.mean()) if n else NAN
    sd = float(difference.std(ddof=1)) if n > 1 else NAN
    return {
        "n": n,
        "bias_ml": bias,
        "mae_ml": float(np.abs(difference).mean()) if n else NAN,
        "sd_ml": sd,
        "loa_low_ml": bias - _NORMAL_975 * sd,
        "loa_high_ml": bias + _NORMAL_975 * sd,
        "icc_a1": icc_a1(np.stack([reference, candidate], axis=1)),
    }


def agreement_draws(
    weights: NDArray[np.float64],
    reference_ml: NDArray[np.float64],
    candidate_ml: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """The numbers of `volume_agreement` for each bootstrap sample: name to [draws].

    `weights` [draws, n]: how often each sample holds each of the n pairs of volumes [n]. NaN for
    samples that are too small, or without spread for the ICC.
    """
    difference, middle = candidate_ml - reference_ml, (candidate_ml + reference_ml) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        n = weights.sum(axis=1)
        bias, grand = weights @ difference / n, weights @ middle / n
        spread = (weights @ difference**2 - n * bias**2).clip(min=0)
        sd = np.sqrt(spread / (n - 1))
        error = spread / 2 / (n - 1)  # with two raters, each has a residual of half the difference
        rows = 2 * (weights @ middle**2 - n * grand**2).clip(min=0) / (n - 1)
        columns = n * bias**2 / 2
        icc = (rows - error) / (rows + error + 2 / n * (columns - error))
        draws = {
            "bias_ml": bias,
            "mae_ml": weights @ np.abs(difference) / n,
            "sd_ml": sd,
            "loa_low_ml": bias - _NORMAL_975 * sd,
            "loa_high_ml": bias + _NORMAL_975 * sd,
            "icc_a1": icc,
        }
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in draws.items()}


def volume_summary(rows: pd.DataFrame, resampling: Resampling) -> dict[str, dict[str, Any]]:
    """`volume_agreement` of the score rows of one class: of `all`, and of those `drawn`.

    `drawn` leaves out the rows where both sides are empty, which agree trivially at 0 ml. Every
    row counts once; there is no averaging within a case. `intervals` resample patients.
    """
    drawn = rows[rows["status"] != "absent"]
    return {
        name: _with_intervals(part, resampling) for name, part in (("all", rows), ("drawn", drawn))
    }


def _with_intervals(rows: pd.DataFrame, resampling: Resampling) -> dict[str, Any]:
    volumes = rows["reference_ml"].to_numpy(np.float64), rows["candidate_ml"].to_numpy(np.float64)
    weights = resampling.weights(rows["patient"].to_numpy(dtype=np.str_))
    n_patients = int(rows["patient"].nunique())
    return {
        **volume_agreement(*volumes),
        "intervals": {
            name: list(percentile_interval(values, n_patients))
            for name, values in agreement_draws(weights, *volumes).items()
        },
    }
