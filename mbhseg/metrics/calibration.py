"""Calibration: whether a probability of .7 is right in 7 of 10 voxels. ECE and reliability bins.

Most voxels of a scan are easy background, which would hide errors, so only voxels in and near
hemorrhage count: those within 10 mm, in their slice, of a voxel that any rater labelled. This
region does not depend on the model, so that models can be compared. Probabilities are bytes, 0..255
for 0..1.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from mbhseg.classes import ANY, FOREGROUND, Labels
from mbhseg.metrics.bootstrap import Resampling
from mbhseg.metrics.crops import bounding_box
from mbhseg.metrics.overlap import SCORED_CLASSES, ScoreRow

N_BINS = 15
REGION_MM = 10.0
LABEL = "label"  # as a class of its own: the likeliest label, background included
CLASSES = (*SCORED_CLASSES, LABEL)
COLUMNS: dict[str, str] = {
    **dict.fromkeys(("case", "patient", "candidate", "reference", "class"), "str"),
    **dict.fromkeys(("bin", "n"), "int64"),
    "probability_sum": "float64",
    "positives": "int64",
}
LEVELS = 256  # of probabilities as bytes


def bin_of(probabilities: NDArray[Any], one: int) -> NDArray[np.int64]:
    """The bin 0..14 of probabilities from 0 to `one`: equal widths, `one` itself in the last.

    `one` is 1 for floats and 255 for bytes, which must be int64 so that they do not overflow.
    """
    bins = np.minimum(probabilities * N_BINS // one, N_BINS - 1)
    return np.asarray(bins, np.int64)


def calibration_error(gaps: ArrayLike, n: float) -> float:
    """Expected calibration error of n voxels: the sum over bins of |gap|, over n.

    The gap of a bin is its positives minus the sum of its probabilities, so that bins weigh by
    their voxels (Naeini et al., AAAI 2015). NaN without voxels.
    """
    return float(np.abs(gaps).sum() / n) if n else float("nan")


def region_of(drawn: NDArray[np.bool_], affine: NDArray[Any]) -> NDArray[np.int64]:
    """Flat positions, ascending, x fastest, of voxels within `REGION_MM` of a labelled one.

    `drawn` [x, y, z] is True where a voxel is labelled. Only voxels of the same slice count;
    distances are between voxel centres, by the lengths of the affine's first two axes in mm. No
    labelled voxel gives none.
    """
    spacing = np.linalg.norm(np.asarray(affine, np.float64)[:3, :2], axis=0)
    x, y, z = bounding_box(drawn)
    margins = (REGION_MM // spacing).astype(int)
    x, y = (
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, margin, size in zip((x, y), margins, drawn.shape, strict=False)
    )
    positions = [np.zeros(0, np.int64)]
    for plane in range(z.start, z.stop):
        part = drawn[x, y, plane]
        if part.any():
            near = ndimage.distance_transform_edt(~part, sampling=spacing) <= REGION_MM
            columns, rows = np.nonzero(near.T)
            start = plane * drawn.shape[0] * drawn.shape[1]
            positions.append(start + (columns + y.start) * drawn.shape[0] + rows + x.start)
    return np.concatenate(positions)


def calibration_rows(
    probabilities: NDArray[np.uint8],
    raters: Mapping[str, Labels],
    affine: NDArray[Any],
    names: Mapping[str, str],
) -> list[ScoreRow]:
    """The bins of one case, `COLUMNS`; bins without a voxel are left out.

    `probabilities` uint8 [x, y, z, 5] of EDH..SDH, 255 for 1; `raters` labels uint8 [x, y, z] by
    name; `names` the case, patient and candidate. For each rater and class of `CLASSES`: the
    number of voxels of the region whose probability is in the bin, the sum of their probabilities,
    and how many of them this rater gave the class. Without any labelled voxel there are no rows.
    """
    drawn = np.zeros(probabilities.shape[:3], bool, order="F")
    for labels in raters.values():
        drawn |= labels != 0
    region = region_of(drawn, affine)
    if not region.size:
        return []
    levels = _class_levels(probabilities, region)
    likeliest = np.stack([LEVELS - 1 - levels[ANY], *(levels[c.key] for c in FOREGROUND)])
    chosen = likeliest.argmax(axis=0)
    levels[LABEL] = likeliest.max(axis=0)
    rows: list[ScoreRow] = []
    for rater, volume in raters.items():
        labels = volume.ravel(order="F")[region]
        positives = {c.key: labels == c.label for c in FOREGROUND}
        positives |= {ANY: labels != 0, LABEL: labels == chosen}
        for key in CLASSES:
            names_here = {**names, "reference": rater, "class": key}
            rows += [{**names_here, **row} for row in _bins(levels[key], positives[key])]
    return rows


def _class_levels(
    probabilities: NDArray[np.uint8], region: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    levels = {
        c.key: probabilities[..., n].ravel(order="F")[region].astype(np.int64)
        for n, c in enumerate(FOREGROUND)
    }
    levels[ANY] = np.minimum(np.sum(list(levels.values()), axis=0), LEVELS - 1)
    return levels


def _bins(levels: NDArray[np.int64], positive: NDArray[np.bool_]) -> Iterator[ScoreRow]:
    counts = np.bincount(2 * levels + positive, minlength=2 * LEVELS).reshape(LEVELS, 2)
    place = bin_of(np.arange(LEVELS), LEVELS - 1)
    for index in range(N_BINS):
        part = counts[place == index]
        if part.any():
            level_sum = int(np.flatnonzero(place == index) @ part.sum(axis=1))
            yield {
                "bin": index,
                "n": int(part.sum()),
                "probability_sum": level_sum / (LEVELS - 1),
                "positives": int(part[:, 1].sum()),
            }


def calibration_summary(table: pd.DataFrame) -> dict[str, Any] | None:
    """ECE and reliability of each class from the bins of all cases; None without bins.

    `ece` is computed per case and rater, then averaged over the case's raters, then over cases;
    its interval resamples patients. `bins` pool all cases, with a case's voxels counted once
    whatever the number of its raters, and `ece_pooled` is their error.
    """
    if table.empty:
        return None
    raters = table.groupby("case")["reference"].transform("nunique")
    shared = table.assign(
        **{name: table[name] / raters for name in ("n", "probability_sum", "positives")}
    )
    classes = {
        key: _class_summary(table[table["class"] == key], shared[shared["class"] == key])
        for key in CLASSES
    }
    return {"region_mm": REGION_MM, "n_bins": N_BINS, "classes": classes}


def _class_summary(rows: pd.DataFrame, shared: pd.DataFrame) -> dict[str, Any]:
    gaps = (rows["positives"] - rows["probability_sum"]).abs()
    sums = rows.assign(gap=gaps).groupby(["case", "reference"], sort=True)[["gap", "n"]].sum()
    # `calibration_error` of every case and rater at once
    by_case = (sums["gap"] / sums["n"]).groupby("case", sort=True).mean()
    patient = dict(zip(rows["case"], rows["patient"], strict=True))
    patients = np.array([patient[case] for case in by_case.index], np.str_)
    interval = Resampling(patients).mean_intervals(by_case.to_numpy(np.float64)[:, None])[0]
    pooled = shared.groupby("bin", sort=True)[["n", "probability_sum", "positives"]].sum()
    pooled_gaps = pooled["positives"] - pooled["probability_sum"]
    return {
        "n_cases": interval.n_cases,
        "ece": interval.estimate,
        "interval": [interval.low, interval.high],
        "ece_pooled": calibration_error(pooled_gaps, pooled["n"].sum()),
        "bins": [
            {
                "low": index / N_BINS,
                "high": (index + 1) / N_BINS,
                "n": float(n),
                "probability": float(total / n),
                "frequency": float(positives / n),
            }
            for index, n, total, positives in pooled.itertuples()
        ],
    }
