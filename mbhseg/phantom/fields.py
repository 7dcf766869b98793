"""Geometry in millimetres: signed distances (negative inside), soft edges, smooth random fields.

All functions take and give float32 arrays of any one shape. Distances are first-order
approximations: exact on the surface, good within some millimetres of it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Vector = tuple[float, float, float]


class Points(NamedTuple):
    """Sample points: right, anterior and superior coordinates in mm, three arrays of one shape."""

    x: Field
    y: Field
    z: Field


def ellipsoid(p: Points, centre: Vector, radii: Vector) -> Field:
    """Signed distance to an axis-aligned ellipsoid."""
    u, v, w = ((q - np.float32(c)) for q, c in zip(p, centre, strict=True))
    a, b, c = (np.float32(1 / r) for r in radii)
    u, v, w = u * a, v * b, w * c
    level = np.sqrt(u * u + v * v + w * w)
    u, v, w = u * a, v * b, w * c
    slope = np.sqrt(u * u + v * v + w * w) + np.float32(1e-6)
    return level * (level - 1) / slope


def capsule(p: Points, start: Vector, end: Vector, r_start: float, r_end: float) -> Field:
    """Signed distance to a segment from `start` to `end` with a radius at each end."""
    sx, sy, sz = (np.float32(c) for c in start)
    ax, ay, az = (np.float32(e - s) for s, e in zip(start, end, strict=True))
    u, v, w = p.x - sx, p.y - sy, p.z - sz
    t = (u * ax + v * ay + w * az) / np.float32(max(ax * ax + ay * ay + az * az, 1e-6))
    np.clip(t, 0, 1, out=t)
    u, v, w = u - t * ax, v - t * ay, w - t * az
    return np.sqrt(u * u + v * v + w * w) - (np.float32(r_start) + t * np.float32(r_end - r_start))


def smooth_min(a: Field, b: Field, k: float) -> Field:
    """Union of two signed distances with the edge between them rounded over `k` mm."""
    h = np.clip(np.float32(k) - np.abs(a - b), 0, None) / np.float32(k)
    return np.minimum(a, b) - h * h * np.float32(k / 4)


def occupancy(distance: Field, edge: float) -> Field:
    """Share of a voxel inside: 1 inside, 0 outside, linear over `edge` mm across the surface."""
    return np.clip(np.float32(0.5) - distance * np.float32(1 / edge), 0, 1)


def over(values: Field, share: Field, top: Field | float) -> None:
    """Lay `top` over `values` in place, with `share` of each voxel covered."""
    values += share * (np.asarray(top, np.float32) - values)


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
