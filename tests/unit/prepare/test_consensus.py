"""Raters' labels made into one: voting, STAPLE, set rules, soft targets."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mbhseg.errors import InputError
from mbhseg.imaging.drawn_planes import DrawnPlanes
from mbhseg.prepare.consensus import (
    METHODS,
    TIES,
    Votes,
    consensus,
    count_votes,
    plane_votes,
    staple,
)

Volumes = dict[int, np.ndarray]


def votes_on(volumes: Volumes) -> Votes:
    return count_votes({k: DrawnPlanes.of(volume) for k, volume in volumes.items()})


def volumes_of(votes: list[tuple[int, ...]]) -> Volumes:
    """Raters 1, 2, ... whose volumes [n, 1, 1] hold one vote after the other."""
    return {
        k + 1: np.array(v, np.uint8)[:, None, None] for k, v in enumerate(zip(*votes, strict=True))
    }


def decided(votes: tuple[int, ...], method: str, ties: str = "background") -> int:
    return int(consensus(volumes_of([votes]), method, ties)[0, 0, 0])


def volume_sets(raters: st.SearchStrategy[int], labels: int = 6) -> st.SearchStrategy[Volumes]:
    """Sets of volumes of one shape, mostly background."""
    values = st.one_of(st.just(0), st.just(0), st.integers(0, labels - 1))
    return st.tuples(raters, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)).flatmap(
        lambda drawn: st.lists(
            hnp.arrays(np.uint8, drawn[1], elements=values), min_size=drawn[0], max_size=drawn[0]
        ).map(lambda volumes: dict(enumerate(volumes, start=1)))
    )


def one_by_one(volumes: Volumes, method: str, ties: str) -> np.ndarray:
    """The definitions, voxel by voxel."""
    stack = np.stack(list(volumes.values()))
    result = np.zeros(stack.shape[1:], np.uint8)
    for at in np.ndindex(result.shape):
        votes = [int(v) for v in stack[(slice(None), *at)]]
        count = {label: votes.count(label) for label in set(votes)}
        bleeds = [label for label in count if label]
        bleed = max(bleeds, key=lambda label: (count[label], -label)) if bleeds else 0
        most = max(count.values())
        winners = sorted(label for label in count if count[label] == most)
        if method == "union":
            result[at] = bleed
        elif method == "intersection":
            result[at] = votes[0] if len(count) == 1 else 0
        elif len(winners) == 1 or method == "soft" or ties == "lowest":
            result[at] = winners[0]
        else:
            result[at] = bleed if ties == "foreground" else 0
    return result


@settings(max_examples=60, deadline=None)
@given(volume_sets(st.integers(1, 5)), st.sampled_from(TIES))
@pytest.mark.parametrize("method", ["majority", "union", "intersection", "soft"])
def test_methods_follow_their_definitions(method: str, volumes: Volumes, ties: str) -> None:
    expected = one_by_one(volumes, method, ties)
    np.testing.assert_array_equal(consensus(volumes, method, ties), expected)


@pytest.mark.parametrize(
    ("votes", "ties", "expected"),
    [
        ((2, 2, 0), "background", 2),
        ((0, 2, 0), "foreground", 0),
        ((2, 0), "background", 0),
        ((2, 0), "foreground", 2),
        ((2, 0), "lowest", 0),
        ((5, 1), "background", 0),
        ((5, 1), "foreground", 1),
        ((5, 1), "lowest", 1),
        ((5, 5, 1, 1, 0), "lowest", 1),
        ((0, 0, 4, 4, 1), "foreground", 4),
        ((0, 4, 1), "background", 0),
        ((3,), "background", 3),
    ],
)
def test_majority_and_its_ties(votes: tuple[int, ...], ties: str, expected: int) -> None:
    assert decided(votes, "majority", ties) == expected


@settings(max_examples=60, deadline=None)
@given(volume_sets(st.integers(2, 5)))
def test_majority_is_simpleitks_label_voting(volumes: Volumes) -> None:
    voting = sitk.LabelVotingImageFilter()
    voting.SetLabelForUndecidedPixels(0)
    expected = voting.Execute([sitk.GetImageFromArray(v) for v in volumes.values()])
    np.testing.assert_array_equal(consensus(volumes, "majority"), sitk.GetArrayFromImage(expected))


def simpleitk_staple(volumes: Volumes) -> np.ndarray:
    em = sitk.MultiLabelSTAPLEImageFilter()
    em.SetLabelForUndecidedPixels(0)
    em.SetTerminationUpdateThreshold(1e-5)
    result = em.Execute([sitk.GetImageFromArray(v) for v in volumes.values()])
    return np.asarray(sitk.GetArrayFromImage(result))


@pytest.mark.parametrize("raters", [1, 3, 5])
@pytest.mark.parametrize("seed", range(6))
def test_staple_is_simpleitks(raters: int, seed: int) -> None:
    # two labels a voxel and odd numbers of raters: no ties, which ITK 5 counts in a wrong cell
    rng = np.random.default_rng([seed, raters])
    shape = (14, 12, 9)
    one, other = (rng.integers(0, 6, shape) * (rng.random(shape) < 0.4) for _ in range(2))
    skill = rng.uniform(0.55, 0.95, raters)
    volumes = {
        k + 1: np.where(rng.random(shape) < skill[k], one, other).astype(np.uint8)
        for k in range(raters)
    }
    expected = simpleitk_staple(volumes)
    assert len(np.unique(expected)) == 6
    np.testing.assert_array_equal(consensus(volumes, "staple"), expected)


@pytest.mark.parametrize("raters", [2, 3, 4])
def test_staple_is_simpleitks_on_lesions(raters: int) -> None:
    rng = np.random.default_rng(raters)
    grid = np.indices((24, 20, 12))
    truth = np.zeros(grid.shape[1:], np.uint8)
    for label, centre in ((2, (7, 6, 5)), (5, (16, 12, 6)), (1, (6, 15, 4))):
        distance = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
        truth[distance < 16] = label
    volumes = {}
    for k in range(1, raters + 1):
        volumes[k] = np.roll(truth, rng.integers(-1, 2, 3), axis=(0, 1, 2))
        missed = rng.random(truth.shape) < 0.1
        volumes[k][missed] = 0
    np.testing.assert_array_equal(consensus(volumes, "staple"), simpleitk_staple(volumes))


def test_staple_trusts_the_reliable_rater() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 20, 10), np.uint8)
    truth[4:12, 4:12, 2:8] = 3
    volumes = {}
    for k, error in enumerate((0.01, 0.3, 0.3, 0.3), start=1):
        wrong = rng.random(truth.shape) < error * (truth > 0)
        volumes[k] = np.where(wrong, 0, truth).astype(np.uint8)
    errors = {
        method: int((consensus(volumes, method) != truth).sum())
        for method in ("staple", "majority")
    }
    assert errors["staple"] < errors["majority"] / 4


def test_staple_without_agreement_gives_background() -> None:
    assert decided((1, 2), "staple") == 0


@settings(max_examples=60, deadline=None)
@given(volume_sets(st.integers(1, 4)))
def test_intersection_within_majority_within_union(volumes: Volumes) -> None:
    drawn = {m: consensus(volumes, m) > 0 for m in ("intersection", "majority", "union")}
    assert not (drawn["intersection"] & ~drawn["majority"]).any()
    assert not (drawn["majority"] & ~drawn["union"]).any()


@settings(max_examples=60, deadline=None)
@given(volume_sets(st.integers(2, 4)))
@pytest.mark.parametrize("method", ["majority", "union", "intersection", "soft", "staple"])
def test_order_of_the_raters_does_not_matter(method: str, volumes: Volumes) -> None:
    backwards = dict(reversed(volumes.items()))
    renamed = dict(zip(volumes, reversed(volumes.values()), strict=True))
    expected = consensus(volumes, method)
    np.testing.assert_array_equal(consensus(backwards, method), expected)
    if method != "staple":  # whose sums may round otherwise
        np.testing.assert_array_equal(consensus(renamed, method), expected)


@pytest.mark.parametrize("method", METHODS)
def test_one_rater_is_the_consensus(method: str) -> None:
    labels = np.random.default_rng(0).integers(0, 6, (5, 4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(consensus({4: labels}, method, rater=4), labels)


@pytest.mark.parametrize("method", METHODS)
def test_no_bleed_gives_no_bleed(method: str) -> None:
    empty = {k: np.zeros((5, 4, 3), np.uint8) for k in (1, 3)}
    result = consensus(empty, method, rater=1)
    assert result.dtype == np.uint8
    assert result.shape == (5, 4, 3)
    assert not result.any()


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_order_does_not_matter(order: str) -> None:
    rng = np.random.default_rng(1)
    volumes = {k: rng.integers(0, 6, (7, 5, 3)).astype(np.uint8) for k in (1, 2, 3)}
    stored = {k: np.array(v, order=order) for k, v in volumes.items()}  # type: ignore[call-overload]
    np.testing.assert_array_equal(
        consensus(stored, "majority"), one_by_one(volumes, "majority", "")
    )


def test_votes_are_gathered_from_the_drawn_voxels_alone() -> None:
    rng = np.random.default_rng(2)
    volumes = {
        k: (rng.integers(0, 6, (50, 40, 30)) * (rng.random((50, 40, 30)) < 0.01)).astype(np.uint8)
        for k in (1, 2)
    }
    for z in (0, 7, 29):  # planes that one rater or none drew in
        volumes[1][:, :, z] = 0
    volumes[2][:, :, 7] = 0
    votes = votes_on(volumes)
    stack = np.stack([v.reshape(-1, order="F") for v in volumes.values()], axis=1)
    np.testing.assert_array_equal(votes.voxels, np.flatnonzero(stack.any(axis=1)))
    np.testing.assert_array_equal(votes.patterns[votes.which], stack[votes.voxels])
    assert len(np.unique(votes.patterns, axis=0)) == len(votes.patterns)
    assert votes.sizes.sum() + votes.background == 50 * 40 * 30


def test_many_raters() -> None:
    """More votes than would fit a table of all combinations."""
    rng = np.random.default_rng(3)
    volumes = {k: rng.integers(0, 6, (6, 5, 4)).astype(np.uint8) for k in range(1, 26)}
    np.testing.assert_array_equal(
        consensus(volumes, "majority"), one_by_one(volumes, "majority", "background")
    )


@settings(max_examples=60, deadline=None)
@given(volume_sets(st.integers(1, 5)))
def test_votes_of_planes_are_exact(volumes: Volumes) -> None:
    planes = dict(plane_votes(votes_on(volumes)))
    stack = np.stack(list(volumes.values()))
    assert list(planes) == [k for k in range(stack.shape[3]) if stack[..., k].any()]
    for k, plane in planes.items():
        assert plane.dtype == np.uint8
        for label in range(6):
            np.testing.assert_array_equal(plane[..., label], (stack[..., k] == label).sum(axis=0))


def test_the_single_rater_is_taken_as_it_is() -> None:
    volumes = volumes_of(list(itertools.product(range(6), repeat=2)))
    np.testing.assert_array_equal(consensus(volumes, "rater", rater=2), volumes[2])


@pytest.mark.parametrize("rater", [None, 2, 7])
def test_a_missing_rater_is_named(rater: int | None) -> None:
    volumes = {1: np.zeros((2, 2, 2), np.uint8), 5: np.zeros((2, 2, 2), np.uint8)}
    message = rf"ID_x: rater {rater} .*\(raters: 1, 5\)"
    with pytest.raises(InputError, match=message):
        consensus(volumes, "rater", rater=rater, where="ID_x")


def test_no_raters_are_refused() -> None:
    with pytest.raises(InputError, match=r"^ID_x: no rater"):
        consensus({}, "majority", where="ID_x")


def test_shapes_must_agree() -> None:
    volumes = {1: np.zeros((2, 2, 2), np.uint8), 3: np.zeros((2, 2, 3), np.uint8)}
    with pytest.raises(
        InputError, match=r"labels of rater 3 are \(2, 2, 3\), of rater 1 \(2, 2, 2\)"
    ):
        consensus(volumes, "union")


@pytest.mark.parametrize(("method", "ties"), [("vote", "background"), ("majority", "coin")])
def test_unknown_settings_are_refused(method: str, ties: str) -> None:
    with pytest.raises(ValueError, match="not one of"):
        consensus({1: np.zeros((2, 2, 2), np.uint8)}, method, ties)


def test_staple_stops_after_its_iterations() -> None:
    rng = np.random.default_rng(4)
    votes = votes_on({k: rng.integers(0, 6, (6, 6, 6)).astype(np.uint8) for k in (1, 2, 3)})
    assert staple(votes, tolerance=0, max_iterations=3).shape == (len(votes.patterns),)
