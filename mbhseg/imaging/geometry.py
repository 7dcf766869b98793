"""How a volume lies in space, read from its affine: orientation, tilt, shear, spacing.

An affine is the 4 x 4 matrix that takes voxel indices (x, y, z, 1) to NIfTI's millimetres, whose
axes run to the patient's right, anterior and superior (RAS+).
"""

import itertools
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Affine = NDArray[Any]
GRID_TOLERANCE_MM = 1e-3  # two grids that lie no farther apart are the same


def is_degenerate(affine: Affine) -> bool:
    """Whether the affine has a value that is not finite, or maps the volume to a plane or less."""
    matrix = np.asarray(affine, np.float64)
    if not np.isfinite(matrix).all():
        return True
    lengths = spacing(matrix)
    with np.errstate(over="ignore", invalid="ignore"):
        volume = abs(float(np.linalg.det(matrix[:3, :3])))
    # relative to a box of the same edges: below a millionth the axes lie in one plane
    return not volume > 1e-6 * float(np.prod(lengths)) > 0


def orientation(affine: Affine) -> str:
    """The patient's side that each voxel axis runs to, nearest match, such as `LAS`.

    L/R left and right, A/P anterior and posterior, S/I superior and inferior, as in nibabel;
    `?` for an axis that has no direction.
    """
    if not np.isfinite(affine).all():
        return "???"
    return "".join(code or "?" for code in nib.orientations.aff2axcodes(affine))


def sides_shown(code: str) -> list[str]:
    """The patient's side at the left and right of a displayed plane: `R` and `L`, or no text.

    `code` as from `orientation`: pictures have x, its first letter, from left to right.
    """
    return {"L": ["R", "L"], "R": ["L", "R"]}.get(code[:1], ["", ""])


def spacing(affine: Affine) -> tuple[float, float, float]:
    """Distance in mm from a voxel to its neighbour along x, y and z.

    In a sheared volume the planes lie closer than the step along z is long.
    """
    x, y, z = nib.affines.voxel_sizes(np.asarray(affine, np.float64))
    return float(x), float(y), float(z)


def tilt_deg(affine: Affine) -> float:
    """Angle in degrees, 0 to 55, between the slices' normal and the nearest patient axis.

    A tilted gantry shows here, however the affine encodes it. 0 for a degenerate plane.
    """
    normal = _normal(affine)
    axis = np.zeros(3)
    axis[np.abs(normal).argmax()] = 1
    return _angle_deg(normal, axis)


def shear_deg(affine: Affine) -> float:
    """Angle in degrees between the slices' normal and the step from slice to slice.

    0 where each slice lies straight above the last; the gantry's tilt in an uncorrected scan.
    """
    return _angle_deg(_normal(affine), np.asarray(affine, np.float64)[:3, 2])


def _normal(affine: Affine) -> NDArray[np.float64]:
    matrix = np.asarray(affine, np.float64)
    return np.cross(matrix[:3, 0], matrix[:3, 1])


def _angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Angle between two lines; atan2 is exact for small angles, where acos is not."""
    across = float(np.linalg.norm(np.cross(a, b)))
    return float(np.degrees(np.arctan2(across, abs(float(a @ b)))))


def displacement_mm(a: Affine, b: Affine, shape: tuple[int, ...]) -> float:
    """How far in mm a voxel of a [x, y, z] grid lies apart under two affines, at most.

    Only corners are compared: the distance is a convex function of the voxel index.
    """
    corners = np.array(list(itertools.product(*((0, max(n, 1) - 1) for n in shape[:3]))), float)
    change = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return float(np.linalg.norm(corners @ change[:3, :3].T + change[:3, 3], axis=1).max())


def off_grid_mm(affine: Affine, scan: Affine, shape: tuple[int, ...]) -> float:
    """0 if a volume [x, y, z] lies in the scan's grid, else how far in mm a voxel is off, at most.

    Distances up to GRID_TOLERANCE_MM count as 0; an affine that is not finite gives NaN.
    """
    apart = displacement_mm(affine, scan, shape)
    return 0.0 if apart <= GRID_TOLERANCE_MM else apart


def is_orthogonal(affine: Affine, tolerance_deg: float = 0.01) -> bool:
    """Whether the voxel axes stand at right angles, so that a qform can hold the affine."""
    x, y, z = np.asarray(affine, np.float64)[:3, :3].T
    pairs = ((x, y), (y, z), (z, x))
    return all(abs(90 - _angle_deg(a, b)) <= tolerance_deg for a, b in pairs)
