"""Raters who disagree as people do: about edges, about small bleeds, and about classes.

Rater k of a set keeps one style over all its scans. How a rater reads one bleed of one scan is
sampled once; the edge then wanders smoothly through the volume.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.phantom.fields import Field, Points, Waves
from mbhseg.phantom.hemorrhages import EDH, IPH, IVH, SAH, SDH, Bleed
from mbhseg.phantom.spec import PhantomSpec, rng_for

# Who annotated a scan, and how often: about as in the training set's 192 scans, where rater 3
# annotated every scan, 1 and 2 most, 4 a quarter
_TEAMS = {
    (1, 2, 3): 0.41,
    (1, 3): 0.13,
    (2, 3): 0.11,
    (3,): 0.10,
    (1, 2, 3, 4): 0.07,
    (1, 3, 4): 0.05,
    (2, 3, 4): 0.05,
    (3, 4): 0.05,
    (1, 5): 0.03,
}
# How often a rater labels a bleed as the class it may be mistaken for
_CONFUSION = {EDH: 0.07, IPH: 0.03, IVH: 0.0, SAH: 0.04, SDH: 0.02}
# Wander of the edge in mm, one standard deviation, and the factor on a rater's bias: thick clots
# are outlined roughly, films of blood are followed closely
_WANDER = {EDH: 1.3, IPH: 1.0, IVH: 0.8, SAH: 0.5, SDH: 0.75}
_FREEDOM = {EDH: 1.3, IPH: 1.2, IVH: 0.8, SAH: 0.5, SDH: 0.8}
_REACH = 6.0  # mm from a bleed beyond which no rater annotates


class Reading(NamedTuple):
    """How one rater reads one bleed: `label` 0 if overlooked; `margin` mm annotated beyond it."""

    label: int
    margin: float
    wander: float
    edge: Waves
    patches: Waves
    gap: float


def raters_of(spec: PhantomSpec, index: int) -> tuple[int, ...]:
    """The raters of scan `index`: mostly two or three of 1..4, now and then a fifth."""
    which = rng_for(spec, "raters", index).choice(len(_TEAMS), p=list(_TEAMS.values()))
    return list(_TEAMS)[int(which)]


def readings(spec: PhantomSpec, index: int, rater: int, bleeds: Sequence[Bleed]) -> list[Reading]:
    """One reading for each bleed, in their order."""
    style = rng_for(spec, "style", rater)
    bias, care = float(style.normal(0, 0.25)), float(style.uniform(0.8, 1.2))
    rng = rng_for(spec, "reading", index, rater)
    found = []
    for bleed in bleeds:
        label = bleed.label
        missed, confused = rng.random(2)
        if bleed.mistaken_for is not None and confused < _CONFUSION[label] * care:
            label = bleed.mistaken_for
        if missed < care * 0.5 * np.exp(-bleed.ml / 2.5):
            label = 0
        found.append(
            Reading(
                label,
                (bias + float(rng.normal(0, 0.22))) * _FREEDOM[bleed.label],
                _WANDER[bleed.label] * care,
                Waves(rng, 26, 6),
                Waves(rng, 30, 6),
                float(rng.uniform(1.2, 2.4)) if bleed.label == SAH else 9.0,
            )
        )
    return found


def draw(read: Sequence[Reading], distances: Sequence[Field], p: Points) -> NDArray[np.uint8]:
    """One rater's labels uint8 [n] of n points; where bleeds meet, the deeper one wins."""
    labels, deepest = np.zeros(p.x.shape, np.uint8), np.zeros(p.x.shape, np.float32)
    for reading, distance in zip(read, distances, strict=True):
        (near,) = np.nonzero(distance < _REACH)
        if reading.label == 0 or not len(near):
            continue
        there = p.at(near)
        level = distance[near] - reading.margin + reading.wander * reading.edge(there)
        level[reading.patches(there) > reading.gap] = np.inf
        better = level < deepest[near]
        labels[near[better]] = reading.label
        deepest[near[better]] = level[better]
    return labels
