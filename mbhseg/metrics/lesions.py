"""Lesion-wise scores: connected components that are found, missed or false."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from mbhseg.classes import ANY, FOREGROUND, Labels
from mbhseg.metrics.crops import Box, bounding_box

IOU_THRESHOLD = 0.1
STRATA = ("lt1ml", "1to10ml", "gt10ml")
RULES = ("any", "iou")
COLUMNS = (
    "lesions_reference",
    "lesions_candidate",
    *(f"lesions_reference_{stratum}" for stratum in STRATA),
    *(f"lesion{what}_{rule}" for rule in RULES for what in ("s_found", "s_false", "_f1")),
    *(f"lesions_found_{rule}_{stratum}" for rule in RULES for stratum in STRATA),
    *(f"lesions_false_{rule}_{stratum}" for rule in RULES for stratum in STRATA),
)


class Lesions(NamedTuple):
    """The 26-connected components of one mask, numbered from 1.

    `labels` int32: the component of each voxel within `box`, a part of the volume, 0 for none;
    `voxels` int64 [n]: the sizes of the components.
    """

    labels: NDArray[np.int32]
    box: Box
    voxels: NDArray[np.int64]

    def part(self, box: Box) -> NDArray[np.int32]:
        """`labels` of a part of the volume that must lie within the own box."""
        pairs = zip(self.box, box, strict=True)
        return self.labels[tuple(slice(b.start - a.start, b.stop - a.start) for a, b in pairs)]


class Matches(NamedTuple):
    """Which lesions of the reference are found [n], and which of the candidate are true [m]."""

    found: NDArray[np.bool_]
    true: NDArray[np.bool_]


def lesions_of(mask: NDArray[np.bool_]) -> Lesions:
    """Components of a mask [x, y, z]; voxels that touch at a corner are connected."""
    box = bounding_box(mask)
    labels, count = ndimage.label(mask[box], structure=np.ones((3, 3, 3)))
    voxels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return Lesions(labels.astype(np.int32, copy=False), box, voxels)


def lesions_by_class(labels: Labels) -> dict[str, Lesions]:
    """Components of EDH..SDH and of any hemorrhage in a label volume [x, y, z]."""
    bleed = bounding_box(labels)
    crop = np.ascontiguousarray(labels[bleed])
    masks = {c.key: crop == c.label for c in FOREGROUND} | {ANY: crop != 0}
    inside = {key: lesions_of(mask) for key, mask in masks.items()}
    return {key: each._replace(box=_moved(each.box, bleed)) for key, each in inside.items()}


def _moved(box: Box, by: Box) -> Box:
    x, y, z = (slice(a.start + b.start, a.stop + b.start) for a, b in zip(box, by, strict=True))
    return x, y, z


def overlaps(
    reference: Lesions, candidate: Lesions
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of components that share voxels: indices from 0 into both, and the shared voxels."""
    x, y, z = (
        slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
        for a, b in zip(reference.box, candidate.box, strict=True)
    )
    if 0 in (x.stop - x.start, y.stop - y.start, z.stop - z.start):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second = reference.part((x, y, z)), candidate.part((x, y, z))
    both = (first > 0) & (second > 0)
    width = len(candidate.voxels) + 1
    keys, shared = np.unique(
        first[both].astype(np.int64) * width + second[both], return_counts=True
    )
    return keys // width - 1, keys % width - 1, shared


def match_any(reference: Lesions, candidate: Lesions) -> Matches:
    """Lesions that share at least one voxel with the other side; one may match several."""
    first, second, _ = overlaps(reference, candidate)
    return _matches(reference, candidate, first, second)


def match_iou(reference: Lesions, candidate: Lesions, threshold: float = IOU_THRESHOLD) -> Matches:
    """Lesions matched one to one with an IoU of at least `threshold`.

    The matching has the most pairs possible, and among those the largest sum of IoU.
    """
    first, second, shared = overlaps(reference, candidate)
    iou = shared / (reference.voxels[first] + candidate.voxels[second] - shared)
    close = iou >= threshold
    rows, i = np.unique(first[close], return_inverse=True)
    columns, j = np.unique(second[close], return_inverse=True)
    gain = np.zeros((len(rows), len(columns)))
    gain[i, j] = 1 + iou[close] / (len(rows) + 1)  # one more pair outweighs all IoU
    row, column = linear_sum_assignment(gain, maximize=True)
    paired = gain[row, column] > 0
    return _matches(reference, candidate, rows[row[paired]], columns[column[paired]])


def _matches(
    reference: Lesions, candidate: Lesions, first: NDArray[np.int64], second: NDArray[np.int64]
) -> Matches:
    matches = Matches(np.zeros(len(reference.voxels), bool), np.zeros(len(candidate.voxels), bool))
    matches.found[first], matches.true[second] = True, True
    return matches


def stratum_of(ml: NDArray[Any]) -> NDArray[np.int64]:
    """Index into `STRATA` of lesion volumes in ml: below 1, 1 to 10, above 10."""
    return (ml >= 1).astype(np.int64) + (ml > 10)


def lesion_scores(reference: Lesions, candidate: Lesions, voxel_ml: float) -> dict[str, Any]:
    """Counts and F1 of one class in one case: `COLUMNS`.

    A reference lesion is found, and a candidate lesion is true, under the rule `any` if it
    shares a voxel with the other side, under `iou` if it has its own partner (`match_iou`).
    Missed are lesions_reference - lesions_found. F1 is 2 found / (2 found + missed + false): NaN
    if both sides have no lesion, 0 if one has none. The stratum is that of the lesion's own
    volume: of the reference lesion for reference and found, of the candidate lesion for false.
    """
    reference_strata = stratum_of(reference.voxels * voxel_ml)
    candidate_strata = stratum_of(candidate.voxels * voxel_ml)
    scores: dict[str, Any] = {
        "lesions_reference": len(reference.voxels),
        "lesions_candidate": len(candidate.voxels),
        **_by_stratum("lesions_reference", reference_strata),
    }
    for rule, match in zip(RULES, (match_any, match_iou), strict=True):
        found, true = match(reference, candidate)
        n_found, n_false = int(found.sum()), int((~true).sum())
        total = n_found + len(reference.voxels) + n_false  # 2 found + missed + false
        scores[f"lesions_found_{rule}"] = n_found
        scores[f"lesions_false_{rule}"] = n_false
        scores[f"lesion_f1_{rule}"] = 2 * n_found / total if total else float("nan")
        scores |= _by_stratum(f"lesions_found_{rule}", reference_strata[found])
        scores |= _by_stratum(f"lesions_false_{rule}", candidate_strata[~true])
    return {column: scores[column] for column in COLUMNS}


def _by_stratum(name: str, strata: NDArray[np.int64]) -> dict[str, int]:
    counts = np.bincount(strata, minlength=len(STRATA))
    return {f"{name}_{stratum}": int(n) for stratum, n in zip(STRATA, counts, strict=True)}
