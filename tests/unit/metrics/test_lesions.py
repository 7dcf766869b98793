"""Components and their matching: known layouts and brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mbhseg.classes import ANY, KEYS
from mbhseg.metrics.lesions import (
    COLUMNS,
    lesion_scores,
    lesions_by_class,
    lesions_of,
    match_any,
    match_iou,
    overlaps,
    stratum_of,
)


def row_of(*spans: tuple[int, int], length: int = 60) -> np.ndarray:
    """A mask [length, 1, 1] with the voxels start..stop-1 of each span."""
    mask = np.zeros((length, 1, 1), bool)
    for start, stop in spans:
        mask[start:stop] = True
    return mask


def scores_of(reference: np.ndarray, candidate: np.ndarray, voxel_ml: float = 1.0) -> dict:
    return lesion_scores(lesions_of(reference), lesions_of(candidate), voxel_ml)


def flood(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Components by flood fill over the 26 neighbours."""
    left, components = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        queue, component = [left.pop()], set()
        while queue:
            voxel = queue.pop()
            component.add(voxel)
            for step in itertools.product((-1, 0, 1), repeat=3):
                near = tuple(a + b for a, b in zip(voxel, step, strict=True))
                if near in left:
                    left.remove(near)
                    queue.append(near)
        components.append(component)
    return components


def best_matching(reference: list[set], candidate: list[set]) -> int:
    """The most pairs with IoU of at least .1, by trying everything."""
    partners = [
        [k for k, c in enumerate(candidate) if len(r & c) / len(r | c) >= 0.1] for r in reference
    ]

    def search(n: int, used: frozenset[int]) -> int:
        if n == len(partners):
            return 0
        options = [1 + search(n + 1, used | {k}) for k in partners[n] if k not in used]
        return max([search(n + 1, used), *options])

    return search(0, frozenset())


masks = st.tuples(st.integers(0, 2**32 - 1), st.floats(0, 0.35), st.floats(0, 0.35))


def random_pair(seed: int, *densities: float) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.random((7, 6, 4)) < density for density in densities]


def test_voxels_that_touch_at_a_corner_are_one_lesion():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[3, 3, 3] = True
    lesions = lesions_of(mask)
    assert sorted(lesions.voxels) == [1, 2]
    assert lesions.labels.dtype == np.int32


@settings(deadline=None)
@given(masks)
def test_components_and_overlaps_agree_with_flood_fill(args):
    reference, candidate = random_pair(*args)
    found = [lesions_of(mask) for mask in (reference, candidate)]
    floods = [flood(mask) for mask in (reference, candidate)]
    for lesions, components in zip(found, floods, strict=True):
        assert sorted(lesions.voxels) == sorted(map(len, components))
    shared = sorted(len(r & c) for r in floods[0] for c in floods[1] if r & c)
    assert sorted(overlaps(*found)[2]) == shared
    touched = match_any(*found)
    assert touched.found.sum() == sum(any(r & c for c in floods[1]) for r in floods[0])
    assert touched.true.sum() == sum(any(r & c for r in floods[0]) for c in floods[1])


@settings(deadline=None, max_examples=60)
@given(masks)
def test_iou_matching_has_the_most_pairs(args):
    reference, candidate = random_pair(*args)
    matches = match_iou(lesions_of(reference), lesions_of(candidate))
    assert matches.found.sum() == matches.true.sum()
    assert matches.found.sum() == best_matching(flood(reference), flood(candidate))


@settings(deadline=None)
@given(masks)
def test_swapping_sides_swaps_found_and_true_under_iou(args):
    reference, candidate = random_pair(*args)
    scores, mirror = scores_of(reference, candidate), scores_of(candidate, reference)
    assert mirror["lesions_found_iou"] == scores["lesions_found_iou"]
    assert mirror["lesion_f1_iou"] == pytest.approx(scores["lesion_f1_iou"], nan_ok=True)
    assert mirror["lesions_reference"] == scores["lesions_candidate"]
    for rule in ("any", "iou"):
        f1 = scores[f"lesion_f1_{rule}"]
        assert math.isnan(f1) == (not reference.any() and not candidate.any())
        assert math.isnan(f1) or 0 <= f1 <= 1


