"""The label classes of MBH-Seg25: the one table of labels, names and colours."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]
Labels = NDArray[np.uint8]  # label values 0..5, of a plane or a volume


class LabelClass(NamedTuple):
    """One class of the label volumes.

    `label` is the voxel value on disk, `rgb` the colour in mask PNGs (the reference project's),
    `safe_rgb` a colour-blind-safe alternative for displays (Okabe and Ito, 2008).
    """

    label: int
    key: str
    name: str
    rgb: RGB
    safe_rgb: RGB


CLASSES: tuple[LabelClass, ...] = (
    LabelClass(0, "background", "background", (0, 0, 0), (0, 0, 0)),
    LabelClass(1, "EDH", "epidural hemorrhage", (255, 0, 0), (213, 94, 0)),
    LabelClass(2, "IPH", "intraparenchymal hemorrhage", (0, 0, 255), (0, 114, 178)),
    LabelClass(3, "IVH", "intraventricular hemorrhage", (255, 255, 0), (240, 228, 66)),
    LabelClass(4, "SAH", "subarachnoid hemorrhage", (0, 255, 255), (86, 180, 233)),
    LabelClass(5, "SDH", "subdural hemorrhage", (0, 255, 0), (0, 158, 115)),
)
N_LABELS = len(CLASSES)  # background included
FOREGROUND = CLASSES[1:]
PALETTE = np.array([c.rgb for c in CLASSES], np.uint8)  # colours by label, as in mask PNGs
KEYS = tuple(c.key for c in FOREGROUND)
ANY = "any"  # the union of all hemorrhage classes, in tables of scores
