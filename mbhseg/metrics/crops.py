"""The part of a volume that a score has to read."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


def bounding_box(mask: NDArray[Any]) -> Box:
    """The smallest box of a volume [x, y, z] that holds all voxels other than 0 (or False).

    A volume of zeros gives the empty box at the origin.
    """
    over_x = (mask != 0).any(axis=0)
    profiles = (mask != 0).any(axis=(1, 2)), over_x.any(axis=1), over_x.any(axis=0)
    inside = [np.flatnonzero(profile) for profile in profiles]
    bounds = [(int(n[0]), int(n[-1]) + 1) if n.size else (0, 0) for n in inside]
    x, y, z = (slice(*bound) for bound in bounds)
    return x, y, z
