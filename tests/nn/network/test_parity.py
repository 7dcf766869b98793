"""Our FlexUNet is the reference project's, layer for layer and in what it computes."""

from typing import Any

import keras
import numpy as np
import pytest

from mbhseg.nn.network.models import build_model
from tests.nn.seed_reference import (
    Layer,
    Settings,
    construction,
    draw_weights,
    moderate,
    parameters,
    run,
)

# with the parameters that `count_params` of tf.keras 2.15 gives for the reference construction
PUBLISHED = [
    (Settings(levels=1, filters=4), 290),
    (Settings(levels=2, filters=4, dropout=0.0), 1_742),
    (Settings(levels=2, filters=4, kernel=1), 1_134),
    (Settings(levels=3, filters=4, kernel=2, dilation=2), 7_114),
    (Settings(levels=3, filters=5, dilation=2), 11_636),
    (Settings(levels=3, filters=8, kernel=7, activation="elu"), 59_142),
    (Settings(levels=3, filters=8, kernel=4, dilation=2, activation="silu", size=20), 31_470),
    (Settings(levels=3, filters=8, kernel=5, normalization=True), 34_630),
    (Settings(levels=4, filters=6, kernel=9, dilation=3, size=64), 147_174),
    (
        Settings(
            levels=4,
            filters=8,
            kernel=7,
            dilation=2,
            normalization=True,
            activation="mish",
            normalize_input=True,
            size=64,
        ),
        151_910,
    ),
    (Settings(levels=5, filters=4, kernel=11, dilation=4, dropout=0.1, size=64), 270_806),
    (Settings(levels=5, filters=16, activation="selu", size=48), 1_941_190),
    (Settings(levels=6, filters=3, kernel=8, size=96), 285_369),
    (
        Settings(levels=6, filters=16, kernel=5, normalization=True, dropout=0.08, size=128),
        7_804_870,
    ),
    (
        Settings(
            levels=7,
            filters=4,
            kernel=7,
            dropout=0.03,
            activation="gelu",
            normalize_input=True,
            size=64,
        ),
        1_953_462,
    ),
    (
        Settings(levels=8, filters=2, kernel=15, dilation=5, normalization=True, size=128),
        2_562_822,
    ),
    (Settings(levels=8, filters=16, kernel=7, size=512), 124_557_126),  # config/seed.yaml
]


def without_memory(settings: Settings) -> keras.Model:
    """The model with its variables' shapes and no values, so that a large one costs nothing."""
    with keras.StatelessScope(initialize_variables=False):
        return build_model(settings.network(), size=settings.size, channels=3, classes=6)


def described(layer: keras.Layer) -> Layer:
    """A Keras layer in the terms of the reference."""
    config: dict[str, Any] = layer.get_config()
    kind = type(layer).__name__
    return Layer(
        kind="Lambda" if kind == "Rescaling" else kind,
        output=tuple(layer.output.shape[1:]),
        shapes={weight.name: tuple(weight.shape) for weight in layer.weights},
        dilation=config.get("dilation_rate", (1, 1))[0],
        activation=config.get("activation", "linear"),
        rate=config.get("rate", 0.0),
    )


@pytest.mark.parametrize(
    ("settings", "count"), PUBLISHED, ids=[f"{s.levels}-levels-{n}" for s, n in PUBLISHED]
)
def test_every_layer_is_the_seeds(settings, count):
    model = without_memory(settings)
    # the reference has dropout layers of rate 0, which we leave out
    expected = [x for x in construction(settings) if x.kind != "Dropout" or x.rate > 0]
    found = [described(x) for x in model.layers if not isinstance(x, keras.layers.InputLayer)]
    assert found == expected
    assert parameters(expected) == count
    assert model.count_params() == count


@pytest.mark.parametrize(
    "settings",
    [
        Settings(levels=1, filters=3, kernel=5, dilation=3, size=12),
        Settings(levels=2, filters=4, kernel=1, size=12),
        Settings(levels=3, filters=3, kernel=2, dilation=2, size=12),
        Settings(levels=2, filters=4, kernel=6, dilation=2, activation="tanh", size=12),
        Settings(levels=3, filters=4, kernel=7, dilation=2, normalization=True, size=16),
        Settings(levels=4, filters=2, kernel=3, activation="mish", normalize_input=True, size=16),
        Settings(levels=3, filters=3, kernel=5, normalization=True, activation="selu", size=20),
        Settings(levels=2, filters=4, activation="elu", size=14),
        Settings(levels=2, filters=4, activation="gelu", size=14),
        Settings(levels=2, filters=4, activation="silu", size=14),
        Settings(levels=2, filters=4, activation="softplus", size=14),
        Settings(levels=2, filters=4, activation="leaky_relu", size=14),
    ],
    ids=lambda s: f"{s.levels}-{s.kernel}-{s.dilation}-{s.activation}",
)
def test_the_function_is_the_seeds(settings):
    images = np.random.default_rng(1).integers(
        0, 256, (2, settings.size, settings.size, 3), np.uint8
    )
    weights = draw_weights(settings, seed=2)
    moderate(settings, weights, images)
    model = build_model(settings.network(), size=settings.size, channels=3, classes=6)
    for layer, values in zip([x for x in model.layers if x.weights], weights, strict=True):
        for weight in layer.weights:
            weight.assign(values[weight.name])
    expected = run(settings, weights, images)
    assert expected.max(axis=-1).mean() < 0.8  # else errors would drown in certainty
    assert expected.std(axis=(0, 1, 2)).min() > 0.005
    np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-4, rtol=0)
