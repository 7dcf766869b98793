"""The scores of the MBH-Seg25 organisers' tool, for comparison with challenge entries only.

They compare a group of raters with a group of predictions. Two versions of the tool exist: `v3`
is the last, `v1` the one that most entries used. Its faults are kept, because its scores are
comparable only with the same tool's scores: a false-positive class costs nothing in Dice, GED
takes every predicted class for class 1, and a class absent from both sides counts as an IoU of 0.
No model may be selected on these scores.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from mbhseg.classes import N_LABELS, Labels

VERSIONS = ("v1", "v3")
SOFT_THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
FREE_VOXELS = 100  # v3: false positives tolerated, in part, where a rater labelled nothing
COLUMNS = (
    *(
        f"organisers_{version}_{name}"
        for version in VERSIONS
        for name in ("dice_max", "dice_max_reverse", "dice_match", "dice_each_mean", "ged")
    ),
    "organisers_dice_soft",
)
_EPSILON = 1e-8


class Groups(NamedTuple):
    """Raters and predictions of one case, reduced to the voxels where any of them is not 0.

    `raters` uint8 [r, n], `predictions` uint8 [p, n]; `background` counts the other voxels.
    """

    raters: Labels
    predictions: Labels
    background: int


class Rules(NamedTuple):
    """How a version of the tool scores a case, which depends on the case's raters."""

    multiclass: bool
    n_classes: int
    skip_background: bool
    forgiving: bool  # of few false positives where a rater labelled nothing


def group(raters: Sequence[Labels], predictions: Sequence[Labels], background: int = 0) -> Groups:
    """Reduce uint8 label volumes of one shape; ValueError without a rater or a prediction.

    `background` counts voxels already left out, which are 0 in every volume.
    """
    if not len(raters) or not len(predictions):
        raise ValueError("the scores need at least one rater and one prediction")
    flat = [volume.ravel(order="F") for volume in (*raters, *predictions)]
    drawn = flat[0] != 0
    for volume in flat[1:]:
        drawn |= volume != 0
    labelled = np.flatnonzero(drawn)
    kept = np.stack([volume[labelled] for volume in flat])
    left_out = len(drawn) - len(labelled) + background
    return Groups(kept[: len(raters)], kept[len(raters) :], left_out)


def confusion_of(first: Labels, second: Labels, background: int) -> NDArray[np.int64]:
    """Voxel counts [6, 6] of whole volumes: labels of `first` by labels of `second`."""
    counts = np.bincount(first.astype(np.int64) * N_LABELS + second, minlength=N_LABELS**2)
    counts[0] += background
    return counts.reshape(N_LABELS, N_LABELS).astype(np.int64, copy=False)


def rules_of(groups: Groups, version: str) -> Rules:
    """The rules of `v1` or `v3` for one case; they depend on the raters only."""
    counts = np.stack([np.bincount(labels, minlength=N_LABELS) for labels in groups.raters])
    counts[:, 0] += groups.background
    drawn = [int(label) for label in np.flatnonzero(counts.sum(axis=0))]
    skip_background = bool(counts[:, 0].sum() > 0.5 * counts.sum())
    if version == "v1":
        multiclass = drawn not in ([0], [1], [0, 1])
        return Rules(multiclass, max(drawn, default=0) + 1, skip_background, False)
    if version == "v3":
        return Rules(True, N_LABELS, skip_background, True)
    raise ValueError(f"version {version!r} is not one of {', '.join(VERSIONS)}")


