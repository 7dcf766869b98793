"""GED and soft Dice of a candidate against several raters, against dense computations."""

import itertools

import numpy as np
import pytest

from mbhseg.classes import ANY, KEYS
from mbhseg.metrics.groups import (
    RATERS,
    RATERS_WITHOUT,
    Counts,
    Group,
    ged,
    group_rows,
    groups_of,
    soft_dice,
)
from mbhseg.metrics.overlap import SCORED_CLASSES
from mbhseg.metrics.pairs import CaseLabels, Pair, PairScores


def mask(volume: np.ndarray, key: str) -> np.ndarray:
    return volume > 0 if key == ANY else volume == KEYS.index(key) + 1


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return 1 - (a & b).sum() / (a | b).sum() if (a | b).any() else 0.0


def random_volumes(seed: int, n: int) -> dict[str, np.ndarray]:
    """Volumes around a common truth; some are empty."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 6, (6, 5, 4)) * (rng.random((6, 5, 4)) < 0.5)
    names = ["m", *(f"rater{k}" for k in range(1, n))]
    volumes = {}
    for name in names:
        labels = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 6, truth.shape))
        volumes[name] = (labels * (rng.random() < 0.85)).astype(np.uint8)
    return volumes


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_dense_volumes(seed):
    volumes = random_volumes(seed, 2 + seed % 4)
    raters = [name for name in volumes if name != "m"]
    scores = PairScores(CaseLabels("c", "p", volumes, np.eye(4)))
    rows = scores.rows(Pair(a, b) for a, b in itertools.permutations(volumes, 2) if b != "m")
    found = group_rows(rows, groups_of(["m"], raters))
    assert len(found) == 6 * (1 + 2 * len(raters) * (len(raters) > 1))
    for row in found:
        left_out = row["reference"].removeprefix(RATERS_WITHOUT)
        members = [name for name in raters if row["reference"] == RATERS or name != left_out]
        held = [mask(volumes[name], row["class"]) for name in members]
        own = mask(volumes[row["candidate"]], row["class"])
        expected = 2 * np.mean([distance(own, other) for other in held])
        expected -= np.mean([distance(a, b) for a in held for b in held])
        assert row["ged"] == pytest.approx(expected, abs=1e-12)
        share = np.mean(held, axis=0)
        total = own.sum() + share.sum()
        if total:
            expected = 2 * np.minimum(own, share).sum() / total
            assert row["soft_dice"] == pytest.approx(expected)
        else:
            assert np.isnan(row["soft_dice"])
        assert row["n_raters"] == len(members)


def test_known_values():
    same, apart = Counts(4, 4, 4), Counts(4, 4, 0)
    assert ged([same], []) == 0
    assert ged([apart], []) == 2
    # two raters without a common voxel, the candidate is one of them: 2 * .5 - 2 * 1 / 4
    assert ged([same, apart], [apart, apart]) == pytest.approx(0.5)
    assert ged([Counts(0, 0, 0)], []) == 0
    assert soft_dice([same, apart]) == pytest.approx(0.5)
    assert np.isnan(soft_dice([Counts(0, 0, 0)]))


def test_who_is_held_against_whom():
    assert groups_of(["m"], ["rater3"]) == [Group("m", RATERS, ["rater3"])]
    held = groups_of(["m"], ["rater1", "rater3"])
    assert [(g.candidate, g.reference) for g in held] == [
        ("m", RATERS),
        ("m", RATERS_WITHOUT + "rater1"),
        ("rater1", RATERS_WITHOUT + "rater1"),
        ("m", RATERS_WITHOUT + "rater3"),
        ("rater3", RATERS_WITHOUT + "rater3"),
    ]


def test_every_class_has_a_row_and_a_missing_pair_is_an_error():
    volumes = random_volumes(1, 3)
    scores = PairScores(CaseLabels("c", "p", volumes, np.eye(4)))
    rows = scores.rows([Pair("m", "rater1")])
    found = group_rows(rows, [Group("m", RATERS, ["rater1"])])
    assert [row["class"] for row in found] == list(SCORED_CLASSES)
    assert {row["case"] for row in found} == {"c"}
    with pytest.raises(KeyError):
        group_rows(rows, [Group("m", RATERS, ["rater1", "rater2"])])
