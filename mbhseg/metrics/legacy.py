"""Slice-wise scores, for comparison with older reports, which score slices and not cases.

They are computed from the confusion matrices of slices, [n, 6, 6] (`overlap.plane_confusions`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import KEYS
from mbhseg.metrics.overlap import class_counts, dice


def dice_coef_multiclass(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """The reference project's `dice_coef_multiclass` of each slice, on hard labels: [n].

    It sums over height, width and all classes, background included, before it divides, so on
    one-hot labels it is the share of pixels whose label agrees: about .99 for an empty mask.
    A slice without pixels gives NaN.
    """
    agreeing = np.trace(confusions, axis1=-2, axis2=-1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return agreeing / confusions.sum(axis=(-2, -1))


def dice_pooled(confusions: NDArray[np.int64]) -> dict[str, float]:
    """Dice per class of all slices taken as one volume; NaN where no slice holds the class."""
    return {
        key: float(dice(*counts)) for key, counts in class_counts(confusions.sum(axis=0)).items()
    }


def dice_drawn_slices(confusions: NDArray[np.int64]) -> dict[str, tuple[float, int]]:
    """Mean Dice per class over the n slices where the reference holds it, with n; NaN for n 0."""
    scores: dict[str, tuple[float, int]] = {}
    for key, (reference, candidate, intersection) in class_counts(confusions).items():
        drawn = reference > 0
        values = dice(reference[drawn], candidate[drawn], intersection[drawn])
        scores[key] = (float(values.mean()) if values.size else float("nan"), int(values.size))
    return scores


def legacy_scores(confusions: NDArray[np.int64]) -> dict[str, Any]:
    """The slice-wise scores of n slices: [n, 6, 6] to a dictionary of means.

    `dice_coef_multiclass` is the mean over slices; `dice_pooled` and `dice_drawn_slices` hold
    the classes, `any`, and as `macro` the mean over the classes EDH..SDH that have a value.
    """
    pooled = dice_pooled(confusions)
    drawn = dice_drawn_slices(confusions)
    per_plane = dice_coef_multiclass(confusions)
    drawn_means = {key: mean for key, (mean, _) in drawn.items()}
    return {
        "n_slices": len(confusions),
        "dice_coef_multiclass": float(per_plane.mean()) if per_plane.size else float("nan"),
        "dice_pooled": {**pooled, "macro": _mean_of_known(pooled)},
        "dice_drawn_slices": {**drawn_means, "macro": _mean_of_known(drawn_means)},
        "n_drawn_slices": {key: n for key, (_, n) in drawn.items()},
    }


def _mean_of_known(scores: dict[str, float]) -> float:
    known = [scores[key] for key in KEYS if not np.isnan(scores[key])]
    return float(np.mean(known)) if known else float("nan")
