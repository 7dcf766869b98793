"""Several raters' labels of one scan made into one: votes, STAPLE, set rules, soft targets.

All methods decide a voxel from its vote alone (and, for STAPLE, from how often each vote
occurs), so the work is done once for each distinct vote, found among the voxels that any rater
drew; the background voxels, nearly all of a scan, are only counted.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.errors import InputError

METHODS = ("majority", "union", "intersection", "staple", "rater", "soft")
TIES = ("background", "foreground", "lowest")
N_LABELS = len(CLASSES)
_BLOCK = 2**18  # voxels

Labels = NDArray[np.uint8]


class Consensus(NamedTuple):
    """How the raters' labels become one: the settings of `consensus`, as the config names them."""

    method: str = "majority"
    ties: str = "background"
    rater: int | None = None


class Votes(NamedTuple):
    """The raters' votes on the voxels that at least one of them drew.

    Attributes:
        shape: of the volume.
        voxels: int64 [n], flat positions of those voxels, ascending, first axis fastest.
        patterns: uint8 [p, r], the distinct votes, one column a rater.
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
        """The number of voxels that no rater drew."""
        return int(np.prod(self.shape, dtype=np.int64)) - len(self.voxels)

    def counts(self) -> NDArray[np.int64]:
        """Votes for each label, [p, 6]; every row sums to the number of raters."""
        return (self.patterns[:, :, None] == np.arange(N_LABELS)).sum(axis=1)

    def volume(self, decided: Labels) -> Labels:
        """A label volume from one label a pattern (uint8 [p]); background elsewhere."""
        labels = np.zeros(self.shape, np.uint8, order="F")
        labels.reshape(-1, order="F")[self.voxels] = decided[self.which]
        return labels


class VoteFractions(NamedTuple):
    """Soft targets, sparse: the share of raters for each label, as exact counts.

    `counts` uint8 [n, 6] holds the votes on the voxels `voxels` (as in `Votes`), `raters` their
    number; every other voxel is background for all raters.
    """

    shape: tuple[int, ...]
    voxels: NDArray[np.int64]
    counts: NDArray[np.uint8]
    raters: int

    def plane(self, k: int) -> NDArray[np.uint8]:
        """Vote counts [x, y, 6] of the plane k; they sum to `raters` in every voxel."""
        area = self.shape[0] * self.shape[1]
        first, last = np.searchsorted(self.voxels, (k * area, (k + 1) * area))
        plane = np.zeros((area, N_LABELS), np.uint8)
        plane[:, 0] = self.raters
        plane[self.voxels[first:last] - k * area] = self.counts[first:last]
        return plane.reshape(*self.shape[:2], N_LABELS, order="F")


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
            `union`: where any rater drew, the most voted bleed, the lowest label at a tie;
            `intersection`: the label that all raters agree on, background elsewhere;
            `staple`: see `staple`;
            `rater`: the labels of `rater`;
            `soft`: the largest vote fraction, the lowest label at a tie (the hard counterpart
            of `vote_fractions`).
        ties: for `majority`: `background`; `foreground`: the most voted bleed, the lowest label
            among equals; `lowest`: the lowest of the tied labels, background being 0.
        rater: for `rater`.
        where: the case, for messages.

    Returns:
        uint8 labels of the same shape, first axis fastest in memory. Volumes without a bleed
        give a volume without a bleed.

    Raises:
        InputError: no rater at all, the shapes differ, or `rater` did not draw this case.
        ValueError: unknown `method` or `ties`.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, not one of {', '.join(METHODS)}")
    if ties not in TIES:
        raise ValueError(f"ties is {ties!r}, not one of {', '.join(TIES)}")
    if method == "rater":
        return single_rater(labels, rater, where)
    return decide(count_votes(labels, where), method, ties)


def single_rater(labels: Mapping[int, Labels], rater: int | None, where: str) -> Labels:
    """The labels of one rater; InputError if this rater did not draw the case."""
    if rater is None or rater not in labels:
        drew = ", ".join(str(k) for k in sorted(labels)) or "none"
        raise InputError(
            where,
            f"rater {rater} did not draw this case (raters: {drew})",
            "Choose another consensus method, or exclude the case",
        )
    return labels[rater]


def count_votes(labels: Mapping[int, Labels], where: str = "consensus") -> Votes:
    """Gather the votes on every voxel that a rater drew; columns in the order of the raters.

    Raises InputError if there is no rater or the shapes differ.
    """
    if not labels:
        raise InputError(where, "no rater drew this case", "Exclude it (qc.on_error: exclude)")
    raters = sorted(labels)
    shape = labels[raters[0]].shape
    for k in raters:
        if labels[k].shape != shape:
            raise InputError(
                where,
                f"labels of rater {k} are {labels[k].shape}, of rater {raters[0]} {shape}",
                "Exclude it (qc.on_error: exclude)",
            )
    flat = [labels[k].reshape(-1, order="F") for k in raters]
    voxels = _drawn_by_any(flat)
    patterns, which = _distinct([votes[voxels] for votes in flat])
    return Votes(shape, voxels, patterns, which, np.bincount(which, minlength=len(patterns)))


def _drawn_by_any(flat: list[Labels]) -> NDArray[np.int64]:
    """Positions where any of the flat volumes is not 0, ascending."""
    found = [np.zeros(0, np.int64)]
    for start in range(0, len(flat[0]), _BLOCK):  # blocks stay in the processor's cache
        drawn = flat[0][start : start + _BLOCK]
        for votes in flat[1:]:
            drawn = drawn | votes[start : start + _BLOCK]
        found.append(np.flatnonzero(drawn != 0) + start)
    return np.concatenate(found)


def _distinct(columns: list[Labels]) -> tuple[Labels, NDArray[np.intp]]:
    """The distinct rows of a table [n, r] given by columns, and the row that each of n has.

    Column by column and by counting: linear in n, where a sort would not be.
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


