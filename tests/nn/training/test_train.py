"""A whole training on toy slices: it learns, writes what it promises, and can be repeated."""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.files import read_table, sha256
from mbhseg.imaging.masks import decode_rgb, read_mask
from mbhseg.imaging.png import read_image
from mbhseg.inference.predictor import Predictor
from mbhseg.nn.network.saving import load_model
from mbhseg.nn.openvino import compiled, translated
from mbhseg.nn.training.callbacks import WriteHistory
from mbhseg.nn.training.fit import TrainOutputs
from mbhseg.nn.training.pictures import draw_curves
from mbhseg.nn.training.train import train
from mbhseg.provenance.environment import git_state
from tests.nn.conftest import loss_of, network, training

SIZE = 32
AUGMENTED = {
    "network": {"levels": 2, "filters": 8, "normalization": "instance"},
    "sampling": {"foreground": 0.5, "slices_per_epoch": 20},
    "augmentation": {"flip_left_right": 0.5, "affine": 1.0, "rotation_degrees": 10},
    "metrics": ["dice_coef_multiclass", "bleed_dice"],
}


def weights_digest(path: Path) -> str:
    digest = hashlib.sha256()
    for array in load_model(path).get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def run(train_toy) -> TrainOutputs:
    return train_toy(**AUGMENTED, epochs=3, previews={"slices": 2, "every": 2})


@pytest.fixture(scope="module")
def record(run) -> dict:
    return json.loads(run.run_json.read_text())


def test_history_has_a_row_an_epoch(run):
    history = read_table(run.history)
    assert history["epoch"].tolist() == [1, 2, 3]
    scores = ["loss", "val_loss", "val_dice", "dice_coef_multiclass", "bleed_dice", "learning_rate"]
    assert set(scores) | {f"val_dice_{key}" for key in KEYS} <= set(history)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert history["val_loss"].iloc[-1] < history["val_loss"].iloc[0]


def test_events_hold_the_history(run):
    history = read_table(run.history)
    records = tf.data.TFRecordDataset(str(run.events))  # checks the records' checksums
    events = [tf.compat.v1.Event.FromString(record.numpy()) for record in records]
    assert events[0].file_version == "brain.Event:2"
    assert [event.step for event in events[1:]] == history["epoch"].tolist()
    assert not any(event.wall_time for event in events)
    for event, row in zip(events[1:], history.to_dict("records"), strict=True):
        found = {value.tag: value.simple_value for value in event.summary.value}
        assert set(found) == set(history) - {"epoch"}
        assert found["val_loss"] == pytest.approx(row["val_loss"])


def test_curves_are_drawn_when_they_are_old_and_at_the_end(run, tmp_path):
    history = read_table(run.history)
    for rows in (1, 2):
        draw_curves(history[:rows], tmp_path / f"{rows}.png", "a run")
    of_one, of_two = (sha256(tmp_path / f"{rows}.png") for rows in (1, 2))
    table, curves = tmp_path / "history.csv", tmp_path / "curves.png"
    first, second = history.drop(columns="epoch").to_dict("records")[:2]
    writer = WriteHistory(table, curves, "a run", seconds=3600)
    writer.on_epoch_end(0, first)
    assert sha256(curves) == of_one
    writer.on_epoch_end(1, second)
    assert len(read_table(table)) == 2
    assert sha256(curves) == of_one
    writer.on_train_end()
    assert sha256(curves) == of_two


def test_curves_and_previews_are_pictures(run, toy):
    assert read_image(run.curves).std() > 10
    found = sorted(path.name for path in run.previews.iterdir())
    strips = [name for name in found if name != "filmstrip.png"]
    assert "filmstrip.png" in found
    assert len(strips) == 4  # two slices after epochs 1 and 3
    assert {name[-12:] for name in strips} == {"epoch001.png", "epoch003.png"}
    table, root = toy
    for name in strips:
        case, plane = name[: -len("_000_epoch001.png")], int(name[-16:-13])
        row = table[(table["case"] == case) & (table["slice"] == plane)].iloc[0]
        assert row["subset"] == "valid"
        strip = read_image(run.previews / name)
        assert strip.shape == (SIZE, 3 * SIZE + 8, 3)
        np.testing.assert_array_equal(strip[:, :SIZE], read_image(root / row["image"]))
        reference = strip[:, SIZE + 4 : 2 * SIZE + 4]
        np.testing.assert_array_equal(reference, read_image(root / row["mask"]))


def test_preview_shows_what_the_epoch_predicts_and_the_time_budget_ends_it(train_toy, toy):
    outputs = train_toy(epochs=50, time_budget_minutes=1e-6, previews={"slices": 1})
    assert len(read_table(outputs.history)) == 1
    table, root = toy
    (strip,) = outputs.previews.glob("*_epoch001.png")
    case, plane = strip.name[: -len("_000_epoch001.png")], int(strip.name[-16:-13])
    row = table[(table["case"] == case) & (table["slice"] == plane)].iloc[0]
    images = read_image(root / row["image"])[None]
    predicted = load_model(outputs.model).predict_on_batch(images)[0].argmax(axis=-1)
    np.testing.assert_array_equal(
        decode_rgb(read_image(strip)[:, -SIZE:], strip), predicted.astype(np.uint8)
    )


