"""What emergency CT shows besides fresh bleeds in intact heads; a training for real CT needs it.

Old and layered subdurals, faint and rough bleeds, fluid where brain was lost, wide ventricles,
opened skulls and drains. How often each occurs is an assumption, not a statistic.
"""

from collections.abc import Sequence

import numpy as np

from mbhseg.phantom.anatomy import Defect, Drain, Head, Opening
from mbhseg.phantom.fields import Vector, Waves
from mbhseg.phantom.hemorrhages import Bleed, Subdural
from mbhseg.phantom.scenarios import mass_effect


def vary(rng: np.random.Generator, head: Head, found: list[Bleed]) -> None:
    """Change a head and its bleeds, in place."""
    if rng.random() < 0.35:
        head.ventricle_size += float(rng.uniform(0.1, 0.9))
    if rng.random() < 0.3:
        head.defect = _defect(rng)
    if rng.random() < 0.25:
        head.opening = _opening(rng)
    if rng.random() < 0.15:
        head.drain = _drain(rng)
    for bleed in found:
        bleed.vary(rng)
    old = [bleed.side for bleed in found if isinstance(bleed, Subdural) and bleed.old]
    if old and rng.random() < 0.3:  # ASSUME: so many old subdurals lie on both sides
        other = Subdural(rng, -old[0], 1.0)
        other.age(rng)
        found.append(other)
    mass_effect(found, head)


def _defect(rng: np.random.Generator) -> Defect:
    """A hollow in the cortex, or next to it, of either hemisphere."""
    towards = rng.standard_normal(3) * (1, 1, 0.8)
    towards /= np.linalg.norm(towards)
    centre = towards * (58, 74, 60) * rng.uniform(0.75, 1) + (0, -4, 2)
    radii = rng.uniform(12, 34, 3)
    return Defect(_vector(centre), _vector(radii), float(rng.uniform(6, 24)), Waves(rng, 30, 5))


def _opening(rng: np.random.Generator) -> Opening:
    """A burr hole, a bone flap that was put back, or one that was left out."""
    azimuth, rise, side = rng.uniform(-1.2, 1.2), rng.uniform(0.1, 1), rng.choice((-1, 1))
    level = np.cos(rise)
    direction = (side * np.cos(azimuth) * level, np.sin(azimuth) * level, np.sin(rise))
    smallest, largest, closed = (
        (0.06, 0.1, False),
        (0.25, 0.6, True),
        (0.3, 0.75, False),
    )[int(rng.choice(3, p=(0.2, 0.3, 0.5)))]
    reach, hu = float(rng.uniform(smallest, largest)), float(rng.uniform(15, 50))
    return Opening(_vector(direction), reach, closed, hu)


def _drain(rng: np.random.Generator) -> Drain:
    """From in front of the coronal suture to a lateral ventricle or the third."""
    side = rng.choice((-1, 1))
    start = (side * rng.uniform(22, 35), rng.uniform(15, 50), 70)
    tip = (side * rng.uniform(3, 9), rng.uniform(0, 15), rng.uniform(4, 14))
    return Drain(_vector(start), _vector(tip), float(rng.uniform(150, 600)))


def _vector(values: Sequence[float] | np.ndarray) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
