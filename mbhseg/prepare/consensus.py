"""Several raters' labels of one scan made into one: votes, STAPLE, set rules, soft targets.

All methods decide a voxel from its votes alone (and, for STAPLE, from how often each combination
of votes occurs), so the work is done once per distinct combination among the voxels that any rater
labelled; the others, nearly all of a scan, are only counted.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import N_LABELS, Labels
from mbhseg.errors import InputError
from mbhseg.imaging.drawn_planes import DrawnPlanes

METHODS = ("majority", "union", "intersection", "staple", "rater", "soft")
TIES = ("background", "foreground", "lowest")

T = TypeVar("T")


class Consensus(NamedTuple):
    """How the raters' labels become one: the settings of `consensus`, as the config names them."""

    method: str = "majority"
    ties: str = "background"
    rater: int | None = None


class Votes(NamedTuple):
    """The raters' votes on the voxels that at least one of them labelled.

    Attributes:
        shape: of the volume.
        voxels: int64 [n], flat positions of those voxels, ascending, first axis fastest.
        patterns: uint8 [p, r], the distinct combinations of votes, one column per rater.
        which: intp [n], the row of `patterns` that each voxel has.
        sizes: int64 [p], the number of voxels of each pattern.
    """

    shape: tuple[int, ...]
    voxels: NDArray[np.int64]
    patterns: Labels
    which: NDArray[np.intp]
    sizes: NDArray[np.int64]

    @property
    def background(self) -> int:
        """The number of voxels that no rater labelled."""
        return int(np.prod(self.shape, dtype=np.int64)) - len(self.voxels)

    def counts(self) -> NDArray[np.int64]:
        """Votes per label, [p, 6]; every row sums to the number of raters."""
        return (self.patterns[:, :, None] == np.arange(N_LABELS)).sum(axis=1)

    def by_plane(self) -> dict[int, slice]:
        """The part of `voxels` in each plane; planes without any are left out."""
        area = self.shape[0] * self.shape[1]
        ends = np.searchsorted(self.voxels, np.arange(self.shape[2] + 1) * area).tolist()
        return {z: slice(*ends[z : z + 2]) for z in range(self.shape[2]) if ends[z] < ends[z + 1]}

    def labels(self, decided: Labels) -> DrawnPlanes:
        """The volume of one label per pattern (uint8 [p]); background elsewhere."""
        rows, columns = self.shape[:2]
        values, planes = decided[self.which], {}
        for z, part in self.by_plane().items():
            plane = np.zeros(rows * columns, np.uint8)
            plane[self.voxels[part] - z * rows * columns] = values[part]
            planes[z] = plane.reshape(rows, columns, order="F")
        return DrawnPlanes(self.shape, planes)


