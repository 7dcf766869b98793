"""Post-processing of predicted labels.

`mbhseg.evaluation.choose_postprocess` chooses its settings on validation.

Two steps, in this order:
- reconcile: EDH and SDH lie on either side of the dura and look alike, so one bleed is often
  predicted as both; each component of the two together gets the label of most of its voxels;
- min_ml: smaller components of a class become background.
Components are 26-connected.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mbhseg.classes import FOREGROUND, KEYS, Labels
from mbhseg.errors import InputError
from mbhseg.files import read_json
from mbhseg.metrics.lesions import lesions_of

EXTRA_AXIAL = ("EDH", "SDH")


class Postprocessing(NamedTuple):
    """Settings of the two steps, see the module. `min_ml`: ml per class, 0 keeps everything."""

    reconcile: bool
    min_ml: Mapping[str, float]

    def apply(self, labels: Labels, ml: float) -> Labels:
        """The labels uint8 [x, y, z] after both steps; `ml` is the volume of a voxel in ml."""
        result = reconciled(labels) if self.reconcile else labels.copy(order="K")
        for c in FOREGROUND:
            smallest = self.min_ml.get(c.key, 0.0)
            if smallest > 0:
                lesions = lesions_of(result == c.label)
                small = np.append(False, lesions.voxels * ml < smallest)
                result[lesions.box][small[lesions.labels]] = 0
        return result


def read(path: str | Path) -> Postprocessing:
    """The choice that `choose_postprocess.run` wrote; InputError if the file does not hold one."""
    try:
        chosen = read_json(path)
        min_ml = {key: float(chosen["min_ml"][key]) for key in KEYS}
        return Postprocessing(bool(chosen["reconcile"]), min_ml)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(path, f"holds no settings ({error!r})", "Run evaluate again") from error


def reconciled(labels: Labels) -> Labels:
    """Give each component of EDH and SDH together the label that most of its voxels have.

    A tie changes nothing. The input [x, y, z] is not changed.
    """
    result = labels.copy(order="K")
    edh, sdh = (next(c.label for c in FOREGROUND if c.key == key) for key in EXTRA_AXIAL)
    lesions = lesions_of((labels == edh) | (labels == sdh))
    n = len(lesions.voxels) + 1
    part = result[lesions.box]
    excess = np.zeros(n, np.int64)  # voxels of SDH minus those of EDH
    excess += np.bincount(lesions.labels[part == sdh], minlength=n)
    excess -= np.bincount(lesions.labels[part == edh], minlength=n)
    excess[0] = 0
    by_voxel = excess[lesions.labels]
    part[by_voxel > 0] = sdh
    part[by_voxel < 0] = edh
    return result
