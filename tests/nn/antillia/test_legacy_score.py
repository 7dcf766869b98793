"""The reference project's metric and evaluation, also on its own predictions of real slices."""

import numpy as np
import pandas as pd
import pytest

from mbhseg.errors import InputError
from mbhseg.imaging.masks import encode_rgb, read_mask
from mbhseg.imaging.png import write_png
from mbhseg.nn.antillia.legacy_score import evaluate_slices
from mbhseg.nn.network.saving import save_model
from mbhseg.nn.training.losses import cross_entropy, dice_coef_multiclass
from tests.nn.conftest import build


@pytest.mark.real_ct
def test_metric_of_the_seeds_predictions(real_ct):
    scores = []
    for path in sorted((real_ct / "slices/masks").glob("*.png")):
        reference = read_mask(path)[None]
        predicted = read_mask(real_ct / "slices/seed_predictions" / path.name)
        onehot = np.eye(6, dtype=np.float32)[predicted][None]
        scores.append(float(dice_coef_multiclass(reference, onehot)[0]))
    assert len(scores) == 36
    assert np.mean(scores) == pytest.approx(0.9942, abs=5e-5)


@pytest.fixture
def model(tmp_path):
    model = build(size=16, levels=2, filters=4, input_scale=1 / 255)
    save_model(model, tmp_path / "model.keras")
    return model


def write(tmp_path, count: int, size: int = 16) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size, 3), np.uint8)
    labels = rng.integers(0, 6, (count, size, size)).astype(np.uint8)
    rows = []
    for i in range(count):
        write_png(tmp_path / f"image{i}.png", images[i])
        write_png(tmp_path / f"mask{i}.png", encode_rgb(labels[i]))
        rows.append((f"image{i}.png", f"mask{i}.png"))
    return pd.DataFrame(rows, columns=["image", "mask"]), images, labels


def test_evaluation_is_the_mean_over_slices(tmp_path, model):
    table, images, labels = write(tmp_path, 5)
    found = evaluate_slices(tmp_path / "model.keras", table, tmp_path, batch=2)
    predicted = model.predict_on_batch(images)
    assert found["n_slices"] == 5
    assert found["categorical_crossentropy"] == pytest.approx(
        float(np.mean(cross_entropy(labels, predicted))), rel=1e-5
    )
    assert found["dice_coef_multiclass"] == pytest.approx(
        float(np.mean(dice_coef_multiclass(labels, predicted))), rel=1e-5
    )


def test_no_slices(tmp_path, model):
    found = evaluate_slices(tmp_path / "model.keras", write(tmp_path, 0)[0], tmp_path)
    assert found["n_slices"] == 0
    assert np.isnan(found["dice_coef_multiclass"])


def test_slices_of_another_size_are_refused(tmp_path, model):
    table, *_ = write(tmp_path, 1, size=20)
    with pytest.raises(InputError, match="differ"):
        evaluate_slices(tmp_path / "model.keras", table, tmp_path)
