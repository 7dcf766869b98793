"""Surface distances: known answers, brute force on tilted grids, and DeepMind's tool."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import distance

from mbhseg.classes import ANY, KEYS
from mbhseg.metrics.surface import (
    COLUMNS,
    Surface,
    diagonal_mm,
    distances,
    patch_areas,
    percentile_distance,
    surface_scores,
    surfaces_of,
)

DIAGONAL = 400.0


def grid(*spacing: float, shear: float = 0.0, tilt: float = 0.0) -> np.ndarray:
    """An affine of voxel sizes in mm, z sheared along y, all turned about x by degrees."""
    affine = np.diag([*spacing, 1.0])
    affine[1, 2] = shear
    c, s = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    turn = np.array([[1, 0, 0, 12], [0, c, -s, -34], [0, s, c, 56], [0, 0, 0, 1]])
    return turn @ affine


def smooth_pair(seed: int, shape=(22, 20, 9)) -> list[np.ndarray]:
    """Two masks of smooth random blobs that overlap in part."""
    rng = np.random.default_rng(seed)
    first, second = (ndimage.gaussian_filter(rng.random(shape), (2.5, 2.5, 1)) for _ in range(2))
    return [field > np.quantile(field, 0.85) for field in (first, first + second)]


def surface_of(mask: np.ndarray, affine: np.ndarray) -> Surface:
    return surfaces_of(mask.astype(np.uint8), affine)[ANY]


def scores_of(reference: np.ndarray, candidate: np.ndarray, affine: np.ndarray) -> dict:
    surfaces = [surface_of(mask, affine) for mask in (reference, candidate)]
    return surface_scores(*surfaces, DIAGONAL)


# --- areas and positions


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 1, 2), (4, 5, 3)])
def test_area_of_a_box_is_its_faces_with_cut_edges_and_corners(size):
    mask = np.zeros((9, 9, 9), bool)
    mask[2 : 2 + size[0], 3 : 3 + size[1], 1 : 1 + size[2]] = True
    a, b, c = (n - 1 for n in size)
    faces = 2 * (a * b + b * c + a * c)
    edges = 4 * (a + b + c) * math.sqrt(0.5)
    corners = 8 * math.sqrt(3) / 8
    assert surface_of(mask, np.eye(4)).areas.sum() == pytest.approx(faces + edges + corners)


def test_area_of_a_flat_patch_follows_the_affine():
    flat = 0b00001111  # the four corners with i = 0: a parallelogram of the y and z steps
    affine = grid(0.5, 0.4, 5, shear=-1.1, tilt=12)
    expected = np.linalg.norm(np.cross(affine[:3, 1], affine[:3, 2]))
    assert patch_areas(affine)[flat] == pytest.approx(expected)
    along_z = 0b01010101  # the four corners with k = 0
    expected = np.linalg.norm(np.cross(affine[:3, 0], affine[:3, 1]))
    assert patch_areas(affine)[along_z] == pytest.approx(expected)


def test_areas_do_not_change_when_a_cell_is_turned_mirrored_or_inverted():
    areas = patch_areas(np.eye(4))
    corners = list(itertools.product((0, 1), repeat=3))
    for code in range(256):
        cell = np.array([code >> n & 1 for n in range(8)]).reshape(2, 2, 2)
        assert [cell[c] for c in corners] == [code >> n & 1 for n in range(8)]
        turned = [np.transpose(cell, axes) for axes in itertools.permutations(range(3))]
        turned += [np.flip(cell, axis) for axis in range(3)] + [1 - cell]
        for other in turned:
            assert areas[int((other.ravel() << np.arange(8)).sum())] == pytest.approx(areas[code])
    assert areas[0] == areas[255] == 0
    assert (areas[1:255] > 0).all()


def test_elements_lie_between_voxel_centres_and_the_scan_ends_the_mask():
    affine = grid(0.5, 0.5, 5, tilt=10)
    surface = surface_of(np.ones((2, 1, 1), bool), affine)
    expected = itertools.product((-0.5, 0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5))
    expected = np.array([affine @ [*index, 1] for index in expected])[:, :3]
    np.testing.assert_allclose(surface.points, expected)


def test_surfaces_of_classes_are_those_of_their_masks():
    rng = np.random.default_rng(5)
    labels = np.zeros((14, 12, 8), np.uint8, order="F")
    labels[3:12, 2:9, 1:6] = rng.integers(0, 5, (9, 7, 5))  # no SDH
    affine = grid(0.5, 0.5, 5, shear=-1, tilt=8)
    surfaces = surfaces_of(labels, affine)
    assert list(surfaces) == [*KEYS, ANY]
    for label, key in enumerate(surfaces, start=1):
        mask = labels > 0 if key == ANY else labels == label
        expected = surface_of(mask, affine)
        np.testing.assert_array_equal(surfaces[key].cells, expected.cells)
        np.testing.assert_allclose(surfaces[key].points, expected.points)
        np.testing.assert_allclose(surfaces[key].areas, expected.areas)
        assert (np.diff(surfaces[key].cells) > 0).all()
    assert len(surfaces["SDH"]) == 0


# --- scores


def test_two_plates_a_known_distance_apart():
    reference, candidate = np.zeros((2, 12, 12, 8), bool)
    reference[2:10, 2:10, 2] = True
    candidate[2:10, 2:10, 4] = True
    at_two = scores_of(reference, candidate, grid(1, 1, 1))
    assert at_two["hd95_mm"] == pytest.approx(2)
    # their facing sides are one voxel apart, the far ones two: all is within 2 mm (just)
    assert (at_two["nsd_2mm"], at_two["nsd_3mm"]) == (1.0, 1.0)
    assert at_two["nsd_1mm"] == pytest.approx(0.5)
    assert scores_of(reference, candidate, grid(1, 1, 5))["hd95_mm"] == pytest.approx(10)
    # spacing whose multiples are not exact in binary: within means at the tolerance too
    assert scores_of(reference, candidate, grid(1, 1, 0.1, tilt=7))["nsd_1mm"] == 1.0


def test_a_sheared_grid_is_measured_in_mm():
    # one voxel against the one above it: straight above in the grid, aside in mm
    reference, candidate = np.zeros((2, 3, 3, 6), bool)
    reference[1, 1, 1], candidate[1, 1, 4] = True, True
    affine = grid(1, 1, 4, shear=-3)
    nearest = distances(surface_of(reference, affine), surface_of(candidate, affine))
    # the nearest faces are two planes apart: 8 mm up, 6 mm aside less one voxel
    assert nearest.min() == pytest.approx(math.hypot(8, 5))


@pytest.mark.parametrize("seed", range(4))
def test_scores_agree_with_all_against_all_on_a_tilted_grid(seed):
    affine = grid(0.49, 0.49, 5, shear=-1.3, tilt=14)
    reference, candidate = smooth_pair(seed)
    a, b = surface_of(reference, affine), surface_of(candidate, affine)
    table = distance.cdist(a.points, b.points)
    to_b, to_a = table.min(axis=1), table.min(axis=0)
    np.testing.assert_allclose(distances(a, b), to_b, atol=1e-9)
    scores = surface_scores(a, b, DIAGONAL)
    total = a.areas.sum() + b.areas.sum()
    for tolerance in (1, 2, 3):
        near = a.areas[to_b <= tolerance].sum() + b.areas[to_a <= tolerance].sum()
        assert scores[f"nsd_{tolerance}mm"] == pytest.approx(near / total)
    directed = []
    for values, areas in ((to_b, a.areas), (to_a, b.areas)):
        enough = 0.95 * areas.sum() * (1 - 1e-12)
        directed.append(min(v for v in values if areas[values <= v + 1e-9].sum() >= enough))
    assert scores["hd95_mm"] == pytest.approx(max(directed))


@pytest.mark.parametrize("seed", range(3))
def test_scores_do_not_depend_on_where_the_scan_lies(seed):
    reference, candidate = smooth_pair(seed)
    straight = scores_of(reference, candidate, np.diag([0.5, 0.5, 5, 1]))
    moved = scores_of(reference, candidate, grid(0.5, 0.5, 5, tilt=13))
    assert moved == pytest.approx(straight)
    mirrored = scores_of(reference[::-1], candidate[::-1], grid(-0.5, 0.5, 5))
    assert mirrored == pytest.approx(straight)


@pytest.mark.parametrize(
    ("seed", "spacing", "nsd", "hd95"),
    [
        (0, (1.0, 1.0, 1.0), (0.791193978, 0.897647138, 0.95435481), 4.242640687),
        (0, (0.488, 0.488, 5.0), (0.796924524, 0.860307368, 0.893734704), 5.094367085),
        (1, (1.0, 1.0, 1.0), (0.797626598, 0.890975511, 0.945823213), 3.741657387),
        (1, (0.488, 0.488, 5.0), (0.830599059, 0.935033755, 0.980477147), 2.845504525),
        (2, (1.0, 1.0, 1.0), (0.784363831, 0.873423015, 0.946515511), 3.605551275),
        (2, (0.488, 0.488, 5.0), (0.764597965, 0.857678381, 0.912997451), 4.629574494),
    ],
)
def test_reference_values_of_deepminds_tool(seed, spacing, nsd, hd95):
    """Values of `surface-distance` 0.1 on the same masks: see `test_deepminds_tool`."""
    scores = scores_of(*smooth_pair(seed), grid(*spacing))
    assert [scores[column] for column in COLUMNS] == pytest.approx([*nsd, hd95], abs=1e-6)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # its own of scipy
@pytest.mark.parametrize("seed", range(20))
def test_deepminds_tool(seed):
    tool = pytest.importorskip("surface_distance", reason="surface-distance is not installed")
    reference, candidate = smooth_pair(seed)
    for spacing in ((1.0, 1.0, 1.0), (0.488, 0.488, 5.0), (0.7, 1.1, 3.0)):
        found = tool.compute_surface_distances(reference, candidate, spacing)
        scores = scores_of(reference, candidate, grid(*spacing))
        for tolerance in (1, 2, 3):
            expected = tool.compute_surface_dice_at_tolerance(found, tolerance)
            assert scores[f"nsd_{tolerance}mm"] == pytest.approx(expected, abs=1e-6)
        assert scores["hd95_mm"] == pytest.approx(tool.compute_robust_hausdorff(found, 95))


# --- conventions


def test_empty_masks():
    empty, drawn = np.zeros((2, 6, 6, 4), bool)
    drawn[2:4, 2:4, 1:3] = True
    affine = grid(0.5, 0.5, 5)
    assert all(math.isnan(v) for v in scores_of(empty, empty, affine).values())
    one_empty = {"nsd_1mm": 0.0, "nsd_2mm": 0.0, "nsd_3mm": 0.0, "hd95_mm": DIAGONAL}
    assert scores_of(drawn, empty, affine) == one_empty
    assert scores_of(empty, drawn, affine) == one_empty
    nothing = surface_of(empty, affine)
    assert np.isinf(distances(surface_of(drawn, affine), nothing)).all()
    assert distances(nothing, nothing).shape == (0,)
    assert math.isnan(percentile_distance(np.zeros(0), np.zeros(0), 95))


def test_percentile_is_weighted_by_area():
    values = np.array([7.0, 1.0, 3.0])
    assert percentile_distance(values, np.array([1.0, 1.0, 98.0]), 95) == 3.0
    assert percentile_distance(values, np.array([10.0, 45.0, 45.0]), 95) == 7.0
    assert percentile_distance(values, np.array([10.0, 45.0, 45.0]), 90) == 3.0
    assert percentile_distance(values, np.array([1.0, 1.0, 1.0]), 100) == 7.0


def test_diagonal():
    assert diagonal_mm((10, 20, 30), np.diag([1.0, 1, 1, 1])) == pytest.approx(math.sqrt(1400))
    assert diagonal_mm((10, 20, 30), grid(1, 1, 1, tilt=9)) == pytest.approx(math.sqrt(1400))
    sheared = diagonal_mm((1, 10, 10), grid(1, 1, 1, shear=-0.5))
    assert sheared == pytest.approx(math.sqrt(1 + 15**2 + 10**2))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.6), st.floats(0.05, 0.6))
def test_symmetry_bounds_and_identity(seed, density, other_density):
    rng = np.random.default_rng(seed)
    reference = rng.random((6, 5, 4)) < density
    candidate = rng.random((6, 5, 4)) < other_density
    affine = grid(0.5, 0.5, 4, shear=-0.7)
    scores = scores_of(reference, candidate, affine)
    assert scores_of(candidate, reference, affine) == pytest.approx(scores, nan_ok=True)
    if reference.any():
        same = scores_of(reference, reference, affine)
        assert same == {"nsd_1mm": 1.0, "nsd_2mm": 1.0, "nsd_3mm": 1.0, "hd95_mm": 0.0}
    if reference.any() and candidate.any():
        nsd = [scores[column] for column in COLUMNS[:3]]
        assert nsd == sorted(nsd)
        assert 0 <= nsd[0] <= nsd[2] <= 1 + 1e-12
        assert 0 <= scores["hd95_mm"] <= DIAGONAL
