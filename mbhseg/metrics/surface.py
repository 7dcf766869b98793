"""Surface distances in mm: normalised surface Dice and the 95th percentile Hausdorff distance.

Surfaces are those of Nikolov et al. (J Med Internet Res 2021): one surface element for each
cell of 2 x 2 x 2 voxels that holds both foreground and background, with the area of the marching
cubes patch in that cell. Cells lie between voxel centres; outside the scan is background. Areas
and distances are in mm by the scan's affine, so they are exact on a sheared (tilted) grid too.
"""

import functools
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mbhseg.classes import ANY, FOREGROUND, Labels
from mbhseg.metrics.crops import Box, bounding_box

TOLERANCES_MM = (1, 2, 3)
_ROUNDING_MM = 1e-6  # a distance of exactly the tolerance is within it
COLUMNS = (*(f"nsd_{tolerance}mm" for tolerance in TOLERANCES_MM), "hd95_mm")

_Corner = tuple[int, int, int]
_CORNERS: list[_Corner] = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]


class Surface:
    """The surface elements of one mask.

    `cells` int64 [n]: their positions in the scan's lattice of cells, ascending; `points`
    float64 [n, 3]: their centres in mm; `areas` float64 [n]: in mm2.
    """

    def __init__(
        self, cells: NDArray[np.int64], points: NDArray[np.float64], areas: NDArray[np.float64]
    ) -> None:
        self.cells, self.points, self.areas = cells, points, areas

    def __len__(self) -> int:
        return len(self.cells)

    @functools.cached_property
    def tree(self) -> cKDTree:
        return cKDTree(self.points)


@functools.cache
def patch_normals() -> NDArray[np.float64]:
    """Area vectors [256, t, 3] of the triangles in a unit cell, by corner code, padded with 0.

    Bit 4i + 2j + k of the code is the corner (i, j, k). A patch's rim runs through the middles
    of the cell's edges that join foreground and background. Two corners of the rarer kind on the
    diagonal of a face are not connected, so a mask and its inverse have the same patches. A rim
    that is not planar is filled by the triangles of the largest total area. These choices
    give the areas of DeepMind's `surface-distance`, cell by cell.
    """
    codes: list[list[NDArray[np.float64]]] = []
    for code in range(256):
        rarer = code if code.bit_count() <= 4 else 255 - code
        codes.append([normal for rim in _rims(rarer) for normal in _fill(rim)])
    table = np.zeros((256, max(map(len, codes)), 3))
    for code, normals in enumerate(codes):
        if normals:
            table[code, : len(normals)] = normals
    return table


def _rims(code: int) -> list[list[NDArray[np.float64]]]:
    """The closed lines through edge midpoints that bound the patches of one corner code."""
    inside = {c for c in _CORNERS if code >> (4 * c[0] + 2 * c[1] + c[2]) & 1}
    links: dict[frozenset[_Corner], list[frozenset[_Corner]]] = {}
    for axis, side in itertools.product(range(3), (0, 1)):
        ring = []
        for turn in ((0, 0), (1, 0), (1, 1), (0, 1)):
            corner = [*turn]
            corner.insert(axis, side)
            ring.append((corner[0], corner[1], corner[2]))
        crossed = [
            frozenset(pair)
            for pair in zip(ring, [*ring[1:], ring[0]], strict=True)
            if len(inside.intersection(pair)) == 1
        ]
        if len(crossed) == 4:
            joined = [[e for e in crossed if corner in e] for corner in ring if corner in inside]
        else:
            joined = [crossed] if crossed else []
        for first, second in joined:
            links.setdefault(first, []).append(second)
            links.setdefault(second, []).append(first)
    rims = []
    while links:
        rim = [next(iter(links))]
        while links[rim[-1]]:
            following = links[rim[-1]].pop()
            links[following].remove(rim[-1])
            rim.append(following)
        rims.append([np.mean(list(edge), axis=0) for edge in rim[:-1]])
        links = {edge: ends for edge, ends in links.items() if ends}
    return rims


