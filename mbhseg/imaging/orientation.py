"""A scan's voxel axes turned to those of the training set, and every result turned back.

A network for slices is trained on heads in one orientation. Nothing is interpolated here: axes are
swapped and reversed, and planes that are not square in mm are padded, so the way back is exact.
"""

from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mbhseg.imaging import geometry

# ASSUME: x to the patient's left, y to the front, z to the head, as MBH-Seg25 is stored; in
# display orientation the head is seen from below with the nose up, as radiologists view it
ORIENTATION = "LAS"
PADDING_HU = -1024  # air
_SQUARE = 0.01  # share by which the sides of a plane may differ in mm


class Turn(NamedTuple):
    """The way from a scan's voxels [x, y, z] to the network's planes, and back.

    `axes` is nibabel's orientation transform, `shape` the scan's, `pads` the pixels added in front
    of and behind x and y of the turned volume, `field_mm` the side of its planes, nan if unknown,
    `orientation` the turned volume's, such as `LAS`.
    """

    axes: NDArray[np.float64]
    shape: tuple[int, ...]
    pads: tuple[tuple[int, int], tuple[int, int]]
    field_mm: float
    orientation: str

    def there(self, hu: NDArray[Any]) -> NDArray[Any]:
        """The scan's voxels in the network's orientation [x, y, z], planes square in mm."""
        turned = nib.orientations.apply_orientation(hu, self.axes)
        if not any(map(any, self.pads)):
            return np.asarray(turned)
        # for any number type: air, which is black in every window
        low = max(PADDING_HU, int(np.iinfo(hu.dtype).min)) if hu.dtype.kind in "iu" else PADDING_HU
        return np.pad(turned, (*self.pads, (0, 0)), constant_values=low)

    def back(self, turned: NDArray[Any]) -> NDArray[Any]:
        """A result [x, y, z, ...] of the turned voxels on the scan's own; undoes `there`."""
        (left, right), (below, above) = self.pads
        nx, ny = turned.shape[:2]
        inner = turned[left : nx - right, below : ny - above]
        return np.asarray(nib.orientations.apply_orientation(inner, _inverse(self.axes)))

    def planes(self) -> list[int]:
        """Of each turned plane, the voxel index along the scan's own axis of slices."""
        axis = int(np.flatnonzero(self.axes[:, 0] == 2)[0])
        indices = range(self.shape[axis])
        return list(indices if self.axes[axis, 1] > 0 else reversed(indices))


def turn_of(
    shape: tuple[int, ...],
    affine: NDArray[Any],
    orientation: str = ORIENTATION,
    measured: bool = True,
) -> Turn:
    """The turn that brings a scan [x, y, z] with this affine (RAS+, mm) to `orientation`.

    The nearest of the 48 orientations counts, so a tilted or oblique scan keeps its planes.
    Without millimetres (`measured` False) pixels are assumed square.
    """
    start = nib.orientations.io_orientation(affine)
    axes = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(orientation))
    order = np.argsort(axes[:, 0])  # scan axis that becomes network axis 0, 1, 2
    steps = np.array(geometry.spacing(affine))[order] if measured else np.ones(3)
    sides = np.array(shape)[order][:2] * steps[:2]
    pads = [(0, 0), (0, 0)]
    if abs(sides[0] / sides[1] - 1) > _SQUARE:
        short = int(sides.argmin())
        lacking = round(float(abs(sides[0] - sides[1]) / steps[short]))
        pads[short] = (lacking // 2, lacking - lacking // 2)
    field = float(sides.max()) if measured else float("nan")
    return Turn(axes, tuple(shape), (pads[0], pads[1]), field, orientation)


def _inverse(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    unchanged = nib.orientations.io_orientation(np.eye(4))
    return np.asarray(nib.orientations.ornt_transform(unchanged, axes))