def test_run_json_describes_the_run(record, run):
    assert (record["run"], record["experiment"], record["fold"], record["seed"]) == (
        "toy-f0-s7",
        "toy",
        0,
        7,
    )
    assert record["input"]["size"] == SIZE
    assert record["input"]["windows"] == [{"name": "seed", "level": 127.5, "width": 255.0}] * 3
    assert record["classes"] == ["background", *KEYS]
    assert record["network"]["levels"] == 2
    assert record["training"]["optimizer"]["name"] == "adamw"  # the whole recipe
    assert record["parameters"] == load_model(run.model).count_params()
    assert record["data"]["train_slices"] == 12
    assert record["data"]["valid_slices"] == 6
    assert len(record["data"]["manifest_sha256"]) == 64
    assert record["device"]["threads"] == 2
    assert {"keras", "tensorflow", "python", "mbhseg"} <= set(record["versions"])
    assert record["git"] == git_state()
    assert record["ended_by"] == "last epoch"
    assert record["timings"]["images"] == 60
    assert record["timings"]["images_per_second"] > 0
    assert len(record["timings"]["epoch_seconds"]) == 3


def test_saved_weights_are_the_best_epochs(train_toy, toy, record, run):
    history = read_table(run.history)
    best = history["val_dice"].idxmax()
    assert record["best"]["epoch"] == best + 1
    assert record["best"]["val_dice"] == pytest.approx(history["val_dice"][best])
    # a learning rate that destroys the network: the first epoch stays the best
    broken = train_toy(
        epochs=3,
        monitor="val_loss",
        optimizer={"learning_rate": 3.0, "clip_norm": None},
        schedule={"name": "constant"},
    )
    losses = read_table(broken.history)["val_loss"]
    best_epoch = json.loads(broken.run_json.read_text())["best"]["epoch"]
    assert best_epoch == losses.idxmin() + 1
    table, root = toy
    valid = table[table["subset"] == "valid"]
    model = load_model(broken.model)
    images = np.stack([read_image(root / name) for name in valid["image"]])
    labels = np.stack([read_mask(root / name) for name in valid["mask"]])
    parts = [(images[i : i + 4], labels[i : i + 4]) for i in (0, 4)]
    loss = loss_of("ce_dice")
    found = [float(loss(y, model.predict_on_batch(x))) * len(x) for x, y in parts]
    assert sum(found) / len(images) == pytest.approx(losses.min(), rel=1e-4)


def test_two_trainings_give_the_same_files(train_toy, run):
    again = train_toy(**AUGMENTED, epochs=3, previews={"slices": 2, "every": 2})
    assert weights_digest(again.model) == weights_digest(run.model)
    for name in ("model", "history", "curves", "events"):
        assert getattr(again, name).read_bytes() == getattr(run, name).read_bytes(), name
    for picture in run.previews.iterdir():
        assert (again.previews / picture.name).read_bytes() == picture.read_bytes()


def test_model_needs_no_code_of_ours(run):
    """The saved model is plain Keras: no optimizer, no layer of this package."""
    model = keras.saving.load_model(run.model)
    assert getattr(model, "optimizer", None) is None
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    hu = np.zeros((SIZE, SIZE, 2), np.int16)
    assert Predictor.load(run.model.parent).labels(hu).shape == hu.shape


def test_a_trained_model_can_be_quantized(run, record, toy):
    """By the ranges that its validation slices gave, which its run.json keeps."""
    assert all(low <= high for low, high in record["ranges"].values())
    table, root = toy
    images = np.stack([read_image(root / name) for name in table["image"][:6]])
    model = load_model(run.model)
    exact = model.predict_on_batch(images)
    coarse = compiled(translated(model, record["ranges"]), bfloat16=False, threads=1)(images)
    assert 0 < np.abs(coarse - exact).mean() < 0.02


def broken(*_):
    raise RuntimeError("no such processor")


@pytest.mark.parametrize("observe", [broken, lambda *_: {"up0": [0.0, float("inf")]}])
def test_a_training_is_not_lost_for_want_of_ranges(train_toy, monkeypatch, observe):
    monkeypatch.setattr("mbhseg.nn.training.train.observed", observe)
    outputs = train_toy(epochs=1, previews={"slices": 0})
    assert json.loads(outputs.run_json.read_text())["ranges"] is None
    assert outputs.model.is_file()


def test_moving_average_is_what_is_validated_and_kept(train_toy):
    settings = {"epochs": 2, "schedule": {"name": "constant"}, "previews": {"slices": 0}}
    plain = train_toy(**settings, optimizer={"learning_rate": 0.01})
    frozen = train_toy(**settings, optimizer={"learning_rate": 0.01, "ema": 0.999999})
    # an average that hardly moves validates as the untrained network, while the loss falls alike
    a, b = read_table(plain.history), read_table(frozen.history)
    assert b["loss"][1] == pytest.approx(a["loss"][1], rel=1e-3)
    assert b["val_loss"][1] == pytest.approx(b["val_loss"][0], rel=1e-3)
    assert a["val_loss"][1] < a["val_loss"][0] * 0.98


