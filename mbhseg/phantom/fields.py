"""Geometry in millimetres: signed distances (negative inside), soft edges, smooth random fields.

All functions take and give float32 arrays of any one shape. Distances are first-order
approximations: exact on the surface, good within some millimetres of it.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]  # float32 in practice; numpy's own typing loses track of it
Vector = tuple[float, float, float]


OUTSIDE = 99.0  # mm: the distance given for a shape known to be far from all points


class Points(NamedTuple):
    """Sample points: right, anterior and superior coordinates in mm, three arrays of one shape.

    `low` and `high` bound z, so that shapes of other levels cost nothing.
    """

    x: Field
    y: Field
    z: Field
    low: float = -np.inf
    high: float = np.inf

    def at(self, where: Any) -> "Points":
        """The points at an index of the arrays."""
        return Points(self.x[where], self.y[where], self.z[where])

    def mean(self) -> "Points":
        """The means along the first axis."""
        return Points(self.x.mean(axis=0), self.y.mean(axis=0), self.z.mean(axis=0))

    def bounded(self) -> "Points":
        """The same points with the bounds of their z; without points, of nothing."""
        low = float(self.z.min(initial=np.inf))
        return self._replace(low=low, high=float(self.z.max(initial=-np.inf)))

    def misses(self, low: float, high: float, margin: float = 8.0) -> bool:
        """Whether all points lie more than `margin` mm below `low` or above `high`."""
        return self.high < low - margin or self.low > high + margin


def ellipsoid(p: Points, centre: Vector, radii: Vector) -> Field:
    """Signed distance to an axis-aligned ellipsoid; a single OUTSIDE if it is at another level."""
    (cx, cy, cz), (rx, ry, rz) = centre, radii
    if p.misses(cz - rz, cz + rz):
        return np.array(OUTSIDE, np.float32)
    u, v, w = (p.x - cx) * (1 / rx), (p.y - cy) * (1 / ry), (p.z - cz) * (1 / rz)
    level, slope = _norm(u, v, w), _norm(u * (1 / rx), v * (1 / ry), w * (1 / rz))
    return level * (level - 1) / (slope + 1e-6)


def capsule(p: Points, start: Vector, end: Vector, r_start: float, r_end: float) -> Field:
    """Signed distance to a segment with a radius at each end; OUTSIDE if at another level."""
    (sx, sy, sz), (ex, ey, ez) = start, end
    thick = max(r_start, r_end)
    if p.misses(min(sz, ez) - thick, max(sz, ez) + thick):
        return np.array(OUTSIDE, np.float32)
    ax, ay, az = ex - sx, ey - sy, ez - sz
    square = ax * ax + ay * ay + az * az
    u, v, w = p.x - sx, p.y - sy, p.z - sz
    t = np.clip(u * (ax / square) + v * (ay / square) + w * (az / square), 0, 1)
    return _norm(u - t * ax, v - t * ay, w - t * az) - (r_start + t * (r_end - r_start))


def _norm(u: Field, v: Field, w: Field) -> Field:
    total = u * u
    total += v * v
    total += w * w
    return np.sqrt(total, out=total)


def smooth_min(a: Field, b: Field, k: float) -> Field:
    """Union of two signed distances with the edge between them rounded over `k` mm."""
    if not (a.ndim and b.ndim):
        return np.minimum(a, b)
    overlap = np.clip(k - np.abs(a - b), 0, None)
    return np.minimum(a, b) - overlap * overlap * (1 / (4 * k))


def occupancy(distance: Field, edge: float) -> Field:
    """Share of a voxel inside: 1 inside, 0 outside, linear over `edge` mm across the surface."""
    return np.clip(0.5 - distance * (1 / edge), 0, 1)


def over(values: Field, share: Field, top: Field | float) -> None:
    """Lay `top` over `values` in place, with `share` of each voxel covered."""
    values += share * (top - values)


class Waves:
    """A smooth random field, mean 0 and variance 1: a sum of plane waves near one wavelength.

    Its zero set winds like cerebral sulci, at any resolution (Berry's random wave model).
    """

    def __init__(self, rng: np.random.Generator, wavelength: float, n: int = 8) -> None:
        direction = rng.standard_normal((n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        number = 2 * np.pi / wavelength * rng.uniform(0.75, 1.3, (n, 1))
        self._k = (direction * number).astype(np.float32)
        self._phase = rng.uniform(0, 2 * np.pi, n).astype(np.float32)
        self._gain = np.float32(np.sqrt(2 / n))

    def __call__(self, p: Points) -> Field:
        total = np.zeros_like(p.x)
        for (kx, ky, kz), phase in zip(self._k, self._phase, strict=True):
            angle = p.x * kx
            angle += p.y * ky
            angle += p.z * kz
            angle += phase
            total += np.cos(angle, out=angle)
        total *= self._gain
        return total