def decide(votes: Votes, method: str, ties: str = "background") -> Labels:
    """Apply a voting method of `consensus` (all but `rater`) to gathered votes."""
    if method == "staple":
        return votes.volume(staple(votes))
    counts = votes.counts()
    bleed = (counts[:, 1:].argmax(axis=1) + 1).astype(np.uint8)  # argmax: the first, the lowest
    if method == "union":
        return votes.volume(bleed)
    if method == "intersection":
        agreed = counts.max(axis=1) == votes.patterns.shape[1]
        return votes.volume(np.where(agreed, bleed, 0).astype(np.uint8))
    winner = counts.argmax(axis=1).astype(np.uint8)
    if method == "soft" or ties == "lowest":
        return votes.volume(winner)
    tied = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) > 1
    at_ties = bleed if ties == "foreground" else np.zeros_like(bleed)
    return votes.volume(np.where(tied, at_ties, winner))


def staple(votes: Votes, tolerance: float = 1e-5, max_iterations: int = 10_000) -> Labels:
    """Multi-label STAPLE: expectation maximisation of each rater's confusion matrix.

    Warfield, Zou and Wells (IEEE TMI 2004) in the multi-label form of Rohlfing, Russakoff and
    Maurer (IPMI 2003), over the whole volume, background included, as ITK's
    MultiLabelSTAPLEImageFilter does it: the prior of a label is its share among all raters'
    voxels, the matrices start from the majority vote, and the iteration stops when no entry
    moves by `tolerance`. A tied vote says nothing at the start (ITK 5 counts it in a cell
    where it does not belong). Voxels with equal votes have equal posteriors, so one step costs
    distinct votes x raters x labels.

    Returns one label a pattern, uint8 [p]; equally probable labels give background.
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


def vote_fractions(labels: Mapping[int, Labels], where: str = "consensus") -> VoteFractions:
    """Exact vote counts of every voxel that a rater drew; raises as `count_votes`."""
    return fractions_of(count_votes(labels, where))


def fractions_of(votes: Votes) -> VoteFractions:
    """Soft targets from gathered votes."""
    counts = votes.counts().astype(np.uint8)
    return VoteFractions(votes.shape, votes.voxels, counts[votes.which], votes.patterns.shape[1])
