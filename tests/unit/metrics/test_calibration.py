"""Calibration: the region, the bins and the errors, compared with plain loops."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial import distance

from mbhseg.classes import ANY, FOREGROUND
from mbhseg.metrics.calibration import (
    CLASSES,
    COLUMNS,
    LABEL,
    N_BINS,
    REGION_MM,
    bin_of,
    calibration_error,
    calibration_rows,
    calibration_summary,
    region_of,
)

AFFINE = np.diag([0.8, 1.1, 5.0, 1.0])
AFFINE[1, 2] = 1.3  # a tilted gantry does not reach into a slice


def brute_region(drawn: np.ndarray, affine: np.ndarray) -> np.ndarray:
    near = np.zeros_like(drawn)
    index = np.argwhere(np.ones(drawn.shape[:2], bool))
    points = index @ affine[:3, :2].T
    for z in range(drawn.shape[2]):
        inside = np.argwhere(drawn[:, :, z]) @ affine[:3, :2].T
        if len(inside):
            close = distance.cdist(points, inside).min(axis=1) <= REGION_MM + 1e-9
            near[:, :, z] = close.reshape(drawn.shape[:2])
    return near


@pytest.mark.parametrize("seed", range(6))
def test_the_region_is_what_lies_near_in_the_slice(seed):
    rng = np.random.default_rng(seed)
    drawn = rng.random((40, 30, 4)) < 0.002
    drawn[:, :, 1] = False
    found = np.zeros(drawn.size, bool)
    found[region_of(drawn, AFFINE)] = True
    np.testing.assert_array_equal(
        found.reshape(drawn.shape, order="F"), brute_region(drawn, AFFINE)
    )
    assert (np.diff(region_of(drawn, AFFINE)) > 0).all()
    assert not region_of(np.zeros_like(drawn), AFFINE).size


def test_bins_are_of_equal_width_and_the_last_holds_1():
    levels = np.arange(256)
    expected = np.minimum(np.floor(levels / 255 * N_BINS + 1e-9), N_BINS - 1)
    np.testing.assert_array_equal(bin_of(levels, 255), expected)
    assert np.bincount(bin_of(levels, 255)).tolist() == [17] * 14 + [18]
    shares = np.array([0, 0.066, 0.067, 0.5, 0.934, 1], np.float32)
    assert bin_of(shares, 1).tolist() == [0, 0, 1, 7, 14, 14]


def error_of(bins: pd.DataFrame) -> float:
    return calibration_error(bins["positives"] - bins["probability_sum"], bins["n"].sum())


def a_case(seed: int, case: str, raters=(1, 2)) -> tuple[pd.DataFrame, np.ndarray, dict]:
    rng = np.random.default_rng(seed)
    shape = (25, 20, 3)
    truth = np.zeros(shape, np.uint8)
    truth[5:9, 5:9, 1], truth[14:18, 10:15, 1:] = 2, 5
    raw = rng.dirichlet([8, 1, 1, 1, 1, 1], shape)
    np.put_along_axis(raw, truth[..., None].astype(int), 1.5 * rng.random((*shape, 1)), axis=-1)
    raw /= raw.sum(axis=-1, keepdims=True)
    likely = np.rint(raw[..., 1:] * 255).astype(np.uint8)
    labels = {f"rater{k}": np.where(rng.random(shape) < 0.9, truth, 0) for k in raters}
    names = {"case": case, "patient": case[:2], "candidate": "m"}
    rows = calibration_rows(likely, labels, AFFINE, names)
    return pd.DataFrame(rows, columns=list(COLUMNS)), likely, labels


def plain_ece(levels: np.ndarray, positive: np.ndarray) -> float:
    error, confidence = 0.0, levels / 255
    for low in np.arange(N_BINS) / N_BINS:
        high = low + 1 / N_BINS
        last = np.isclose(high, 1)
        inside = (confidence >= low - 1e-9) & ((confidence < high - 1e-9) | last)
        if inside.any():
            gap = abs(positive[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    return error


def test_errors_agree_with_plain_loops():
    table, likely, labels = a_case(1, "p1_a")
    drawn = np.any([volume > 0 for volume in labels.values()], axis=0)
    region = brute_region(drawn, AFFINE)
    inside = likely[region].astype(int)
    whole = np.minimum(inside.sum(axis=1), 255)
    six = np.column_stack([255 - whole, inside])
    for rater, volume in labels.items():
        truth = volume[region]
        expected = {c.key: plain_ece(inside[:, c.label - 1], truth == c.label) for c in FOREGROUND}
        expected[ANY] = plain_ece(whole, truth > 0)
        expected[LABEL] = plain_ece(six.max(axis=1), six.argmax(axis=1) == truth)
        for key in CLASSES:
            bins = table[(table["reference"] == rater) & (table["class"] == key)]
            assert error_of(bins) == pytest.approx(expected[key])
            assert bins["n"].sum() == region.sum()


def test_summary_means_over_raters_then_cases():
    tables = [a_case(1, "p1_a")[0], a_case(2, "p2_a", (1, 2, 4))[0], a_case(3, "p3_a", (3,))[0]]
    table = pd.concat(tables, ignore_index=True)
    summary = calibration_summary(table)
    assert (summary["n_bins"], summary["region_mm"]) == (N_BINS, REGION_MM)
    for key in CLASSES:
        per_case = []
        for part in tables:
            rows = part[part["class"] == key]
            per_case.append(np.mean([error_of(b) for _, b in rows.groupby("reference")]))
        found = summary["classes"][key]
        assert found["ece"] == pytest.approx(np.mean(per_case))
        assert found["n_cases"] == 3
        assert found["interval"][0] <= found["ece"] <= found["interval"][1]
        regions = [part.groupby(["reference", "class"])["n"].sum().iloc[0] for part in tables]
        assert sum(b["n"] for b in found["bins"]) == pytest.approx(sum(regions))
        gaps = [b["n"] * abs(b["frequency"] - b["probability"]) for b in found["bins"]]
        assert found["ece_pooled"] == pytest.approx(sum(gaps) / sum(regions))


def test_probabilities_that_come_true_have_no_error():
    rng = np.random.default_rng(0)
    likely = np.zeros((80, 80, 8, 5), np.uint8)
    likely[..., 1] = rng.choice([51, 102, 204], likely.shape[:3])
    rater = 2 * (rng.random(likely.shape[:3]) < likely[..., 1] / 255)
    names = {"case": "c", "patient": "p", "candidate": "m"}
    rows = calibration_rows(likely, {"rater1": rater.astype(np.uint8)}, AFFINE, names)
    summary = calibration_summary(pd.DataFrame(rows, columns=list(COLUMNS)))
    assert summary["classes"]["IPH"]["ece"] < 0.01
    assert [b["probability"] for b in summary["classes"]["IPH"]["bins"]] == pytest.approx(
        [0.2, 0.4, 0.8]
    )


def test_a_case_without_a_drawing_has_no_region():
    empty = {"rater1": np.zeros((6, 6, 2), np.uint8)}
    names = {"case": "c", "patient": "p", "candidate": "m"}
    assert calibration_rows(np.zeros((6, 6, 2, 5), np.uint8), empty, AFFINE, names) == []
    assert calibration_summary(pd.DataFrame(columns=list(COLUMNS))) is None
