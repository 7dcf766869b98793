"""A model goes to the hub and comes back the same; what could run code does not come in."""

import functools
import json
import zipfile

import keras
import numpy as np
import pytest
from huggingface_hub import constants

from mbhseg.errors import InputError
from mbhseg.files import write_json
from mbhseg.inference import bundle
from mbhseg.nn.network.saving import save_model
from mbhseg.nn.network.trust import refuse_foreign_code
from tests.hubserver import connected_hub
from tests.nn.conftest import build

WINDOW = {"name": "seed", "level": 127.5, "width": 255.0}
RUN = {
    "run": "flexunet-f0-s1",
    "input": {"size": 16, "windows": [WINDOW]},
    "classes": ["background", "EDH", "IPH", "IVH", "SAH", "SDH"],
    "versions": {"keras": keras.__version__},
}

load = functools.partial(
    bundle.load, batch=8, precision="model", mirror=False, calibrated=True, processed=True
)


def model_folder(path, seed=1, **changes):
    network = build(size=16, levels=2, filters=4, input_scale=1 / 255, seed=seed)
    save_model(network, path / "model.keras")
    write_json(path / "run.json", {**RUN, **changes})
    return path


@pytest.fixture
def folder(tmp_path):
    model = model_folder(tmp_path / "model")
    write_json(model / "calibration.json", {"temperature": 1.7})
    chosen = {"reconcile": True, "min_ml": dict.fromkeys(("EDH", "IPH", "IVH", "SAH", "SDH"), 0.1)}
    write_json(model / "postprocess.json", chosen)
    (model / "history.csv").write_text("not part of it")
    return model


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with connected_hub(monkeypatch) as server:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        server.tokens.add("hf_writer")
        yield server


HU = np.random.default_rng(0).integers(-100, 200, (16, 16, 2)).astype(np.int16)


def answer(predictor):
    return np.stack([plane for _, plane in predictor.planes(HU)])


def test_round_trip_by_revision(folder, hub, tmp_path):
    commit = bundle.publish(folder, "lab/flexunet", tag="v1")
    assert set(hub.repos["model", "lab/flexunet"].commits[commit]) == {
        *("model.keras", "run.json", "calibration.json", "postprocess.json")
    }
    here, chosen = load([str(folder)])
    newer = bundle.publish(model_folder(tmp_path / "newer", seed=2), "lab/flexunet")
    assert newer != commit
    for revision in ("v1", commit):
        there, also = load([f"lab/flexunet@{revision}"])
        np.testing.assert_array_equal(answer(there), answer(here))
        assert also == chosen
        assert chosen.reconcile
    latest, _ = load(["lab/flexunet"])
    assert not np.array_equal(answer(latest), answer(here))


def test_what_the_hub_refuses(folder, hub, monkeypatch):
    with pytest.raises(InputError, match="no such repository"):
        load(["lab/nothing"])
    bundle.publish(folder, "lab/flexunet")
    with pytest.raises(InputError, match="no such revision"):
        load(["lab/flexunet@v9"])
    hub.put("lab/data", "notes.json", b"{}", lfs=False, kind="model")
    with pytest.raises(InputError, match=r"has no model\.keras"):
        load(["lab/data"])
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(InputError, match="the hub refuses the token"):
        bundle.publish(folder, "lab/other")


def test_names_that_are_no_model(tmp_path):
    with pytest.raises(InputError, match="names no model"):
        load([""])
    for name in ("nowhere", "/nowhere/at/all", "./lab/model"):
        with pytest.raises(InputError, match="no such model folder"):
            load([name])
    with pytest.raises(InputError, match=r"has no model\.keras"):
        bundle.publish(tmp_path, "lab/x")


@pytest.mark.parametrize("missing", ["model.keras", "run.json"])
def test_a_folder_without_a_file_of_a_model(tmp_path, missing):
    folder = model_folder(tmp_path / "A")
    (folder / missing).unlink()
    with pytest.raises(InputError, match=rf"A: has no {missing}"):
        load([str(folder)])


def spoilt(folder, change=None, member=None):
    """The folder's model with its config changed, or with a further member in the zip."""
    path = folder / "model.keras"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if change:
        config = json.loads(members["config.json"])
        change(config["config"]["layers"][1])
        members["config.json"] = json.dumps(config).encode()
    if member:
        members[member] = b"cos\nsystem\n(S'true'\ntR."
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"change": lambda layer: layer.update(module="os", class_name="system")}, "code of 'os'"),
        ({"change": lambda layer: layer.update(module="keras.utils")}, r"code of 'keras\.utils'"),
        ({"change": lambda layer: layer.update(class_name="Lambda")}, "code of its own"),
        (
            {"change": lambda layer: layer["config"].update(x={"class_name": "__lambda__"})},
            "its own",
        ),
        ({"member": "weights.pkl"}, r"holds 'weights\.pkl'"),
    ],
)
def test_code_of_others_does_not_come_in(folder, hub, options, said):
    bundle.publish(folder, "lab/flexunet")
    hub.put("lab/flexunet", "model.keras", spoilt(folder, **options).read_bytes(), kind="model")
    with pytest.raises(InputError, match=said):
        load(["lab/flexunet"])
    with pytest.raises(InputError, match=said):
        bundle.publish(folder, "lab/flexunet")


def test_no_model_at_all(folder):
    (folder / "model.keras").write_bytes(b"PK")
    with pytest.raises(InputError, match="not a readable model"):
        refuse_foreign_code(folder / "model.keras")


@pytest.mark.parametrize("version", ["2.15.0", "99.0.0", "3.99.1"])
def test_models_of_other_times(tmp_path, version):
    model_folder(tmp_path, versions={"keras": version})
    with pytest.raises(InputError, match=rf"run\.json: .*Keras {version}\b.* is installed"):
        load([str(tmp_path)])


def test_ensembles_are_means(tmp_path):
    models = [str(model_folder(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    (first, _), (second, _), (both, chosen) = (
        load(models[:1]),
        load(models[1:]),
        load(models),
    )
    np.testing.assert_allclose(answer(both), (answer(first) + answer(second)) / 2, atol=1e-6)
    assert chosen is None
    other = {"size": 16, "windows": [WINDOW], "orientation": "LPS"}
    model_folder(tmp_path / "3", seed=3, input=other)
    with pytest.raises(InputError, match=r"members see different slices: .*LAS.*LPS"):
        load([*models, str(tmp_path / "3")])


def test_mirror_images_are_averaged(tmp_path):
    model = str(model_folder(tmp_path))
    straight = answer(load([model])[0])
    mirrored = answer(load([model], mirror=True)[0])
    hu = HU[::-1]
    turned = np.stack([plane[::-1] for _, plane in load([model])[0].planes(hu)])
    np.testing.assert_allclose(mirrored, (straight + turned) / 2, atol=1e-5)


def test_a_stored_temperature_counts(tmp_path):
    folder = model_folder(tmp_path)
    sure = answer(load([str(folder)])[0])
    write_json(folder / "calibration.json", {"temperature": 3.0})
    calmer = answer(load([str(folder)])[0])
    assert calmer.max() < sure.max()
    powered = sure ** (1 / 3)
    np.testing.assert_allclose(calmer, powered / powered.sum(-1, keepdims=True), atol=1e-5)
    for broken in ({"temperature": 0}, {"temperature": "hot"}, {}):
        write_json(folder / "calibration.json", broken)
        with pytest.raises(InputError, match="temperature"):
            load([str(folder)])