def test_scores_by_hand():
    reference = row_of((0, 10), (12, 14), (20, 40))
    candidate = row_of((9, 13), (22, 38), (50, 55))
    # (9, 13) shares a voxel with the first two: IoU 1/13 and 1/5; (22, 38) has 16/20
    scores = scores_of(reference, candidate, voxel_ml=0.5)
    assert list(scores) == list(COLUMNS)
    assert (scores["lesions_reference"], scores["lesions_candidate"]) == (3, 3)
    assert (scores["lesions_found_any"], scores["lesions_false_any"]) == (3, 1)
    assert scores["lesion_f1_any"] == pytest.approx(6 / 7)
    assert (scores["lesions_found_iou"], scores["lesions_false_iou"]) == (2, 1)
    assert scores["lesion_f1_iou"] == pytest.approx(4 / (4 + 1 + 1))
    # ml of the reference: 5, 1, 10; of the false one: 2.5
    strata = [scores[f"lesions_reference_{s}"] for s in ("lt1ml", "1to10ml", "gt10ml")]
    assert strata == [0, 3, 0]
    assert scores["lesions_false_any_1to10ml"] == 1
    small = scores_of(reference, candidate, voxel_ml=0.4)
    assert (small["lesions_reference_lt1ml"], small["lesions_found_iou_lt1ml"]) == (1, 1)
    large = scores_of(reference, candidate, voxel_ml=2.1)
    assert (large["lesions_reference_gt10ml"], large["lesions_found_iou_gt10ml"]) == (2, 1)
    assert large["lesions_false_iou_gt10ml"] == 1


def test_one_candidate_may_find_many_lesions_but_is_the_match_of_one():
    reference, candidate = row_of((0, 10), (12, 22)), row_of((0, 22))
    scores = scores_of(reference, candidate)
    assert (scores["lesions_found_any"], scores["lesions_false_any"]) == (2, 0)
    assert scores["lesion_f1_any"] == 1.0
    assert (scores["lesions_found_iou"], scores["lesions_false_iou"]) == (1, 0)


def test_the_largest_iou_wins_among_matchings_of_equal_size():
    reference, candidate = row_of((0, 4), (6, 16)), row_of((2, 16))
    found = match_iou(lesions_of(reference), lesions_of(candidate)).found
    assert list(found) == [False, True]


def test_without_lesions():
    empty, drawn = row_of(), row_of((3, 6))
    both = scores_of(empty, empty)
    assert math.isnan(both["lesion_f1_any"])
    assert math.isnan(both["lesion_f1_iou"])
    assert both["lesions_reference"] == both["lesions_false_any"] == 0
    missed, spurious = scores_of(drawn, empty), scores_of(empty, drawn)
    assert (missed["lesion_f1_any"], missed["lesions_found_any"]) == (0.0, 0)
    assert (spurious["lesion_f1_iou"], spurious["lesions_false_iou"]) == (0.0, 1)


def test_borders_of_the_strata():
    assert list(stratum_of(np.array([0.999, 1.0, 10.0, 10.001]))) == [0, 1, 1, 2]


def test_classes_of_a_volume_keep_their_place():
    rng = np.random.default_rng(3)
    volumes = []
    for shift in (0, 3):
        labels = np.zeros((20, 18, 9), np.uint8, order="F")
        labels[2 + shift : 12 + shift, 3:13, 1:7] = rng.integers(0, 5, (10, 10, 6))
        volumes.append(labels * np.uint8(1) * (rng.random(labels.shape) < 0.3).astype(np.uint8))
    reference, candidate = (lesions_by_class(labels) for labels in volumes)
    assert list(reference) == [*KEYS, ANY]
    for label, key in enumerate(reference, start=1):
        whole = [labels > 0 if key == ANY else labels == label for labels in volumes]
        assert lesion_scores(reference[key], candidate[key], 0.3) == pytest.approx(
            scores_of(*whole, 0.3), nan_ok=True
        )
        expected = ndimage.label(whole[0], np.ones((3, 3, 3)))[1]
        assert len(reference[key].voxels) == expected


def test_boxes_that_do_not_meet():
    first, second = np.zeros((2, 9, 9, 9), bool)
    first[:3, :3, :3], second[5:, :3, :3] = True, True
    assert not match_any(lesions_of(first), lesions_of(second)).found.any()
    second[:] = False
    second[3:6, 3:6, 3:6] = True  # touch at a corner, share nothing
    assert scores_of(first, second)["lesions_false_any"] == 1
