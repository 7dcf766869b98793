"""Which bleeds a patient has: injuries as they come to the emergency department, mixed in blocks.

Ten consecutive patients have every scenario once, in a shuffled order, so that small sets have
each class in several patients and a head without a bleed.
"""

from collections.abc import Sequence

import numpy as np

from mbhseg.phantom.anatomy import Head
from mbhseg.phantom.hemorrhages import (
    EDH,
    IPH,
    SDH,
    BasalSubarachnoid,
    Bleed,
    Epidural,
    Intraparenchymal,
    Intraventricular,
    Parafalcine,
    Subdural,
    SulcalSubarachnoid,
)
from mbhseg.phantom.spec import PhantomSpec, rng_for

_HALVES: tuple[tuple[str, ...], tuple[str, ...]] = (
    ("none", "epidural", "subdural_and_sulcal", "putamen_and_ventricles", "aneurysm"),
    ("epidural_and_contusion", "subdural", "contusions", "lobar", "thalamus_and_ventricles"),
)
_INJURIES = ("epidural", "epidural_and_contusion", "subdural_and_sulcal", "contusions")


def scenario(spec: PhantomSpec, patient: int) -> str:
    """The scenario's name of a patient."""
    block, place = divmod(patient, 10)
    half, place = divmod(place, 5)
    order = rng_for(spec, "scenarios", block, half).permutation(5)
    return _HALVES[half][int(order[place])]


def bleeds(name: str, rng: np.random.Generator, head: Head) -> list[Bleed]:
    """Sample the bleeds of a scenario, and apply their mass effect to `head`, in place."""
    side = 1 if rng.random() < 0.5 else -1

    def growth() -> float:  # mostly of decent size, with a tail of small ones
        return float(rng.choice((0.6, 0.85, 1.0, 1.15), p=(0.08, 0.2, 0.4, 0.32)))

    def chance(p: float) -> bool:
        return bool(rng.random() < p)

    def pick(names: Sequence[str]) -> str:
        return names[int(rng.integers(len(names)))]

    found: list[Bleed] = []
    if name == "epidural":
        found.append(Epidural(rng, head, side, growth()))
        if chance(0.4):
            found.append(SulcalSubarachnoid(rng, -side, growth()))
    elif name == "epidural_and_contusion":
        found.append(Epidural(rng, head, side, growth()))
        found.append(Intraparenchymal(rng, pick(("frontal", "temporal")), -side, growth()))
        if chance(0.5):
            found.append(Subdural(rng, -side, 0.8 * growth()))
    elif name == "subdural":
        found.append(Subdural(rng, side, growth()))
        if chance(0.4):
            found.append(Parafalcine(rng, side, growth()))
        if chance(0.3):
            found.append(Intraventricular(rng, side, growth(), cast=False))
    elif name == "subdural_and_sulcal":
        found.append(Subdural(rng, side, growth()))
        found.append(SulcalSubarachnoid(rng, -side, growth()))
        if chance(0.4):
            found.append(Intraparenchymal(rng, pick(("frontal", "temporal")), -side, growth()))
    elif name == "contusions":
        found.append(Intraparenchymal(rng, "frontal", side, growth()))
        if chance(0.5):
            found.append(Intraparenchymal(rng, "temporal", side, growth()))
        found.append(SulcalSubarachnoid(rng, side, growth()))
        found.append((Parafalcine if chance(0.5) else Subdural)(rng, side, growth()))
    elif name == "aneurysm":
        found.append(BasalSubarachnoid(rng, side, growth()))
        if chance(0.5):
            found.append(SulcalSubarachnoid(rng, side, growth()))
        found.append(Intraventricular(rng, side, growth(), cast=chance(0.3)))
    elif name == "lobar":
        site = pick(("frontal", "parietal", "occipital", "temporal", "cerebellum"))
        found.append(Intraparenchymal(rng, site, side, growth()))
        if chance(0.5):
            found.append(SulcalSubarachnoid(rng, side, growth()))
        if chance(0.3):
            found.append(Intraventricular(rng, side, growth(), cast=False))
    elif name == "putamen_and_ventricles":
        found.append(Intraparenchymal(rng, "putamen", side, growth()))
        found.append(Intraventricular(rng, side, growth(), cast=chance(0.5)))
    elif name == "thalamus_and_ventricles":
        found.append(Intraparenchymal(rng, "thalamus", side, growth()))
        found.append(Intraventricular(rng, side, growth(), cast=chance(0.6)))
        if chance(0.3):
            found.append(BasalSubarachnoid(rng, side, growth()))
    mass_effect(found, head)
    if name in _INJURIES and chance(0.6):
        azimuth, rise = rng.uniform(-0.9, 0.9), rng.uniform(0.1, 0.7)
        head.bruise = (
            side * 76 * float(np.cos(azimuth) * np.cos(rise)),
            93 * float(np.sin(azimuth) * np.cos(rise)) - 4,
            80 * float(np.sin(rise)) + 2,
        )
    return found


def mass_effect(found: Sequence[Bleed], head: Head) -> None:
    """Let the bleeds push the midline of `head`, close its sulci and fill its ventricles."""
    push = -sum(bleed.side * bleed.ml for bleed in found if bleed.label in (EDH, IPH, SDH))
    head.midline_shift = float(np.clip(push / 11, -8, 8))
    head.effacement = float(np.clip(sum(b.ml for b in found) / 80, 0, 0.8))
    for bleed in found:
        if isinstance(bleed, Intraventricular) and bleed.cast:
            head.ventricle_size = max(head.ventricle_size, 1.1)
