"""Confidence intervals by resampling patients, for means over cases and their differences.

The scans of one patient are not independent, so patients are resampled, each with all its cases.
Intervals are expanded percentile intervals (Hesterberg, Am Stat 2015): with few patients, plain
percentiles are too narrow by about the factor that the t distribution and n/(n-1) correct.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

DRAWS = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A mean (or a difference or ratio of means) with its interval and its numbers of cases.

    Without values `estimate` is NaN; with fewer than two patients the limits are NaN.
    """

    estimate: float
    low: float
    high: float
    n_cases: int
    n_patients: int


class Resampling:
    """Bootstrap samples of patients, the same for every mean that is taken from this object.

    So runs are paired: the difference of two runs is taken sample by sample. `patients` [cases]
    names the patient of each case; the samples depend on the number of patients and the seed only.
    """

    def __init__(self, patients: NDArray[np.str_], draws: int = DRAWS, seed: int = 0) -> None:
        self._names, self._patient = np.unique(patients, return_inverse=True)
        self.n_patients = len(self._names)
        self._weights = np.zeros((draws, self.n_patients))  # times a sample holds a patient
        if self.n_patients:
            rng = np.random.default_rng(seed)
            shares = np.full(self.n_patients, 1 / self.n_patients)
            self._weights[:] = rng.multinomial(self.n_patients, shares, size=draws)

    def _per_patient(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.zeros((self.n_patients, values.shape[1]))
        np.add.at(sums, self._patient, values)
        return sums

    def weights(self, patients: NDArray[np.str_]) -> NDArray[np.float64]:
        """How often each sample holds each of n rows, [draws, n], from the rows' patients [n].

        For statistics other than means. The patients must be among those of this object.
        """
        return self._weights[:, np.searchsorted(self._names, patients)]

    def contributing(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Number of patients with a value, per column: [k]."""
        return (self._per_patient(~np.isnan(values)) > 0).sum(axis=0)

    def means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over the cases of each sample, [draws, k] from [cases, k]; NaN without a value."""
        totals = self._weights @ self._per_patient(np.nan_to_num(values))
        counts = self._weights @ self._per_patient(~np.isnan(values))
        with np.errstate(invalid="ignore"):
            return totals / counts

    def mean_intervals(self, values: NDArray[np.float64], level: float = LEVEL) -> list[Interval]:
        """The interval of the mean of each column of [cases, k]."""
        return self._intervals(means_of(values), self.means(values), [values], level)

    def difference_intervals(
        self, first: NDArray[np.float64], second: NDArray[np.float64], level: float = LEVEL
    ) -> list[Interval]:
        """The intervals of mean(first) - mean(second), column by column, on the same patients.

        Both are [cases, k] with the same case in each row; n counts the smaller side.
        """
        estimates = means_of(first) - means_of(second)
        draws = self.means(first) - self.means(second)
        return self._intervals(estimates, draws, [first, second], level)

    def ratio_intervals(
        self, over: NDArray[np.float64], under: NDArray[np.float64], level: float = LEVEL
    ) -> list[Interval]:
        """The intervals of mean(over) / mean(under), column by column, on the same patients.

        Both are [cases, k] with the same case in each row; n counts the smaller side. NaN where
        the denominator is 0 or NaN; samples where it is are left out.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            estimates = means_of(over) / means_of(under)
            draws = self.means(over) / self.means(under)
        estimates[~np.isfinite(estimates)] = np.nan
        draws[~np.isfinite(draws)] = np.nan
        return self._intervals(estimates, draws, [over, under], level)

    def macro_interval(self, values: NDArray[np.float64], level: float = LEVEL) -> Interval:
        """The interval of the mean of the column means; columns without a value are left out.

        Samples without a value in some column are left out too, as their mean would be of other
        classes. n is that of the rarest column.
        """
        known = values[:, ~np.isnan(values).all(axis=0)]
        if not known.shape[1]:
            return Interval(float("nan"), float("nan"), float("nan"), 0, 0)
        counts = (~np.isnan(known)).sum(axis=0)
        patients = self.contributing(known)
        draws = self.means(known).mean(axis=1)
        low, high = percentile_interval(draws, int(patients.min()), level)
        estimate = float(means_of(known).mean())
        return Interval(estimate, low, high, int(counts.min()), int(patients.min()))

    def macro_difference(
        self, first: NDArray[np.float64], second: NDArray[np.float64], level: float = LEVEL
    ) -> tuple[Interval, tuple[float, float]]:
        """The interval of the difference of two macro means, and both means, on the same patients.

        Both are [cases, k] with the same case in each row, and NaN in the same places. Columns
        without a value, and samples that lack a column, are left out as in `macro_interval`.
        """
        known = ~np.isnan(first).all(axis=0)
        one, two = first[:, known], second[:, known]
        if not one.shape[1]:
            nan = float("nan")
            return Interval(nan, nan, nan, 0, 0), (nan, nan)
        counts = (~np.isnan(one)).sum(axis=0)
        patients = int(self.contributing(one).min())
        draws = self.means(one).mean(axis=1) - self.means(two).mean(axis=1)
        means = float(means_of(one).mean()), float(means_of(two).mean())
        limits = percentile_interval(draws, patients, level)
        return Interval(means[0] - means[1], *limits, int(counts.min()), patients), means

    def _intervals(
        self,
        estimates: NDArray[np.float64],
        draws: NDArray[np.float64],
        sides: list[NDArray[np.float64]],
        level: float,
    ) -> list[Interval]:
        cases = np.min([(~np.isnan(side)).sum(axis=0) for side in sides], axis=0)
        patients = np.min([self.contributing(side) for side in sides], axis=0)
        return [
            Interval(
                float(estimates[k]),
                *percentile_interval(draws[:, k], int(patients[k]), level),
                int(cases[k]),
                int(patients[k]),
            )
            for k in range(len(estimates))
        ]


def means_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each column over its values, [k] from [cases, k]; NaN for a column of NaN."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(values).sum(axis=0) / known.sum(axis=0)


def percentile_interval(
    draws: NDArray[np.float64], n_patients: int, level: float = LEVEL
) -> tuple[float, float]:
    """Limits from a statistic of each sample, [draws], expanded for the number of patients.

    NaN values are left out. NaN for fewer than two patients.
    """
    known = draws[~np.isnan(draws)]
    if n_patients < 2 or not known.size:
        return float("nan"), float("nan")
    t = special.stdtrit(n_patients - 1, (1 - level) / 2)
    tail = float(special.ndtr(t * np.sqrt(n_patients / (n_patients - 1))))
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)
