"""The network follows from its base values; config/seed.yaml's give the reference network."""

from pathlib import Path

import keras
import numpy as np
import pytest

from mbhseg.nn.network.flexunet import level_settings
from mbhseg.nn.network.models import build_model, summary_text
from mbhseg.nn.network.saving import load_model, save_model
from tests.nn.conftest import build, loss_of, network

SEED_NETWORK = {
    "levels": 8,
    "filters": 16,
    "kernel": 7,
    "dilation": 1,
    "dropout": 0.05,
    "normalization": None,
    "activation": "relu",
}


def expected_parameters(
    levels: int,
    filters: int,
    kernel: int,
    normalization: str | None = None,
    channels: int = 3,
    classes: int = 6,
) -> int:
    """Parameters counted from the published construction, written apart from the code."""
    per_filter = {None: 0, "batch": 4, "instance": 2, "group": 2}[normalization]

    def conv(k: int, inputs: int, outputs: int) -> int:
        return k * k * inputs * outputs + outputs

    def block(k: int, inputs: int, outputs: int) -> int:
        return conv(k, inputs, outputs) + conv(k, outputs, outputs) + 2 * per_filter * outputs

    width = [filters * 2**i for i in range(levels)]
    size = [kernel] + [max(3, kernel - 2 * i) for i in range(1, levels)]
    total, inputs = 0, channels
    for w, k in zip(width, size, strict=True):
        total, inputs = total + block(k, inputs, w), w
    for i in range(levels - 2, -1, -1):
        total += conv(2, width[i + 1], width[i]) + block(size[i], 2 * width[i], width[i])
    return total + conv(1, width[0], classes)


SETTINGS = [
    {"levels": 1, "filters": 4, "kernel": 3},
    {"levels": 2, "filters": 4, "kernel": 3},
    {"levels": 3, "filters": 5, "kernel": 3},
    {"levels": 3, "filters": 8, "kernel": 7},
    {"levels": 4, "filters": 6, "kernel": 9},
    {"levels": 5, "filters": 4, "kernel": 11},
    {"levels": 5, "filters": 16, "kernel": 3},
    {"levels": 3, "filters": 8, "kernel": 5, "normalization": "batch"},
    {"levels": 3, "filters": 8, "kernel": 5, "normalization": "instance"},
    {"levels": 4, "filters": 8, "kernel": 3, "normalization": "group"},
    {"levels": 3, "filters": 8, "kernel": 5, "channels": 1},
    {"levels": 3, "filters": 8, "kernel": 5, "classes": 2},
    {"levels": 6, "filters": 4, "kernel": 8},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_parameter_count_follows_from_the_construction(settings):
    assert build(size=64, **settings).count_params() == expected_parameters(**settings)


def test_seed_preset_has_the_seeds_parameters():
    model = build_model(network(**SEED_NETWORK), size=512, channels=3, classes=6)
    assert model.count_params() == 124_557_126
    assert expected_parameters(8, 16, 7) == 124_557_126
    text = summary_text(model)
    assert "124,557,126" in text
    assert "bridge_conv2" in text


def test_settings_shrink_and_grow_with_the_level():
    base = {"filters": 16, "kernel": 7, "dilation": 3, "dropout": 0.05}
    found = [level_settings(i, **base, max_filters=None) for i in range(5)]
    assert [s.filters for s in found] == [16, 32, 64, 128, 256]
    assert [s.kernel for s in found] == [7, 5, 3, 3, 3]
    assert [s.dilation for s in found] == [3, 2, 1, 1, 1]
    assert [s.dropout for s in found] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert level_settings(4, **base, max_filters=100).filters == 100


def test_every_layer_has_its_levels_settings():
    model = build(size=32, levels=3, filters=4, kernel=7, dilation=2, dropout=0.1)
    for level, names in enumerate(
        (("encoder0", "decoder0"), ("encoder1", "decoder1"), ("bridge",))
    ):
        for name in names:
            for part in ("conv1", "conv2"):
                layer = model.get_layer(f"{name}_{part}")
                assert layer.filters == 4 * 2**level
                assert layer.kernel_size == (7 - 2 * level,) * 2
                assert layer.dilation_rate == (max(1, 2 - level),) * 2
                assert layer.output.shape[1] == 32 // 2**level
            if level:
                assert model.get_layer(f"{name}_dropout").rate == pytest.approx(0.1 * level)


@pytest.mark.parametrize("size", [16, 48, None])
def test_probabilities_at_full_resolution(size):
    model = build(size=size, levels=3, filters=4)
    images = np.random.default_rng(0).integers(0, 256, (2, size or 24, size or 24, 3), np.uint8)
    found = model.predict_on_batch(images)
    assert found.shape == (*images.shape[:3], 6)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)


