"""The viewer's data of a predicted scan, on the turned voxels: nose up, feet first.

Made while the scan is in memory, because the page's environment cannot read DICOM.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.imaging import geometry, sprites
from mbhseg.imaging.display import to_display
from mbhseg.imaging.nifti import voxel_ml
from mbhseg.imaging.orientation import Turn
from mbhseg.predictions.gathering import Outcome
from mbhseg.scans.scan import Scan

LEVELS = 8  # of uncertainty in the viewer


class Preview(NamedTuple):
    """A scan for the viewer: the sprite of its slices as WebP, and its description for JSON.

    The description has rows, columns and aspect of a picture; planes, the voxel index along the
    scan's own slice axis of each; voxelMl, None if unknown; sides, the patient's at the
    left and right; across, tiles per row of the sprite; labels and, if the outcome has an
    entropy, doubt (uncertainty), both as `sprites.encode_planes` writes them.
    """

    sprite: bytes
    description: dict[str, Any]


def preview(scan: Scan, turn: Turn, outcome: Outcome) -> Preview:
    """The preview of a scan; the outcome is on the turned voxels [x, y, z]."""
    hu = turn.there(scan.hu)
    depth = hu.shape[2]
    images = [to_display(sprites.to_tone(hu[:, :, z])) for z in range(depth)]
    description = {
        "rows": hu.shape[1],
        "columns": hu.shape[0],
        "aspect": 1.0,  # turned planes are square in mm
        "planes": turn.planes(),
        "voxelMl": voxel_ml(scan.affine) if scan.measured else None,
        "sides": geometry.sides_shown(turn.orientation if scan.measured else ""),
        "across": min(sprites.COLUMNS, depth),
        "labels": sprites.encode_planes(outcome.labels, range(depth)),
    }
    if outcome.entropy is not None:
        levels = doubt_levels(outcome.entropy)
        description["doubt"] = sprites.encode_planes(levels, range(depth))
    return Preview(sprites.sprite(images, sprites.finest_rung(depth)), description)


def doubt_levels(entropy: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Entropy 0..255 of any shape as levels 0 (certain) to 7."""
    return (entropy // (256 // LEVELS)).astype(np.uint8)
