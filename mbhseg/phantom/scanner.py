"""One scan: the head's place in the gantry, the volume's geometry, and the image's artefacts."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.phantom.fields import Field, Points, occupancy, over

COVERAGE = (-56.0, 76.0)  # mm below and above the commissures: posterior fossa to vertex
_THICKEST = 6.0  # mm; slices farther apart than this leave gaps between them


class Acquisition(NamedTuple):
    """How one scan was made.

    `spacing` in mm (x, y, z), `thickness` of a slice in mm, `turn` the rotation from gantry to
    head, `centre` the head's origin in the gantry in mm, `tilt` in degrees, `noise` in HU, `blur`
    in mm, `padding` the value outside the field of view (None: the image fills the square),
    `dtype` of the stored voxels, `odd` whether a few voxels hold absurd extremes.
    """

    spacing: tuple[float, float, float]
    thickness: float
    turn: NDArray[np.float64]
    centre: tuple[float, float, float]
    tilt: float
    noise: float
    blur: float
    padding: int | None
    dtype: type
    odd: bool


def draw_scan(rng: np.random.Generator, size: int, slices: int) -> Acquisition:
    """Sample a scan's settings; the head lies turned and shifted in the gantry, as patients' do."""
    in_plane = float(rng.uniform(228, 250)) / size
    bottom, top = COVERAGE
    step = round(float(np.clip((top - bottom) / slices, 0.5, 14.0)), 2)
    yaw, pitch, roll = np.deg2rad(
        (
            np.clip(rng.normal(3, 6), -15, 18),  # ASSUME: heads roll a little to one side
            np.clip(rng.normal(0, 4), -9, 9),
            np.clip(rng.normal(0, 2.5), -6, 6),
        )
    )
    turn = _rotation(2, yaw) @ _rotation(0, pitch) @ _rotation(1, roll)
    centre = (float(rng.normal(4, 5)), float(rng.normal(0, 5)), float(rng.uniform(-3, 3)))
    tilt = float(rng.uniform(2, 15)) if rng.random() < 0.7 else 0.0
    noise = float(rng.uniform(2.0, 4.0))
    blur = float(rng.uniform(0.45, 0.8))
    padding = (-2048, -3024, -1024, None)[int(rng.choice(4, p=(0.45, 0.25, 0.2, 0.1)))]
    dtype = np.int32 if rng.random() < 0.5 else np.int16
    odd = bool(rng.random() < 0.1) and dtype is np.int32
    spacing = (in_plane, in_plane, step)
    return Acquisition(
        spacing, min(step, _THICKEST), turn, centre, tilt, noise, blur, padding, dtype, odd
    )


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    a, b = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


def affine_of(scan: Acquisition, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Voxel to world, mm, RAS+: x runs to the patient's left, y forwards, z up, tilted about x."""
    rotation = _rotation(0, np.deg2rad(scan.tilt))
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(scan.spacing) @ np.diag((-1.0, 1.0, 1.0))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def plane_points(scan: Acquisition, shape: tuple[int, int, int], k: int, samples: int) -> Points:
    """Gantry coordinates in mm of plane k, `samples` times through its thickness: [s, x, y]."""
    nx, ny, nz = shape
    sx, sy, sz = scan.spacing
    x = -(np.arange(nx) - (nx - 1) / 2) * sx
    y = (np.arange(ny) - (ny - 1) / 2) * sy
    middle = sum(COVERAGE) / 2 + (k - (nz - 1) / 2) * sz
    z = middle + scan.thickness * ((np.arange(samples) + 0.5) / samples - 0.5)
    grids = np.meshgrid(z, x, y, indexing="ij")
    zz, xx, yy = (grid.astype(np.float32) for grid in grids)
    return Points(xx, yy, zz)


def to_head(scan: Acquisition, p: Points) -> Points:
    """Gantry coordinates to the head's."""
    u, v, w = (q - float(c) for q, c in zip(p[:3], scan.centre, strict=True))
    rows = [tuple(float(value) for value in row) for row in scan.turn]
    x, y, z = (a * u + b * v + c * w for a, b, c in rows)
    return Points(x, y, z)


def paint_headrest(hu: Field, p: Points, edge: float) -> None:
    """Lay the headrest's shell behind the head, and a tube on the patient's right, into `hu`."""
    radius = np.hypot(p.x, p.y + 2)
    shell = np.abs(radius - 109) - 1.1
    inner = np.abs(radius - 101) - 0.5
    rest = np.minimum(np.maximum(shell, p.y + 42), np.maximum(inner, p.y + 46))
    over(hu, occupancy(rest, edge), 90.0)
    tube = np.abs(np.hypot(p.x - 88, p.y + 52) - 3.4) - 0.9
    over(hu, occupancy(tube, edge), 130.0)


def harden(hu: Field, cavity: Field, head: Points) -> None:
    """Beam hardening left after correction: brighter under the skull, dark between the petrous."""
    hu += 5.0 * np.exp(-np.clip(-cavity, 0, 60) / 6.0) * (cavity < 0)
    bar = 7.0 * np.exp(-(((head.y + 16) / 7) ** 2 + ((head.z + 34) / 9) ** 2))
    hu -= bar * (np.abs(head.x) < 42)


def expose(
    hu: Field, scan: Acquisition, rng: np.random.Generator, noise: float
) -> NDArray[np.int16] | NDArray[np.int32]:
    """Blur a noiseless plane [x, y] by the scanner's point spread, add noise, pad, and round."""
    sigma = scan.blur / scan.spacing[0]
    image: NDArray[Any] = cv2.GaussianBlur(hu, (0, 0), sigma) if sigma > 0.15 else hu.copy()
    image += noise * scan.noise * _grain(rng, image.shape, 0.7 / scan.spacing[0])
    if scan.padding is not None:
        nx, ny = image.shape
        x, y = np.ogrid[:nx, :ny]
        outside = np.hypot(x - (nx - 1) / 2, y - (ny - 1) / 2) > nx / 2
        image[outside] = scan.padding
    stored: NDArray[Any] = np.rint(image).astype(scan.dtype)
    if scan.odd:
        spots = rng.integers(0, stored.size, 2)
        stored.flat[spots] = (-33762, 31701)
    return stored


def _grain(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> Field:
    """Noise of unit standard deviation, correlated over `correlation` pixels, partly coarser."""
    fine = rng.standard_normal(shape, dtype=np.float32)
    if correlation > 0.3:
        fine = np.asarray(cv2.GaussianBlur(fine, (0, 0), correlation), np.float32)
        fine /= fine.std()
    coarse = rng.standard_normal((shape[0] // 8 + 2, shape[1] // 8 + 2), dtype=np.float32)
    return fine + 0.25 * cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