def consensus(
    labels: Mapping[int, Labels],
    method: str,
    ties: str = "background",
    rater: int | None = None,
    where: str = "consensus",
) -> Labels:
    """One label volume from the raters'.

    Args:
        labels: rater -> uint8 labels 0..5, all of one shape.
        method: `majority`: the label with the most votes, background being a vote like any other;
            `union`: where any rater labelled hemorrhage, its class with the most votes, the lowest
            label at a tie;
            `intersection`: the label that all raters agree on, background elsewhere;
            `staple`: see `staple`;
            `rater`: the labels of `rater`;
            `soft`: the label with the most votes, the lowest at a tie (the hard counterpart of
            `plane_votes`).
        ties: for `majority`: `background`; `foreground`: the hemorrhage class with the most votes,
            the lowest label among equals; `lowest`: the lowest of the tied labels, background
            being 0.
        rater: for `rater`.
        where: the case, for messages.

    Returns:
        uint8 labels of the same shape, first axis fastest in memory. Volumes without hemorrhage
        give a volume without hemorrhage.

    Raises:
        InputError: no rater at all, the shapes differ, or `rater` did not annotate this case.
        ValueError: unknown `method` or `ties`.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, not one of {', '.join(METHODS)}")
    if ties not in TIES:
        raise ValueError(f"ties is {ties!r}, not one of {', '.join(TIES)}")
    if method == "rater":
        return single_rater(labels, rater, where)
    drawn = {k: DrawnPlanes.of(volume) for k, volume in labels.items()}
    return decide(count_votes(drawn, where), method, ties).volume()


def single_rater(labels: Mapping[int, T], rater: int | None, where: str) -> T:
    """The labels of one rater; InputError if this rater did not annotate the case."""
    if rater is None or rater not in labels:
        others = ", ".join(str(k) for k in sorted(labels)) or "none"
        raise InputError(
            where,
            f"rater {rater} did not annotate this case (raters: {others})",
            "Choose another consensus method, or exclude the case",
        )
    return labels[rater]


def count_votes(labels: Mapping[int, DrawnPlanes], where: str = "consensus") -> Votes:
    """Count the votes on every voxel that a rater labelled; columns in the order of the raters.

    Raises InputError if there is no rater or the shapes differ.
    """
    if not labels:
        raise InputError(where, "no rater annotated this case", "Exclude it (qc.on_error: exclude)")
    raters = sorted(labels)
    shape = labels[raters[0]].shape
    for k in raters:
        if labels[k].shape != shape:
            raise InputError(
                where,
                f"labels of rater {k} are {labels[k].shape}, of rater {raters[0]} {shape}",
                "Exclude it (qc.on_error: exclude)",
            )
    blank = np.zeros(shape[0] * shape[1], np.uint8)
    voxels = [np.zeros(0, np.int64)]
    columns = [[blank[:0]] for _ in raters]
    for z in sorted(set().union(*(labels[k].planes for k in raters))):
        planes = [labels[k].planes.get(z, blank).reshape(-1, order="F") for k in raters]
        drawn = np.flatnonzero(functools.reduce(np.bitwise_or, planes) != 0)
        voxels.append(drawn + z * blank.size)
        for column, plane in zip(columns, planes, strict=True):
            column.append(plane[drawn])
    patterns, which = _distinct([np.concatenate(column) for column in columns])
    sizes = np.bincount(which, minlength=len(patterns))
    return Votes(shape, np.concatenate(voxels), patterns, which, sizes)


def _distinct(columns: list[Labels]) -> tuple[Labels, NDArray[np.intp]]:
    """The distinct rows of a table [n, r] given by columns, and the index of each row's match.

    It counts column by column, which is linear in n; sorting would not be.
    """
    patterns = np.zeros((1, 0), np.uint8)
    which = np.zeros(len(columns[0]), np.intp)
    for column in columns:
        key = which * N_LABELS + column
        present = np.flatnonzero(np.bincount(key, minlength=len(patterns) * N_LABELS))
        rank = np.zeros(len(patterns) * N_LABELS, np.intp)
        rank[present] = np.arange(len(present))
        which = rank[key]
        last = (present % N_LABELS).astype(np.uint8)
        patterns = np.column_stack([patterns[present // N_LABELS], last])
    return patterns, which


def decide(votes: Votes, method: str, ties: str = "background") -> DrawnPlanes:
    """Apply a method of `consensus` (all but `rater`) to counted votes."""
    if method == "staple":
        return votes.labels(staple(votes))
    counts = votes.counts()
    bleed = (counts[:, 1:].argmax(axis=1) + 1).astype(np.uint8)  # argmax: the first, the lowest
    if method == "union":
        return votes.labels(bleed)
    if method == "intersection":
        agreed = counts.max(axis=1) == votes.patterns.shape[1]
        return votes.labels(np.where(agreed, bleed, 0).astype(np.uint8))
    winner = counts.argmax(axis=1).astype(np.uint8)
    if method == "soft" or ties == "lowest":
        return votes.labels(winner)
    tied = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) > 1
    at_ties = bleed if ties == "foreground" else np.zeros_like(bleed)
    return votes.labels(np.where(tied, at_ties, winner))


def staple(votes: Votes, tolerance: float = 1e-5, max_iterations: int = 10_000) -> Labels:
    """Multi-label STAPLE: expectation maximisation of each rater's confusion matrix.

    Warfield, Zou and Wells (IEEE TMI 2004) in the multi-label form of Rohlfing, Russakoff and
    Maurer (IPMI 2003), over the whole volume, background included, as ITK's
    MultiLabelSTAPLEImageFilter does it: the prior of a label is its share among all raters'
    voxels, the matrices start from the majority vote, and the iteration stops when no entry
    changes by `tolerance`. Tied voxels are left out of the start (ITK 5 counts them in a wrong
    cell). Voxels with equal votes have equal posteriors, so one step costs distinct patterns x
    raters x labels.

    Returns one label per pattern, uint8 [p]; equally probable labels give background.
    """
    background = np.zeros((1, votes.patterns.shape[1]), np.uint8)
    patterns = np.vstack([votes.patterns, background])
    sizes = np.append(votes.sizes, votes.background).astype(np.float64)[:, None]
    voted = (patterns[:, :, None] == np.arange(N_LABELS)).astype(np.float64)  # [p, r, v]
    prior = np.einsum("pt,prv->v", sizes, voted)
    prior /= prior.sum()
    counts = voted.sum(axis=1)
    majority = counts == counts.max(axis=1, keepdims=True)
    decided = majority.sum(axis=1, keepdims=True) == 1
    joint = _joint(voted, np.where(decided, majority, 0) * sizes)
    confusion = _share(joint, axis=2)  # P(true | vote), and from the first step on P(vote | true)
    for _ in range(max_iterations):
        updated = _share(_joint(voted, _posterior(voted, prior, confusion) * sizes), axis=1)
        moved = np.abs(updated - confusion).max()
        confusion = updated
        if moved < tolerance:
            break
    posterior = _posterior(voted, prior, confusion)[:-1]
    best = posterior.max(axis=1, keepdims=True, initial=0)
    equal = np.isclose(posterior, best, rtol=1e-9, atol=0).sum(axis=1) > 1
    return np.where(equal, 0, posterior.argmax(axis=1)).astype(np.uint8)


def _posterior(
    voted: NDArray[np.float64], prior: NDArray[np.float64], confusion: NDArray[np.float64]
) -> NDArray[np.float64]:
    """P(true label | votes) [p, t], from P(vote | true label) [r, v, t]."""
    weights = prior * np.einsum("prv,rvt->prt", voted, confusion).prod(axis=1)
    return _share(weights, axis=1)


def _joint(voted: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often each rater votes v where the label is t [r, v, t], from weights [p, t]."""
    return np.einsum("prv,pt->rvt", voted, weights)


def _share(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Values scaled to a sum of 1 along an axis; zeros stay zeros."""
    total = values.sum(axis=axis, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)


def plane_votes(votes: Votes) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Soft targets: z and vote counts [x, y, 6], background first, of each plane with any label.

    The counts of a voxel sum to the number of raters. In the planes that are left out, every rater
    voted for background.
    """
    rows, columns = votes.shape[:2]
    counts = votes.counts().astype(np.uint8)[votes.which]
    for z, part in votes.by_plane().items():
        plane = np.zeros((rows * columns, N_LABELS), np.uint8)
        plane[:, 0] = votes.patterns.shape[1]
        plane[votes.voxels[part] - z * rows * columns] = counts[part]
        yield z, plane.reshape(rows, columns, N_LABELS, order="F")
