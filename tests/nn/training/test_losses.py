"""Losses and metrics against the same formulas in plain numpy."""

import keras
import numpy as np
import pytest

from mbhseg.nn.training import losses
from tests.nn.conftest import loss_of

WEIGHTS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Labels [2, 4, 5] and probabilities [2, 4, 5, 6]."""
    rng = np.random.default_rng(0)
    raw = rng.random((2, 4, 5, 6)).astype(np.float32)
    return rng.integers(0, 6, (2, 4, 5)).astype(np.uint8), raw / raw.sum(axis=-1, keepdims=True)


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(6, dtype=np.float64)[labels]


def numpy_dice(t: np.ndarray, p: np.ndarray) -> float:
    t, p = t[..., 1:], p[..., 1:].astype(np.float64)
    both, all_ = (t * p).sum(axis=(0, 1, 2)), (t + p).sum(axis=(0, 1, 2))
    return float(1 - ((2 * both + 2) / (all_ + 2)).mean())  # (TP + 1) / (… + 1), doubled


def test_cross_entropy(pair):
    labels, p = pair
    expected = -(one_hot(labels) * np.log(p)).sum(axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(losses.cross_entropy(labels, p), expected, rtol=1e-5)
    weighted = -(one_hot(labels) * np.array(WEIGHTS) * np.log(p)).sum(axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(losses.cross_entropy(labels, p, WEIGHTS), weighted, rtol=1e-5)


def test_cross_entropy_on_soft_targets(pair):
    labels, p = pair
    soft = 0.7 * one_hot(labels) + 0.3 * one_hot(np.roll(labels, 1))
    expected = -(soft * np.log(p)).sum(axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(
        losses.cross_entropy(soft.astype(np.float32), p), expected, rtol=1e-5
    )


def test_focal(pair):
    labels, p = pair
    q = (one_hot(labels) * p).sum(axis=-1)
    expected = (-((1 - q) ** 1.5) * np.log(q)).mean(axis=(1, 2))
    np.testing.assert_allclose(losses.focal(labels, p, gamma=1.5), expected, rtol=1e-4)
    np.testing.assert_allclose(
        losses.focal(labels, p, gamma=0.0), losses.cross_entropy(labels, p), rtol=1e-4
    )


def test_soft_dice_pools_the_batch_and_leaves_the_background_out(pair):
    labels, p = pair
    assert float(losses.soft_dice(labels, p)) == pytest.approx(numpy_dice(one_hot(labels), p), 1e-5)
    perfect = one_hot(labels).astype(np.float32)
    assert float(losses.soft_dice(labels, perfect)) == pytest.approx(0, abs=1e-6)
    empty = np.zeros_like(labels)
    nothing = one_hot(empty).astype(np.float32)
    assert float(losses.soft_dice(empty, nothing)) == pytest.approx(0, abs=1e-6)


def test_tversky(pair):
    labels, p = pair
    t, q = one_hot(labels)[..., 1:], p[..., 1:].astype(np.float64)
    hit = (t * q).sum(axis=(0, 1, 2))
    index = (hit + 1) / (
        hit + 0.2 * (q.sum(axis=(0, 1, 2)) - hit) + 0.8 * (t.sum(axis=(0, 1, 2)) - hit) + 1
    )
    found = losses.tversky(labels, p, alpha=0.2, beta=0.8)
    assert float(found) == pytest.approx(1 - index.mean(), 1e-5)
    weights = np.array(WEIGHTS[1:])
    found = losses.tversky(labels, p, alpha=0.2, beta=0.8, class_weights=WEIGHTS)
    assert float(found) == pytest.approx(1 - (weights * index).sum() / weights.sum(), 1e-5)


def test_sum_of_cross_entropy_and_dice(pair):
    labels, p = pair
    entropy = -(one_hot(labels) * np.log(p)).sum(axis=-1).mean()
    expected = entropy + 0.5 * numpy_dice(one_hot(labels), p)
    found = loss_of("ce_dice", dice_weight=0.5)(labels, p)
    assert float(found) == pytest.approx(expected, 1e-5)


def numpy_generalized_dice(t: np.ndarray, p: np.ndarray, factors=1.0) -> float:
    """Sudre et al. (2017), section 2.1; absent classes weigh like the rarest present one."""
    volumes = t.sum(axis=(0, 1, 2))
    largest = 1 / volumes[volumes > 0].min() ** 2
    w = np.array([1 / v**2 if v > 0 else largest for v in volumes]) * factors
    hit = (t * p).sum(axis=(0, 1, 2))
    return float(1 - 2 * (w * hit).sum() / (w * (t + p).sum(axis=(0, 1, 2))).sum())


def test_generalized_dice(pair):
    labels, p = pair
    found = losses.generalized_dice(labels, p)
    assert float(found) == pytest.approx(numpy_generalized_dice(one_hot(labels), p), 1e-5)
    weighted = losses.generalized_dice(labels, p, WEIGHTS)
    expected = numpy_generalized_dice(one_hot(labels), p, np.array(WEIGHTS))
    assert float(weighted) == pytest.approx(expected, 1e-5)
    sparse = np.where(labels == 3, labels, 0)  # four classes are absent
    found = losses.generalized_dice(sparse, p)
    assert float(found) == pytest.approx(numpy_generalized_dice(one_hot(sparse), p), 1e-5)
    empty = np.zeros_like(labels)
    assert float(
        losses.generalized_dice(empty, one_hot(empty).astype(np.float32))
    ) == pytest.approx(0, abs=1e-6)
    perfect = one_hot(sparse).astype(np.float32)
    assert float(losses.generalized_dice(sparse, perfect)) == pytest.approx(0, abs=1e-6)


@pytest.fixture
def votes(pair) -> np.ndarray:
    """Votes of two raters in the first image, of three in the second: uint8 [2, 4, 5, 6]."""
    labels, _ = pair
    raters = [labels, np.roll(labels, 1, axis=2), np.roll(labels, 2, axis=1)]
    counts = [sum(one_hot(rater[i]) for rater in raters[: i + 2]) for i in range(2)]
    return np.stack(counts).astype(np.uint8)


def numpy_loss(name: str, t: np.ndarray, p: np.ndarray) -> float:
    """Every loss at its default settings for a target distribution t, by its formula."""
    axes = (0, 1, 2)
    hit, volume, found = ((x[..., 1:]).sum(axis=axes) for x in (t * p, t, p))
    dice = 1 - ((2 * hit + 2) / (volume + found + 2)).mean()
    entropy = -(t * np.log(p)).sum(axis=-1).mean()
    index = (hit + 1) / (hit + 0.3 * (found - hit) + 0.7 * (volume - hit) + 1)
    return {
        "cross_entropy": entropy,
        "dice": dice,
        "ce_dice": entropy + dice,
        "focal": -(t * (1 - p) ** 2 * np.log(p)).sum(axis=-1).mean(),
        "generalized_dice": numpy_generalized_dice(t, p),
        "tversky": 1 - index.mean(),
    }[name]


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_every_loss_takes_votes_as_soft_targets(name, pair, votes):
    _, p = pair
    fractions = votes / votes.sum(axis=-1, keepdims=True)
    found = float(keras.ops.mean(loss_of(name)(votes, p)))
    assert found == pytest.approx(numpy_loss(name, fractions, p.astype(np.float64)), 1e-4)
    same = loss_of(name)(fractions.astype(np.float32), p)
    assert float(keras.ops.mean(same)) == pytest.approx(found, 1e-5)


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_a_vote_of_one_is_a_label(name, pair):
    labels, p = pair
    loss = loss_of(name, class_weights=WEIGHTS)
    np.testing.assert_allclose(
        loss(one_hot(labels).astype(np.uint8), p), loss(labels, p), rtol=1e-5
    )


@pytest.mark.parametrize("name", sorted(losses.LOSSES))
def test_every_loss_is_lower_for_a_better_prediction(name, pair):
    labels, _ = pair
    loss = loss_of(name, class_weights=WEIGHTS)
    values = []
    for confidence in (0.3, 0.6, 0.9):
        p = np.full((*labels.shape, 6), (1 - confidence) / 5, np.float32)
        np.put_along_axis(p, labels[..., None].astype(np.intp), confidence, axis=-1)
        values.append(float(keras.ops.mean(loss(labels, p))))
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


def test_settings_reach_only_the_losses_that_use_them(pair):
    labels, p = pair
    plain = loss_of("cross_entropy", gamma=9, alpha=9, beta=9, dice_weight=9)
    np.testing.assert_array_equal(plain(labels, p), losses.cross_entropy(labels, p))
    assert plain.__name__ == "cross_entropy"


def test_unknown_loss():
    with pytest.raises(ValueError, match=r"'mse' .*cross_entropy, dice"):
        loss_of("mse")


def test_legacy_metric_is_soft_pixel_accuracy(pair):
    labels, p = pair
    expected = (one_hot(labels) * p).sum(axis=(1, 2, 3)) / labels[0].size
    np.testing.assert_allclose(losses.dice_coef_multiclass(labels, p), expected, rtol=1e-5)
    # a network that finds nothing, on a slice with one bleeding pixel in a hundred
    sparse = np.zeros((1, 10, 10), np.uint8)
    sparse[0, 3, 3] = 2
    nothing = one_hot(np.zeros_like(sparse)).astype(np.float32)
    assert float(losses.dice_coef_multiclass(sparse, nothing)[0]) == pytest.approx(0.99)


def test_pixel_accuracy_and_bleed_dice(pair):
    labels, p = pair
    right = (p.argmax(axis=-1) == labels).mean(axis=(1, 2))
    np.testing.assert_allclose(losses.pixel_accuracy(labels, p), right, rtol=1e-6)
    t, q = labels > 0, 1 - p[..., 0].astype(np.float64)
    expected = (2 * (t * q).sum() + 1) / (t.sum() + q.sum() + 1)
    assert float(losses.bleed_dice(labels, p)) == pytest.approx(expected, 1e-5)