def pair_dice(counts: NDArray[np.int64], rules: Rules) -> float:
    """The tool's Dice of one prediction and one rater, from counts [6, 6], rater by prediction.

    Multi-class: the mean over the classes that the rater labelled; 0 if there is none to score.
    """
    if not rules.multiclass:
        return _dice(counts[1, 1:].sum(), counts[1].sum(), counts[:, 1:].sum())
    drawn = [int(label) for label in np.flatnonzero(counts.sum(axis=1))]
    if rules.forgiving and rules.skip_background and not any(drawn):
        false = int(counts[:, 1:].sum())
        forgiven = FREE_VOXELS - false
        return 2 * forgiven / (FREE_VOXELS + forgiven) if forgiven >= 0 else 0.0
    folded = counts[:, : rules.n_classes].copy()  # a larger label counts as the largest known
    folded[:, -1] += counts[:, rules.n_classes :].sum(axis=1)
    scored = [label for label in drawn if label > 0 or not rules.skip_background]
    dices = [_dice(folded[c, c], counts[c].sum(), folded[:, c].sum()) for c in scored]
    return float(np.mean(dices)) if dices else 0.0


def _dice(common: Any, first: Any, second: Any) -> float:
    return float((2 * common + _EPSILON) / (first + second + _EPSILON))


def match(dices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dice of each rater, [r], from the table [r, p] of raters by predictions.

    Raters and predictions are paired one to one for the largest sum; a rater without a partner
    takes its best prediction.
    """
    each = dices.max(axis=1)
    rows, columns = linear_sum_assignment(1 - dices)
    each[rows] = dices[rows, columns]
    return each


def ged(groups: Groups, rules: Rules) -> float:
    """Generalised energy distance of 1 - mean IoU, every predicted class taken for class 1.

    0 if neither side has a hemorrhage, 1 if only one has.
    """
    predictions = (groups.predictions > 0).astype(np.uint8)
    if not groups.raters.any() or not predictions.any():
        return float(groups.raters.any() or predictions.any())
    n_classes = max(rules.n_classes, int(groups.raters.max()) + 1, 2)

    def mean_distance(first: Labels, second: Labels) -> float:
        distances = [
            1 - np.mean(_iou(confusion_of(x, y, groups.background))[1:n_classes])
            for x in first
            for y in second
        ]
        return float(np.mean(distances))

    between = mean_distance(groups.raters, predictions)
    within = mean_distance(groups.raters, groups.raters) + mean_distance(predictions, predictions)
    return 2 * between - within


def _iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    common = np.diag(counts)
    return common / (counts.sum(axis=0) + counts.sum(axis=1) - common + _EPSILON)


def dice_soft(groups: Groups) -> float:
    """Mean Dice over five thresholds of the two groups' mean label values."""
    rated = groups.raters.astype(np.float32).mean(axis=0)
    predicted = groups.predictions.astype(np.float32).mean(axis=0)
    dices = []
    for threshold in SOFT_THRESHOLDS:
        first, second = rated > np.float32(threshold), predicted > np.float32(threshold)
        dices.append(_dice((first & second).sum(), first.sum(), second.sum()))
    return float(np.mean(dices))


def organisers_scores(
    raters: Sequence[Labels], predictions: Sequence[Labels], background: int = 0
) -> dict[str, float]:
    """Both versions' scores of one case: `COLUMNS`. `background` is as in `group`.

    Volumes are uint8 labels 0..5 of one shape. With one prediction, as usual, dice_match,
    dice_max_reverse and dice_each_mean are equal. If all volumes are empty, Dice is 1 and GED 0.
    """
    groups = group(raters, predictions, background)
    tables = [
        [confusion_of(rater, prediction, groups.background) for prediction in groups.predictions]
        for rater in groups.raters
    ]
    scores: dict[str, float] = {}
    for version in VERSIONS:
        rules = rules_of(groups, version)
        dices = np.array([[pair_dice(counts, rules) for counts in row] for row in tables])
        each = match(dices)
        values = {
            "dice_max": dices.max(axis=0).mean(),
            "dice_max_reverse": dices.max(axis=1).mean(),
            "dice_match": each.mean(),
            "dice_each_mean": each.mean(),
            "ged": ged(groups, rules),
        }
        scores |= {f"organisers_{version}_{name}": float(v) for name, v in values.items()}
    scores["organisers_dice_soft"] = dice_soft(groups)
    return scores