@pytest.mark.parametrize("targets", ["random_rater", pytest.param("soft", marks=pytest.mark.slow)])
def test_raters_as_targets(train_toy, toy_raters, run, targets):
    """Other training, the same validation; and repeated to the bit."""
    settings = {**AUGMENTED, "targets": targets, "deep_supervision": 1, "previews": {"slices": 0}}
    settings |= {"network": {"levels": 3, "filters": 4}}
    first, again = (train_toy(**settings, raters=toy_raters) for _ in range(2))
    assert first.model.read_bytes() == again.model.read_bytes()
    assert first.history.read_bytes() == again.history.read_bytes()
    model = load_model(first.model)
    assert "probabilities1" not in {layer.name for layer in model.layers}
    record = json.loads(first.run_json.read_text())
    assert record["training"]["targets"] == targets
    assert record["parameters"] == model.count_params()
    old = json.loads(run.run_json.read_text())
    assert record["data"]["manifest_sha256"] != old["data"]["manifest_sha256"]


def test_validation_stays_on_the_consensus(train_toy, toy, toy_raters):
    outputs = train_toy(epochs=1, targets="soft", raters=toy_raters, previews={"slices": 0})
    table, root = toy
    valid = table[table["subset"] == "valid"]
    images = np.stack([read_image(root / name) for name in valid["image"]])
    labels = np.stack([read_mask(root / name) for name in valid["mask"]])
    model, loss = load_model(outputs.model), loss_of("ce_dice")
    parts = [(images[i : i + 4], labels[i : i + 4]) for i in (0, 4)]
    found = [float(loss(y, model.predict_on_batch(x))) * len(x) for x, y in parts]
    expected = read_table(outputs.history)["val_loss"][0]
    assert sum(found) / len(images) == pytest.approx(expected, rel=1e-4)


def test_raters_targets_without_raters_are_refused(train_toy):
    with pytest.raises(InputError, match=r"^training\.targets: soft .*raters"):
        train_toy(targets="soft")


def test_early_stopping_and_plateau(train_toy):
    still = {
        "epochs": 6,
        "monitor": "val_loss",
        "optimizer": {"name": "sgd", "learning_rate": 1e-12, "weight_decay": 0},
        "previews": {"slices": 0},
    }
    stopped = train_toy(
        **still, early_stopping={"patience": 2}, schedule={"name": "plateau", "patience": 1}
    )
    history = read_table(stopped.history)
    assert len(history) in (3, 4)
    assert history["learning_rate"].iloc[-1] < history["learning_rate"].iloc[0]


def test_progress(train_toy, capsys):
    train_toy(epochs=2, previews={"slices": 0})
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    for word in ("epoch 2/2", "loss", "val_dice", "images/s", "ETA 0 s"):
        assert word in lines[-1]


def test_cache_is_kept_where_asked(toy, tmp_path):
    table, root = toy
    folder = tmp_path / "run"
    train(
        slices=table,
        root=root,
        network=network(levels=1, filters=2),
        training=training(epochs=1, batch=6, previews={"slices": 0}),
        input={"size": SIZE, "windows": [{"name": "seed", "level": 127.5, "width": 255.0}]},
        identity={"run": "toy-f0-s1", "experiment": "toy", "fold": 0, "seed": 1},
        outputs=TrainOutputs.within(folder),
        cache=tmp_path / "cache",
    )
    assert len(list((tmp_path / "cache").glob("*/images.npy"))) == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "curves.png",
        "events.out.tfevents",
        "history.csv",
        "model.keras",
        "previews",
        "run.json",
    ]


@pytest.mark.parametrize("subset", ["train", "valid"])
def test_empty_subset_is_refused(toy, tmp_path, subset):
    table: pd.DataFrame = toy[0]
    with pytest.raises(InputError, match=f"subset {subset} of toy-f0-s1: .*no slices"):
        train(
            slices=table[table["subset"] != subset],
            root=toy[1],
            network=network(),
            training=training(),
            input={"size": SIZE, "windows": []},
            identity={"run": "toy-f0-s1", "experiment": "toy", "fold": 0, "seed": 1},
            outputs=TrainOutputs.within(tmp_path),
        )


def test_missing_gpu_is_refused(train_toy):
    if keras.backend.backend() == "tensorflow" and tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU here")
    with pytest.raises(InputError, match=r"^training\.require_gpu: .* no GPU"):
        train_toy(require_gpu=True)


def test_starts_from_a_trained_model(train_toy):
    first = train_toy(epochs=1)
    again = train_toy(
        epochs=1, start_from=str(first.model), optimizer={"learning_rate": 1e-12}, previews={}
    )
    before, after = (load_model(o.model).get_weights() for o in (first, again))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    with pytest.raises(InputError, match=r"model\.keras: .* parameters .*same network"):
        train_toy(epochs=1, start_from=str(first.model), network={"filters": 4})
