"""What a phantom data set is made from, and which patient each of its scans shows."""

from typing import NamedTuple

import numpy as np

from mbhseg.errors import InputError

# Every twenty-fourth scan is a patient's second, beginning with the eighth scan.
_REPEAT_EVERY, _REPEAT_AT, _REPEAT_BACK = 24, 7, 4


class PhantomSpec(NamedTuple):
    """A phantom data set: the same spec gives the same archive, byte for byte.

    Attributes:
        cases: number of scans.
        size: pixels along each side of a slice; the field of view stays 228 to 250 mm.
        slices: slices in a scan, from the posterior fossa to the vertex.
        seed: of everything random; a scan depends on the seed and its own index alone.
        noise: factor on the scanners' noise; 0 gives noiseless images.
        varied: adds what else emergency CT shows, such as old bleeds and drains; see `variety`.
    """

    cases: int
    size: int
    slices: int
    seed: int
    noise: float = 1.0
    varied: bool = False


def check(spec: PhantomSpec) -> None:
    """Raise InputError if a value of `spec` is out of bounds."""
    bounds = {"cases": (1, 100_000), "size": (32, 2048), "slices": (4, 256), "seed": (0, 2**63)}
    for name, (low, high) in bounds.items():
        value = getattr(spec, name)
        if not low <= value <= high:
            raise InputError(f"phantom {name}", f"{value} is not in {low}..{high}", "Change it")
    if not 0 <= spec.noise <= 10:
        raise InputError("phantom noise", f"{spec.noise} is not in 0..10", "Change it")


def rng_for(spec: PhantomSpec, purpose: str, *indices: int) -> np.random.Generator:
    """A generator for one purpose, independent of every other purpose, index and seed."""
    return np.random.default_rng([spec.seed, *purpose.encode(), 0, *indices])


def patient_index(index: int) -> int:
    """The patient of scan `index`, counted from 0 without gaps."""
    if index % _REPEAT_EVERY == _REPEAT_AT:
        return patient_index(index - _REPEAT_BACK)
    return index - (index + _REPEAT_EVERY - _REPEAT_AT - 1) // _REPEAT_EVERY


def visit(index: int) -> int:
    """0 for a patient's first scan, 1 for the second."""
    return int(index % _REPEAT_EVERY == _REPEAT_AT)


def case_id(spec: PhantomSpec, index: int) -> str:
    """The scan's name: `ID_<patient, 8 hex>_ID_<study, 10 hex>`."""
    # an odd multiplier permutes the 32- and 40-bit numbers, so no two ids can collide
    patient = (patient_index(index) * 0x9E3779B1 + _offset(spec, "patient id")) % 2**32
    study = (index * 0x5851F42D4D + _offset(spec, "study id")) % 2**40
    return f"ID_{patient:08x}_ID_{study:010x}"


def _offset(spec: PhantomSpec, purpose: str) -> int:
    return int(rng_for(spec, purpose).integers(2**40))
