"""The best plain HU threshold: the score of a segmentation without any learning.

The band is chosen on the same cases that it is scored on: an upper bound for thresholding, not a
system that could be used.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import ANY, Labels
from mbhseg.metrics.overlap import ScoreRow, dice, score_counts

CANDIDATE = "threshold"
LOWEST_HU, HIGHEST_HU = -100, 200
_N_BINS = HIGHEST_HU - LOWEST_HU + 1


class BleedHistogram(NamedTuple):
    """Voxels of one case by HU, 1 HU per bin from -100 to 200: inside the hemorrhage and outside.

    `bleed` counts all voxels of the hemorrhage, including those with a HU beyond the bins.
    """

    inside: NDArray[np.int64]
    outside: NDArray[np.int64]
    bleed: int


class Band(NamedTuple):
    """HU from `low` to `high`, both included, and its mean Dice of class `any` over n cases."""

    low: int
    high: int
    dice: float
    n_cases: int


def bleed_histogram(hu: NDArray[Any], labels: Labels) -> BleedHistogram:
    """Count HU values (rounded to whole HU) inside and outside the hemorrhage.

    `hu` [x, y, z] of any real type; `labels` uint8 [x, y, z], hemorrhage above 0. HU values that
    are not finite are in no bin. Raises ValueError if the shapes differ.
    """
    if hu.shape != labels.shape:
        raise ValueError(f"scan {hu.shape} and labels {labels.shape} differ")
    values = hu.ravel(order="F")
    if values.dtype.kind == "f":
        values = np.rint(values)
    bleed = np.flatnonzero(labels.ravel(order="F"))
    inside = _histogram(values[bleed])
    return BleedHistogram(inside, _histogram(values) - inside, len(bleed))


def _histogram(values: NDArray[Any]) -> NDArray[np.int64]:
    binned = values[(values >= LOWEST_HU) & (values <= HIGHEST_HU)].astype(np.int64)
    return np.bincount(binned - LOWEST_HU, minlength=_N_BINS)


def band_counts(histogram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Voxels in every band, [301, 301] by low and high bin; 0 where high is below low."""
    total = np.concatenate([[0], np.cumsum(histogram)])
    return np.triu(total[None, 1:] - total[:-1, None])


def voxels_in(histogram: NDArray[np.int64], band: Band) -> int:
    """Voxels in one band."""
    return int(histogram[band.low - LOWEST_HU : band.high - LOWEST_HU + 1].sum())


def best_band(histograms: Sequence[BleedHistogram]) -> Band | None:
    """The band with the highest mean Dice of class `any` over the cases with hemorrhage.

    Exact over all 45,451 bands of whole HU; of equals the one with the lowest `low`, then
    `high`. None if no case has a hemorrhage.
    """
    bleeding = [h for h in histograms if h.bleed]
    if not bleeding:
        return None
    total = np.zeros((_N_BINS, _N_BINS))
    for histogram in bleeding:
        inside, outside = band_counts(histogram.inside), band_counts(histogram.outside)
        total += dice(histogram.bleed, inside + outside, inside)
    low, high = np.unravel_index(np.argmax(total), total.shape)
    return Band(
        int(low) + LOWEST_HU,
        int(high) + LOWEST_HU,
        float(total[low, high] / len(bleeding)),
        len(bleeding),
    )


def band_row(histogram: BleedHistogram, band: Band, voxel_ml: float) -> ScoreRow:
    """The overlap columns of class `any` for the band as a prediction of one case."""
    inside = voxels_in(histogram.inside, band)
    predicted = inside + voxels_in(histogram.outside, band)
    return score_counts(ANY, (histogram.bleed, predicted, inside), voxel_ml)
