"""A candidate against several raters as a group: generalised energy distance and soft Dice.

Both follow from the voxel counts of pairs, so no volume is read again.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from mbhseg.metrics.overlap import SCORED_CLASSES, ScoreRow

RATERS, RATERS_WITHOUT = "raters", "raters-without-"
COLUMNS: dict[str, str] = {
    **dict.fromkeys(("case", "patient", "candidate", "reference", "class"), "str"),
    "n_raters": "int64",
    **dict.fromkeys(("ged", "soft_dice"), "float64"),
}


class Counts(NamedTuple):
    """Voxels of one class in the reference, in the candidate, and in both."""

    reference: int
    candidate: int
    intersection: int

    @property
    def distance(self) -> float:
        """1 - IoU; two empty sides have an IoU of 1."""
        union = self.reference + self.candidate - self.intersection
        return 1 - self.intersection / union if union else 0.0


class Group(NamedTuple):
    """A candidate and the raters it is compared with, by their names in the tables."""

    candidate: str
    reference: str
    raters: Sequence[str]


def groups_of(candidates: Sequence[str], raters: Sequence[str]) -> list[Group]:
    """The groups of a case: who is compared with whom.

    Each candidate with all raters (`raters`) and, with two raters or more, with all but one
    (`raters-without-rater<k>`). The rater left out is compared with the same others: this is the
    level of a human reader for the candidate's score.
    """
    groups = [Group(candidate, RATERS, raters) for candidate in candidates]
    for left_out in raters if len(raters) > 1 else ():
        others = [rater for rater in raters if rater != left_out]
        groups += [
            Group(candidate, RATERS_WITHOUT + left_out, others)
            for candidate in (*candidates, left_out)
        ]
    return groups


def ged(to_raters: Sequence[Counts], among_raters: Sequence[Counts]) -> float:
    """Squared generalised energy distance of one candidate to the raters, for one class.

    2 E d(candidate, rater) - E d(rater, rater'), d = 1 - IoU (Kohl et al., NeurIPS 2018); the
    second mean is over all ordered pairs, including each rater with itself (distance 0).
    `among_raters` holds the ordered pairs of two different raters.
    """
    between = float(np.mean([counts.distance for counts in to_raters]))
    within = sum(counts.distance for counts in among_raters) / len(to_raters) ** 2
    return 2 * between - within


def soft_dice(to_raters: Sequence[Counts]) -> float:
    """Dice of a mask and the share of raters who chose the class; NaN if all are empty.

    2 sum min(p, f) / sum (p + f) over voxels; for a binary mask p it follows from mean counts.
    """
    reference, candidate, intersection = np.mean(to_raters, axis=0)
    total = reference + candidate
    return float(2 * intersection / total) if total else float("nan")


def group_rows(rows: Iterable[ScoreRow], groups: Iterable[Group]) -> list[ScoreRow]:
    """Rows of `COLUMNS` for one case, six per group, from the rows of all its pairs.

    `rows` hold each candidate against each rater of its group, and every pair of these raters in
    both orders. Raises KeyError if one is missing.
    """
    counts: dict[tuple[str, str, str], Counts] = {}
    names: Mapping[str, str] = {}
    for row in rows:
        names = {"case": row["case"], "patient": row["patient"]}
        counts[row["candidate"], row["reference"], row["class"]] = Counts(
            row["reference_voxels"], row["candidate_voxels"], row["intersection"]
        )
    scored: list[ScoreRow] = []
    for group, key in product(groups, SCORED_CLASSES):
        to_raters = [counts[group.candidate, rater, key] for rater in group.raters]
        among = [counts[a, b, key] for a in group.raters for b in group.raters if a != b]
        scored.append(
            {
                **names,
                "candidate": group.candidate,
                "reference": group.reference,
                "class": key,
                "n_raters": len(group.raters),
                "ged": ged(to_raters, among),
                "soft_dice": soft_dice(to_raters),
            }
        )
    return scored
