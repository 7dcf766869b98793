"""Temperature scaling: one number that makes a model's probabilities as high as it is right.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017: the logits are divided by the
temperature that gives the validation voxels' labels the highest likelihood. The likeliest class of
a voxel does not change.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from mbhseg.classes import Labels
from mbhseg.errors import InputError
from mbhseg.metrics.calibration import N_BINS, bin_of, calibration_error
from mbhseg.predictions.gathering import TINY

LIMITS = (0.1, 20.0)  # a model that needs more is of no use


class Voxels(NamedTuple):
    """Voxels of one case: probabilities float32 [n, 6], and labels uint8 [raters, n]."""

    probabilities: NDArray[np.float32]
    labels: Labels


def soften(probabilities: NDArray[Any], temperature: float) -> NDArray[np.float32]:
    """Probabilities [..., C] after the logits are divided by `temperature`; they sum to 1.

    The logarithms of the probabilities serve as logits, from which they differ by a constant.
    """
    powered = np.asarray(probabilities, np.float32) ** np.float32(1 / temperature)
    return np.asarray(powered / powered.sum(axis=-1, keepdims=True), np.float32)


def fit(cases: Sequence[Voxels]) -> float:
    """The temperature with the lowest `loss`, within `LIMITS`.

    Raises InputError if no case has a voxel.
    """
    if not any(case.labels.size for case in cases):
        raise InputError(
            "temperature", "no validation case has a hemorrhage", "Add one to the subset valid"
        )
    low, high = (math.log(limit) for limit in LIMITS)
    best = minimize_scalar(
        lambda power: loss(cases, math.exp(power)), bounds=(low, high), method="bounded"
    )
    return float(math.exp(best.x))


def loss(cases: Sequence[Voxels], temperature: float) -> float:
    """Mean negative log likelihood of the labels: over voxels and raters, then over cases.

    Cases without a voxel do not count; at least one must have some.
    """
    means = []
    for case in cases:
        if case.labels.size:
            logs = np.log(np.maximum(case.probabilities, TINY)).astype(np.float64) / temperature
            logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
            index = case.labels.astype(np.intp)
            means.append(-float(np.take_along_axis(logs, index.T, axis=1).mean()))
    return math.fsum(means) / len(means)


def mean_calibration_error(cases: Sequence[Voxels], temperature: float) -> float:
    """Expected calibration error of the likeliest label, mean over cases; NaN without a voxel.

    A voxel is right to the share of the raters who agree. The bins are those of
    `metrics.calibration`, but of unrounded probabilities.
    """
    errors = []
    for case in cases:
        if not case.labels.size:
            continue
        softened = soften(case.probabilities, temperature)
        sure, chosen = softened.max(axis=1), softened.argmax(axis=1)
        right = (case.labels == chosen).mean(axis=0)
        gaps = np.bincount(bin_of(sure, 1), weights=right - sure, minlength=N_BINS)
        errors.append(calibration_error(gaps, len(sure)))
    return math.fsum(errors) / len(errors) if errors else float("nan")