def test_bfloat16_keeps_weights_and_softmax_in_float32():
    exact, fast = (
        build(size=16, levels=2, filters=4, input_scale=1 / 255, dtype=dtype, seed=3)
        for dtype in ("float32", "mixed_bfloat16")
    )
    assert {weight.dtype for weight in fast.weights} == {"float32"}
    assert fast.get_layer("encoder0_conv1").compute_dtype == "bfloat16"
    assert fast.get_layer("probabilities").compute_dtype == "float32"
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    np.testing.assert_allclose(
        fast.predict_on_batch(images), exact.predict_on_batch(images), atol=0.02
    )


def test_input_scale_is_inside_the_model():
    raw = build(size=16, levels=2, filters=4, seed=1)
    scaled = build(size=16, levels=2, filters=4, seed=1, input_scale=1 / 255)
    grey = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    np.testing.assert_allclose(
        scaled.predict_on_batch(grey), raw.predict_on_batch(grey / np.float32(255)), atol=1e-5
    )


def test_background_prior_is_what_an_untrained_network_predicts():
    model = build(size=16, levels=2, filters=4, background_prior=0.97)
    found = model.predict_on_batch(np.zeros((1, 16, 16, 3), np.uint8))  # no signal: biases alone
    np.testing.assert_allclose(found[..., 0], 0.97, atol=1e-4)
    np.testing.assert_allclose(found[..., 1:], 0.03 / 5, atol=1e-4)


def test_seed_decides_the_weights():
    first, again, other = (build(size=16, levels=2, filters=4, seed=s) for s in (1, 1, 2))
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [m.get_layer("encoder0_conv1").get_weights()[0] for m in (first, other)]
    assert not np.array_equal(*kernels)
    one, two = (
        first.get_layer(f"{name}_conv2").get_weights()[0] for name in ("encoder0", "decoder0")
    )
    assert not np.array_equal(one, two)  # no two layers share a seed


@pytest.mark.parametrize(
    ("dtype", "normalization"), [("float32", "batch"), ("mixed_bfloat16", "instance")]
)
def test_saved_model_loads_safely_and_predicts_the_same(tmp_path: Path, dtype, normalization):
    model = build(
        size=16, levels=3, filters=4, normalization=normalization, input_scale=1 / 255, dtype=dtype
    )
    save_model(model, tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict_on_batch(images), model.predict_on_batch(images))
    assert [p.name for p in tmp_path.iterdir()] == ["model.keras"]


def test_equal_models_are_equal_files(tmp_path: Path):
    for name in ("a.keras", "b.keras"):
        save_model(build(size=16, levels=2, filters=4, seed=5), tmp_path / name)
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()


def test_one_step_lowers_the_loss():
    model = build(size=16, levels=2, filters=4, dropout=0, input_scale=1 / 255)
    model.compile(keras.optimizers.SGD(0.05), loss_of("ce_dice"), jit_compile=False)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 16, 16, 3), np.uint8)
    labels = (images[..., 0] // 52).clip(0, 5)
    before = float(model.train_on_batch(images, labels))
    after = float(model.test_on_batch(images, labels))
    assert after < before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 100, "levels": 4}, "not divisible"),
        ({"size": 16, "levels": 0}, "below 1"),
        ({"size": 16, "levels": 2, "normalization": "layer"}, "is none of"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)