def _fill(rim: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Area vectors of the triangulation of a closed line that has the largest area."""

    def area(triangles: list[tuple[int, int, int]]) -> float:
        return round(float(np.linalg.norm(_normals(rim, triangles), axis=-1).sum()), 9)

    return list(_normals(rim, max(_triangulations(0, len(rim) - 1), key=area)))


def _normals(
    rim: list[NDArray[np.float64]], triangles: list[tuple[int, int, int]]
) -> NDArray[np.float64]:
    a, b, c = (np.stack([rim[t[n]] for t in triangles]) for n in range(3))
    return np.cross(b - a, c - a) / 2


def _triangulations(first: int, last: int) -> list[list[tuple[int, int, int]]]:
    """All ways to cut the polygon of the vertices first..last into triangles of its vertices."""
    if last - first < 2:
        return [[]]
    return [
        [*left, *right, (first, middle, last)]
        for middle in range(first + 1, last)
        for left in _triangulations(first, middle)
        for right in _triangulations(middle, last)
    ]


def patch_areas(affine: NDArray[Any]) -> NDArray[np.float64]:
    """Area in mm2 of the patches of every corner code, [256], on the grid of the affine."""
    matrix = np.asarray(affine, np.float64)[:3, :3]
    cofactors = np.linalg.det(matrix) * np.linalg.inv(matrix)  # of the transpose: normals @ it
    return np.linalg.norm(patch_normals() @ cofactors, axis=-1).sum(axis=-1)


def surfaces_of(labels: Labels, affine: NDArray[Any]) -> dict[str, Surface]:
    """The surfaces of EDH..SDH and of any hemorrhage in a label volume [x, y, z]."""
    box = bounding_box(labels)
    crop, origin = np.ascontiguousarray(labels[box]), (box[0].start, box[1].start, box[2].start)
    masks = {c.key: crop == c.label for c in FOREGROUND} | {ANY: crop != 0}
    return {
        key: _surface_in_box(mask, bounding_box(mask), origin, labels.shape, affine)
        for key, mask in masks.items()
    }


def _surface_in_box(
    mask: NDArray[np.bool_],
    box: Box,
    origin: tuple[int, int, int],
    shape: tuple[int, ...],
    affine: NDArray[Any],
) -> Surface:
    """The surface of a mask within `box`; its voxel 0 is at `origin` in a scan of `shape`."""
    codes = np.pad(np.ascontiguousarray(mask[box]), 1).view(np.uint8)
    codes = codes[:, :, :-1] | codes[:, :, 1:] << np.uint8(1)  # bit 4i + 2j + k, axis by axis
    codes = codes[:, :-1] | codes[:, 1:] << np.uint8(2)
    codes = codes[:-1] | codes[1:] << np.uint8(4)
    cells = np.nonzero((codes != 0) & (codes != 255))
    index = np.stack(cells, axis=-1) + origin + [side.start for side in box]
    strides = np.array([(shape[1] + 1) * (shape[2] + 1), shape[2] + 1, 1])
    matrix = np.asarray(affine, np.float64)
    points = (index - 0.5) @ matrix[:3, :3].T + matrix[:3, 3]
    return Surface(index @ strides, points, patch_areas(affine)[codes[cells]])


def distances(surface: Surface, other: Surface) -> NDArray[np.float64]:
    """Distance in mm from each element of `surface` to the nearest of `other`, [n].

    Infinite if `other` is empty.
    """
    if not len(other):
        return np.full(len(surface), np.inf)
    result = np.zeros(len(surface))
    apart = ~np.isin(surface.cells, other.cells, assume_unique=True)
    if apart.any():
        result[apart] = other.tree.query(surface.points[apart])[0]
    return result


def percentile_distance(
    values: NDArray[np.float64], areas: NDArray[np.float64], percent: float
) -> float:
    """The smallest distance within which `percent` of the area lies; NaN without elements."""
    if not len(values):
        return float("nan")
    order = np.argsort(values, kind="stable")
    share = np.cumsum(areas[order]) / areas.sum()
    first = min(int(np.searchsorted(share, percent / 100)), len(values) - 1)
    return float(values[order][first])


def diagonal_mm(shape: tuple[int, ...], affine: NDArray[Any]) -> float:
    """The longest diagonal in mm of the box around all voxels."""
    edges = np.asarray(affine, np.float64)[:3, :3] * np.asarray(shape[:3])
    signs = np.array([(1, a, b) for a in (1, -1) for b in (1, -1)])
    return float(np.linalg.norm(signs @ edges.T, axis=-1).max())


def surface_scores(reference: Surface, candidate: Surface, diagonal: float) -> dict[str, float]:
    """NSD at 1, 2 and 3 mm, and HD95 in mm: `COLUMNS`. Symmetric in the two surfaces.

    NSD is the share of both surfaces' area that lies within the tolerance of the other surface.
    HD95 is DeepMind's: the larger of the two directed 95th percentiles, weighted by area. Both
    empty: NaN. One empty: NSD 0, HD95 the `diagonal` of the image in mm.
    """
    if not len(reference) and not len(candidate):
        return dict.fromkeys(COLUMNS, float("nan"))
    if not len(reference) or not len(candidate):
        return {**dict.fromkeys(COLUMNS, 0.0), "hd95_mm": diagonal}
    to_candidate = distances(reference, candidate)
    to_reference = distances(candidate, reference)
    total = reference.areas.sum() + candidate.areas.sum()
    scores = {}
    for tolerance, column in zip(TOLERANCES_MM, COLUMNS[:-1], strict=True):
        near = reference.areas[to_candidate <= tolerance + _ROUNDING_MM].sum()
        near += candidate.areas[to_reference <= tolerance + _ROUNDING_MM].sum()
        scores[column] = float(near / total)
    scores["hd95_mm"] = max(
        percentile_distance(to_candidate, reference.areas, 95),
        percentile_distance(to_reference, candidate.areas, 95),
    )
    return scores
