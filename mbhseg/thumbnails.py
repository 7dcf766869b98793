"""Small pictures of a case, for a look at what quality control found."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.slices import resize_image, to_display
from mbhseg.windows import Window, to_grey

TILE, ROWS, COLUMNS = 128, 3, 4
BRAIN = Window("brain", 40, 80)
_PALETTE = np.array([c.rgb for c in CLASSES], np.float32)


def thumbnail(volume: NDArray[Any], labels: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Twelve planes of a scan in the brain window, from the first to the last, labels in colour.

    Args:
        volume: HU [x, y, z]; values that are not finite are shown black.
        labels: uint8 [x, y, z] of the same shape, or None.

    Returns:
        uint8 RGB [384, 512, 3], four tiles a row. Each tile is as wide as it is high, whatever
        the matrix. Fewer planes than tiles leave tiles black.
    """
    sheet = np.zeros((ROWS * TILE, COLUMNS * TILE, 3), np.uint8)
    count = min(volume.shape[2], ROWS * COLUMNS)
    for tile, z in enumerate(np.linspace(0, volume.shape[2] - 1, count).round().astype(int)):
        plane = np.nan_to_num(volume[:, :, z].astype(np.float32), nan=-1e6, posinf=1e6, neginf=-1e6)
        image = np.repeat(to_grey(plane, BRAIN)[..., np.newaxis], 3, axis=2)
        if labels is not None and (drawn := labels[:, :, z] > 0).any():
            colours = _PALETTE[labels[:, :, z][drawn]]
            image[drawn] = np.rint(0.5 * image[drawn] + 0.5 * colours).astype(np.uint8)
        row, column = divmod(tile, COLUMNS)
        place = np.s_[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        sheet[place] = resize_image(np.ascontiguousarray(to_display(image)), TILE)
    return sheet
