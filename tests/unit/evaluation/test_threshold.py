"""The best HU band against exhaustive search."""

import numpy as np
import pytest

from mbhseg.evaluation.threshold import HIGHEST_HU, LOWEST_HU, band_row, best_band, bleed_histogram


def exhaustive(cases: list[tuple[np.ndarray, np.ndarray]], lows, highs) -> dict:
    """Mean Dice of each band over the cases with hemorrhage, computed from masks."""
    means = {}
    for low in lows:
        for high in highs:
            scores = []
            for hu, labels in cases:
                if (labels > 0).any():
                    found = (hu >= low) & (hu <= high)
                    both = (found & (labels > 0)).sum()
                    scores.append(2 * both / (found.sum() + (labels > 0).sum()))
            if high >= low:
                means[low, high] = np.mean(scores)
    return means


def scans(seed: int, n: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    cases = []
    for k in range(n):
        labels = rng.integers(0, 6, (6, 5, 4)).astype(np.uint8) * (rng.random((6, 5, 4)) < 0.4)
        labels = labels * np.uint8(k > 0)  # the first case does not bleed
        hu = rng.integers(30, 50, labels.shape) + 8 * (labels > 0)
        cases.append((hu.astype(np.int16), labels.astype(np.uint8)))
    return cases


@pytest.mark.parametrize("seed", range(5))
def test_best_band_is_the_best_of_all(seed: int):
    cases = scans(seed)
    band = best_band([bleed_histogram(*case) for case in cases])
    means = exhaustive(cases, range(29, 60), range(29, 60))
    best = max(means.values())
    assert band.dice == pytest.approx(best)
    assert band.n_cases == 2
    equal = [key for key, mean in means.items() if np.isclose(mean, best, rtol=0, atol=1e-12)]
    assert (band.low, band.high) in equal


def test_of_equal_bands_the_lowest_is_taken():
    hu = np.array([10, 10, 50, 50], np.int16).reshape(4, 1, 1)
    labels = np.array([0, 0, 1, 1], np.uint8).reshape(4, 1, 1)
    band = best_band([bleed_histogram(hu, labels)])
    assert band == (11, 50, 1.0, 1)


def test_histogram_keeps_voxels_beyond_its_bins_in_the_bleed():
    hu = np.array([-3024, LOWEST_HU, HIGHEST_HU, 31701, 60], np.int32).reshape(5, 1, 1)
    labels = np.array([0, 0, 2, 2, 2], np.uint8).reshape(5, 1, 1)
    histogram = bleed_histogram(hu, labels)
    assert histogram.bleed == 3
    assert (histogram.inside.sum(), histogram.outside.sum()) == (2, 1)
    assert (histogram.inside[-1], histogram.outside[0]) == (1, 1)
    row = band_row(histogram, best_band([histogram]), 0.5)
    assert (row["reference_voxels"], row["candidate_voxels"], row["intersection"]) == (3, 2, 2)
    assert row["dice"] == pytest.approx(0.8)


def test_fractional_hu_is_rounded_and_what_is_not_finite_is_in_no_bin():
    hu = np.array([59.6, np.nan, np.inf, -np.inf], np.float32).reshape(4, 1, 1)
    histogram = bleed_histogram(hu, np.array([1, 1, 0, 0], np.uint8).reshape(4, 1, 1))
    assert histogram.inside[60 - LOWEST_HU] == 1
    assert histogram.inside.sum() + histogram.outside.sum() == 1
    assert histogram.bleed == 2


def test_rows_of_the_band_are_those_of_a_mask():
    cases = scans(11)
    histograms = [bleed_histogram(*case) for case in cases]
    band = best_band(histograms)
    for (hu, labels), histogram in zip(cases, histograms, strict=True):
        found = (hu >= band.low) & (hu <= band.high)
        row = band_row(histogram, band, 0.25)
        assert row["candidate_voxels"] == found.sum()
        assert row["intersection"] == (found & (labels > 0)).sum()
        assert row["candidate_ml"] == 0.25 * found.sum()
        assert row["status"] == ("both" if labels.any() else "spurious")


def test_memory_order_does_not_matter():
    hu, labels = scans(3)[1]
    mixed = bleed_histogram(np.asfortranarray(hu), labels)
    for got, expected in zip(mixed, bleed_histogram(hu, labels), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_without_a_bleed_there_is_no_band():
    hu, labels = scans(0)[0]
    assert best_band([bleed_histogram(hu, labels)]) is None
    assert best_band([]) is None


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="differ"):
        bleed_histogram(np.zeros((2, 2, 2), np.int16), np.zeros((2, 2, 3), np.uint8))
