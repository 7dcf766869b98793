"""Raters who disagree as people do: about edges, about small bleeds, and about names.

Rater k of a set keeps one style over all its scans. What a rater makes of one bleed of one scan
is drawn once; the edge then wanders smoothly through the volume.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.phantom.fields import Field, Points, Waves
from mbhseg.phantom.hemorrhages import EDH, IPH, SAH, SDH, Bleed
from mbhseg.phantom.spec import PhantomSpec, rng_for

# Share of scans that raters 1, 2 and 4 drew; rater 3 drew all of the set of 192.
_SHARES = {1: 120 / 192, 2: 115 / 192, 4: 44 / 192}
_CONFUSED_WITH = {EDH: SDH, SDH: EDH, SAH: IPH, IPH: SAH}
_CONFUSION = {EDH: 0.13, SDH: 0.08, SAH: 0.05, IPH: 0.03}
# Wander of the edge in mm, one standard deviation. ASSUME: lenses and clots have clear edges,
# films of blood do not
_WANDER = {1: 1.6, 2: 1.2, 3: 1.0, 4: 1.1, 5: 1.2}
_REACH = 6.0  # mm from a bleed beyond which no rater draws


class Reading(NamedTuple):
    """What one rater makes of one bleed: `label` 0 if overlooked; `margin` mm drawn beyond it."""

    label: int
    margin: float
    wander: float
    edge: Waves
    patches: Waves
    gap: float


def raters_of(spec: PhantomSpec, index: int) -> tuple[int, ...]:
    """The raters who drew scan `index`: mostly two or three of 1..4, now and then a fifth."""
    rng = rng_for(spec, "raters", index)
    if rng.random() < 0.04:
        return (1, 5)
    drew = {3} | {rater for rater, share in _SHARES.items() if rng.random() < share}
    return tuple(sorted(drew))


def readings(spec: PhantomSpec, index: int, rater: int, bleeds: Sequence[Bleed]) -> list[Reading]:
    """One reading for each bleed, in their order."""
    style = rng_for(spec, "style", rater)
    bias, care = float(style.normal(0, 0.35)), float(style.uniform(0.8, 1.2))
    rng = rng_for(spec, "reading", index, rater)
    found = []
    for bleed in bleeds:
        label = bleed.label
        missed, confused = rng.random(2)
        if confused < _CONFUSION.get(label, 0.0) * care:
            label = _CONFUSED_WITH[label]
        if missed < care * 0.5 * np.exp(-bleed.ml / 2.5):
            label = 0
        found.append(
            Reading(
                label,
                bias + float(rng.normal(0, 0.3)),
                _WANDER[bleed.label] * care,
                Waves(rng, 26, 6),
                Waves(rng, 30, 6),
                float(rng.uniform(0.8, 1.6)) if bleed.label == SAH else 9.0,
            )
        )
    return found


def draw(
    read: Sequence[Reading], distances: Sequence[Field], p: Points, out: NDArray[np.uint8]
) -> None:
    """Draw one rater's labels of a plane into `out`; where bleeds meet, the deeper-lying wins."""
    deepest = np.zeros(out.shape, np.float32)
    for reading, distance in zip(read, distances, strict=True):
        near = distance < _REACH
        if reading.label == 0 or not near.any():
            continue
        there = Points(p.x[near], p.y[near], p.z[near])
        level = distance[near] - reading.margin + reading.wander * reading.edge(there)
        level[reading.patches(there) > reading.gap] = np.inf
        better = level < deepest[near]
        spot = tuple(axis[better] for axis in np.nonzero(near))
        out[spot] = reading.label
        deepest[spot] = level[better]
