"""Auxiliary heads pull on the decoder during training and are gone afterwards."""

import keras
import numpy as np
import pytest

from mbhseg.errors import InputError
from mbhseg.nn.network.saving import load_model
from mbhseg.nn.network.supervision import with_heads
from mbhseg.nn.training.losses import METRICS
from tests.nn.conftest import build, loss_of

SIZE = 32


def network(**changes) -> keras.Model:
    return build(size=SIZE, levels=4, filters=4, input_scale=1 / 255, **changes)


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return (
        rng.integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8),
        rng.integers(0, 6, (2, SIZE, SIZE)).astype(np.uint8),
    )


def test_without_heads_it_is_the_model_itself():
    model = network()
    fitted = with_heads(model, 0)
    assert len(fitted.weights) == len(model.weights)
    assert all(a is b for a, b in zip(fitted.weights, model.weights, strict=True))


@pytest.mark.parametrize("normalization", [None, "instance"])
def test_the_loss_is_the_weighted_mean_of_the_heads(normalization):
    images, labels = batch()
    model = network(normalization=normalization, dropout=0.0, background_prior=0.7)
    fitted = with_heads(model, 2, seed=5)
    loss = loss_of("ce_dice")
    fitted.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss, metrics=[METRICS["bleed_dice"]])
    found = fitted.train_on_batch(images, labels, return_dict=True)
    outputs = fitted(images, training=True)
    assert [tuple(o.shape) for o in outputs] == [(2, n, n, 6) for n in (32, 16, 8)]
    reduced = [labels, labels[:, 1::2, 1::2], labels[:, 2::4, 2::4]]
    losses = [float(keras.ops.mean(loss(*pair))) for pair in zip(reduced, outputs, strict=True)]
    expected = (losses[0] + losses[1] / 2 + losses[2] / 4) / 1.75
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    expected = float(METRICS["bleed_dice"](labels, outputs[0]))
    assert found["bleed_dice"] == pytest.approx(expected, rel=1e-4)
    # untrained heads start from the network's prior
    assert float(keras.ops.mean(outputs[2][..., 0])) == pytest.approx(0.7, abs=0.2)


def test_inference_gives_the_network_alone(tmp_path):
    images, labels = batch()
    model = network()
    fitted = with_heads(model, 2)
    fitted.compile(optimizer="adam", loss=loss_of("cross_entropy"))
    fitted.train_on_batch(images, labels)
    np.testing.assert_array_equal(fitted.predict_on_batch(images), model.predict_on_batch(images))
    assert len(fitted.weights) == len(model.weights) + 4  # two kernels, two biases
    assert all(a is b for a, b in zip(fitted.weights, model.weights, strict=False))
    before = fitted.get_weights()
    fitted.train_on_batch(images, labels)
    changed = [not np.array_equal(a, b) for a, b in zip(before, fitted.get_weights(), strict=True)]
    assert all(changed[-4:])  # the heads learn
    fitted.set_weights(before)
    model.save(tmp_path / "model.keras", include_optimizer=False)
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.count_params() == network().count_params()


def test_the_same_seed_gives_the_same_heads():
    weights = [with_heads(network(), 2, seed=seed).get_weights()[-4:] for seed in (3, 3, 4)]
    for a, b in zip(weights[0], weights[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(weights[0][0], weights[2][0])


def test_votes_are_reduced_as_well():
    images, labels = batch()
    votes = np.eye(6, dtype=np.uint8)[labels] * 3
    found = []
    for target in (labels, votes):
        fitted = with_heads(network(dropout=0.0), 2)
        fitted.compile(optimizer=keras.optimizers.SGD(0.0), loss=loss_of("ce_dice"))
        found.append(fitted.train_on_batch(images, target, return_dict=True)["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_more_heads_than_levels_are_refused():
    with pytest.raises(InputError, match=r"^training\.deep_supervision: .*\b3\b.*\b2\b"):
        with_heads(network(), 3)
