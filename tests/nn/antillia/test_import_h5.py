"""A reference best_model.h5 becomes our model and predicts the same, or is refused."""

import importlib.metadata
import json
import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.files import read_json, sha256
from mbhseg.imaging.display import network_input, to_display
from mbhseg.imaging.windows import Window
from mbhseg.inference.predictor import Predictor
from mbhseg.nn.antillia.import_h5 import import_run, import_weights
from mbhseg.nn.antillia.keras2 import open_saved
from mbhseg.nn.network.saving import load_model, save_model
from tests.nn.environments import python_with, run_quietly, tensorflow_215
from tests.nn.seed_reference import (
    Settings,
    Weights,
    construction,
    draw_weights,
    moderate,
    run,
    write_h5,
)

HERE = Path(__file__).resolve().parents[1]  # the programs that other environments run
PLAIN = Settings(levels=3, filters=4, kernel=7, size=16)
RICH = Settings(
    levels=3,
    filters=3,
    kernel=5,
    dilation=2,
    normalization=True,
    activation="elu",
    normalize_input=True,
    size=16,
)


def images_of(settings: Settings, seed: int = 1) -> np.ndarray:
    shape = (2, settings.size, settings.size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def trained(settings: Settings) -> tuple[Weights, np.ndarray, np.ndarray]:
    """Weights, images, and the probabilities that the reference computes from them."""
    images = images_of(settings)
    weights = draw_weights(settings, seed=5)
    moderate(settings, weights, images)
    return weights, images, run(settings, weights, images)


@pytest.fixture(scope="module")
def plain() -> tuple[Weights, np.ndarray, np.ndarray]:
    return trained(PLAIN)


@pytest.mark.parametrize("whole", [True, False], ids=["model", "weights"])
@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("settings", [PLAIN, RICH], ids=["plain", "rich"])
def test_an_imported_model_predicts_as_the_seeds(tmp_path, settings, whole, before):
    weights, images, expected = trained(settings)
    write_h5(tmp_path / "best_model.h5", settings, weights, whole=whole, before=before)
    model = import_weights(tmp_path / "best_model.h5", settings.network(), size=settings.size)
    assert expected.max(axis=-1).mean() < 0.8
    np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-4, rtol=0)


def test_weights_fit_another_size(tmp_path, plain):
    weights, _, _ = plain
    write_h5(tmp_path / "best_model.h5", PLAIN, weights)
    larger = replace(PLAIN, size=24)
    model = import_weights(tmp_path / "best_model.h5", PLAIN.network(), size=24)
    images = images_of(larger)
    np.testing.assert_allclose(
        model.predict_on_batch(images), run(larger, weights, images), atol=1e-4, rtol=0
    )


def test_a_list_of_names_may_lie_in_pieces(tmp_path, plain):
    weights, images, expected = plain
    path = tmp_path / "best_model.h5"
    write_h5(path, PLAIN, weights, attribute_limit=100)
    with h5py.File(path) as file:
        assert "layer_names" not in file["model_weights"].attrs
        assert "layer_names3" in file["model_weights"].attrs
    model = import_weights(path, PLAIN.network(), size=PLAIN.size)
    np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-4, rtol=0)


def test_names_that_a_shared_graph_counted_on(tmp_path, plain):
    weights, images, expected = plain
    path = tmp_path / "best_model.h5"
    write_h5(path, PLAIN, weights, whole=False)
    with h5py.File(path, "a") as file:
        node = file["conv2d_1"]
        node.move("conv2d_1/kernel:0", "model_1/conv2d_1/kernel_1:0")
        node.attrs["weight_names"] = [b"model_1/conv2d_1/kernel_1:0", b"conv2d_1/bias:0"]
    model = import_weights(path, PLAIN.network(), size=PLAIN.size)
    np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-4, rtol=0)


def test_a_file_that_keras_3_wrote_in_that_layout(tmp_path, plain):
    weights, images, expected = plain
    write_h5(tmp_path / "best_model.h5", PLAIN, weights)
    model = import_weights(tmp_path / "best_model.h5", PLAIN.network(), size=PLAIN.size)
    model.save(tmp_path / "again.h5")
    again = import_weights(tmp_path / "again.h5", PLAIN.network(), size=PLAIN.size)
    np.testing.assert_allclose(again.predict_on_batch(images), expected, atol=1e-4, rtol=0)


def refused(path: Path, settings: Settings, size: int | None = None, **changes: object) -> str:
    with pytest.raises(InputError) as caught:
        import_weights(path, settings.network() | changes, size=size or settings.size)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    return line


@pytest.mark.parametrize("whole", [True, False], ids=["model", "weights"])
@pytest.mark.parametrize(
    ("settings", "changes", "words"),
    [
        (
            PLAIN,
            {"kernel": 3},
            (
                "layer conv2d is Conv2D with kernel (7, 7, 3, 4), bias (4,)",
                "the network's encoder0_conv1 is Conv2D with kernel (3, 3, 3, 4), bias (4,)",
                "Set network.kernel: 7",
            ),
        ),
        (
            PLAIN,
            {"filters": 8},
            ("layer conv2d ", "(7, 7, 3, 4)", "(7, 7, 3, 8)", "Set network.filters: 4"),
        ),
        (
            PLAIN,
            {"levels": 2},
            ("layer conv2d_4 ", "the network's up0", "Set network.levels: 3"),
        ),
        (
            PLAIN,
            {"levels": 4, "kernel": 5},
            ("layer conv2d ", "Set network.levels: 3, network.kernel: 7"),
        ),
        (
            PLAIN,
            {"max_filters": 8},
            ("layer conv2d_4 ", "encoder", "Set network.max_filters: null"),
        ),
        (
            PLAIN,
            {"normalization": "batch"},
            ("layer conv2d_1 ", "BatchNormalization", "Set network.normalization: null"),
        ),
        (
            RICH,
            {"normalization": None},
            (
                "layer batch_normalization is BatchNormalization with gamma (3,)",
                'Set network.normalization: "batch"',
            ),
        ),
        (
            RICH,
            {"normalization": "instance"},
            ("layer batch_normalization ", "GroupNormalization", "network.normalization"),
        ),
        (RICH, {"input_scale": 1.0}, ("0.00392157", "Set network.input_scale: 0.0039215")),
        (RICH, {"input_scale": 0.01}, ("0.00392157", "ours by 0.01", "network.input_scale")),
        (PLAIN, {"input_scale": 1 / 255}, ("by 1, ours by 0.0039", "network.input_scale: 1.0")),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, settings, changes, words, whole):
    changes = dict(changes)
    size = 24 if changes.get("levels") == 4 else None
    path = tmp_path / "best_model.h5"
    write_h5(path, settings, draw_weights(settings, 0), whole=whole)
    if "max_filters" in changes:  # the message differs only in where the network stops growing
        words = (words[0], words[-1])
    line = refused(path, settings, size, **changes)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"activation": "relu"},
            ("layer conv2d has activation elu", "has relu", 'network.activation: "elu"'),
        ),
        (
            {"dilation": 1},
            ("layer conv2d has dilation_rate (2, 2)", "has (1, 1)", "network.dilation: 2"),
        ),
    ],
)
def test_a_whole_model_shows_what_shapes_do_not(tmp_path, changes, words):
    weights = draw_weights(RICH, 0)
    write_h5(tmp_path / "whole.h5", RICH, weights)
    line = refused(tmp_path / "whole.h5", RICH, **changes)
    for word in words:
        assert word in line
    # weights alone cannot tell, and are taken at the config's word
    write_h5(tmp_path / "weights.h5", RICH, weights, whole=False)
    import_weights(tmp_path / "weights.h5", RICH.network() | changes, size=RICH.size)


def test_dropout_and_a_bound_that_binds_nothing_do_not_matter(tmp_path, plain):
    weights, images, expected = plain
    path = tmp_path / "best_model.h5"
    write_h5(path, PLAIN, weights)
    network = PLAIN.network() | {"dropout": 0.3, "max_filters": 16}
    model = import_weights(path, network, size=PLAIN.size)
    np.testing.assert_allclose(model.predict_on_batch(images), expected, atol=1e-4, rtol=0)
    line = refused(path, PLAIN, max_filters=16, kernel=5)
    assert line.endswith("network.kernel: 7")


def test_the_later_spelling_of_activations(tmp_path):
    settings = replace(PLAIN, activation="silu")
    path = tmp_path / "best_model.h5"
    write_h5(path, settings, draw_weights(settings, 0))
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        for i, layer in enumerate(config["config"]["layers"]):
            if layer["config"].get("activation") == "silu":
                later = {"class_name": "function", "config": "swish", "module": "builtins"}
                layer["config"]["activation"] = later if i % 2 else "swish"
        file.attrs["model_config"] = json.dumps(config)
    import_weights(path, settings.network(), size=settings.size)
    assert 'network.activation: "silu"' in refused(path, settings, activation="relu")


def test_the_files_bytecode_is_never_run(tmp_path):
    """Its Lambda holds what is no bytecode at all: whoever unpacked it would fail."""
    path = tmp_path / "best_model.h5"
    write_h5(path, RICH, draw_weights(RICH, 0))
    with h5py.File(path) as file:
        assert "bm90IGJ5dGVjb2Rl" in file.attrs["model_config"]
    model = import_weights(path, RICH.network(), size=RICH.size)
    assert not [x for x in model.layers if isinstance(x, keras.layers.Lambda)]


def no_hdf5(path):
    path.write_bytes(b"PK\x03\x04 no HDF5")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-5000])


def no_keras(path):
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(3)


def not_finite(path):
    with h5py.File(path, "a") as file:
        file["model_weights/conv2d_2/conv2d_2/bias:0"][1] = np.nan


def whole_numbers(path):
    with h5py.File(path, "a") as file:
        node = file["model_weights/conv2d_2/conv2d_2"]
        del node["bias:0"]
        node["bias:0"] = np.zeros(8, np.int64)


def lost_data(path):
    with h5py.File(path, "a") as file:
        del file["model_weights/conv2d_2/conv2d_2/bias:0"]


def outside_link(path):
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["bias"] = np.zeros(8, np.float32)
    with h5py.File(path, "a") as file:
        node = file["model_weights/conv2d_2/conv2d_2"]
        del node["bias:0"]
        node["bias:0"] = h5py.ExternalLink(str(other), "bias")


def outside_data(path):
    other = path.with_name("other.bin")
    other.write_bytes(bytes(32))
    with h5py.File(path, "a") as file:
        node = file["model_weights/conv2d_2/conv2d_2"]
        del node["bias:0"]
        node.create_dataset("bias:0", (8,), "<f4", external=[(str(other), 0, 32)])


def broken_config(path):
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = '{"config": {"layers": [{"config": {}}'


def other_classes(path):
    with h5py.File(path, "a") as file:
        node = file["model_weights/conv2d_10/conv2d_10"]
        for name, shape in (("kernel:0", (1, 1, 4, 4)), ("bias:0", (4,))):
            del node[name]
            node[name] = np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (no_hdf5, ("not a readable HDF5 file",)),
        (cut_short, ("not a readable HDF5 file",)),
        (no_keras, ("has no layer_names of Keras",)),
        (Path.unlink, ("is not there", "the experiment's weights")),
        (not_finite, ("bias of layer conv2d_2 is not finite",)),
        (whole_numbers, ("conv2d_2/bias:0 of layer conv2d_2 is no array of numbers",)),
        (lost_data, ("conv2d_2/bias:0 is listed in the file",)),
        (outside_link, ("conv2d_2/bias:0 is listed in the file",)),
        (outside_data, ("conv2d_2/bias:0 of layer conv2d_2 is no array of numbers",)),
        (broken_config, ("its model_config is damaged",)),
        (other_classes, ("layer conv2d_10 ", "kernel (1, 1, 4, 4)", "with 6 classes")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_and_foreign_files_are_a_line(tmp_path, plain, harm, words):
    path = tmp_path / "best_model.h5"
    write_h5(path, PLAIN, plain[0])
    harm(path)
    line = refused(path, PLAIN)
    for word in words:
        assert word in line


def test_keras_3s_own_layout_is_told_apart(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(2, 3)])
    model.save_weights(tmp_path / "mine.weights.h5")
    assert "is in Keras 3's layout" in refused(tmp_path / "mine.weights.h5", PLAIN)


def test_an_imported_run_is_one_that_inference_loads(tmp_path, plain):
    weights, _, _ = plain
    path, folder = tmp_path / "best_model.h5", tmp_path / "seed-f0-s137"
    write_h5(path, PLAIN, weights)
    window = {"name": "seed", "level": 127.5, "width": 255}
    import_run(
        path,
        network=PLAIN.network(),
        input={"size": PLAIN.size, "windows": [window]},
        identity={"run": folder.name, "experiment": "seed", "fold": 0, "seed": 137},
        model=folder / "model.keras",
        run_json=folder / "run.json",
    )
    record = read_json(folder / "run.json")
    assert record["run"] == "seed-f0-s137"
    assert record["input"] == {"size": 16, "windows": [window] * 3}
    assert record["classes"] == [c.key for c in CLASSES]
    assert record["network"]["levels"] == 3
    assert record["parameters"] == sum(
        int(np.prod(shape)) for layer in construction(PLAIN) for shape in layer.shapes.values()
    )
    assert record["imported"] == {
        "file": "best_model.h5",
        "sha256": sha256(path),
        "layout": "model",
        "keras_version": "2.15.0",
    }
    assert str(tmp_path) not in (folder / "run.json").read_text()

    hu = np.random.default_rng(0).integers(-50, 300, (PLAIN.size, PLAIN.size, 3)).astype(np.int16)
    labels = Predictor.load(folder).labels(hu)
    images = network_input(hu, [Window(**window)] * 3, PLAIN.size)
    expected = run(PLAIN, weights, images)
    margin = np.sort(expected, axis=-1)
    clear = margin[..., -1] - margin[..., -2] > 1e-3
    assert clear.mean() > 0.9
    for z in range(3):
        found = to_display(labels[:, :, z])
        np.testing.assert_array_equal(found[clear[z]], expected[z].argmax(axis=-1)[clear[z]])


# --- against the real things, in environments of their own -----------------------------------

SESSIONS = {
    "deep": Settings(levels=8, filters=2, kernel=7, size=128),  # as deep as config/seed.yaml
    "dilated": replace(RICH, levels=4, filters=8, dilation=3, size=64),
    "gelu": Settings(
        levels=3, filters=6, kernel=9, dilation=2, dropout=0.1, activation="gelu", size=32
    ),
    # built without eager execution, as the reference is
    "graph": Settings(levels=3, filters=8, kernel=7, normalization=True, activation="mish"),
}
BEFORE = {"deep": 0, "dilated": 1, "gelu": 0, "graph": 2}


@pytest.fixture(scope="module")
def written_by_tensorflow_215(tmp_path_factory) -> Path:
    """Folders by session, each with whole.h5, weights.h5, images.npy and probabilities.npy."""
    python, root = tensorflow_215(), tmp_path_factory.mktemp("tensorflow215")
    jobs = [
        {
            "settings": asdict(settings),
            "folder": str(root / name),
            "before": BEFORE[name],
            "graph": name == "graph",
            "seed": number,
        }
        for number, (name, settings) in enumerate(SESSIONS.items())
    ]
    for graph in (False, True):
        file = root / f"jobs-{graph}.json"
        file.write_text(json.dumps([job for job in jobs if job["graph"] == graph]))
        run_quietly(python, str(HERE / "keras2_generator.py"), str(file))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", SESSIONS)
def test_files_of_tensorflow_2_15_predict_the_same(written_by_tensorflow_215, name):
    folder, settings = written_by_tensorflow_215 / name, SESSIONS[name]
    images, expected = (np.load(folder / f"{x}.npy") for x in ("images", "probabilities"))
    assert expected.max(axis=-1).mean() < 0.8
    for layout in ("whole", "weights"):
        model = import_weights(folder / f"{layout}.h5", settings.network(), size=settings.size)
        assert str(model.count_params()) == (folder / "count.txt").read_text()
        found = model.predict_on_batch(images)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)
    with open_saved(folder / "whole.h5") as saved:
        assert saved.keras_version.startswith("2.15")
        values = [{n: saved.values(x, n) for n in x.weights} for x in saved.weighted]
    # the reference of the fast tests computes the same too
    np.testing.assert_allclose(run(settings, values, images), expected, atol=1e-4, rtol=0)


def outline(path: Path) -> dict[str, object]:
    """Names, shapes and types of all that an import reads, layers counted from 0 by kind."""
    with h5py.File(path) as file:
        group = file.get("model_weights", file)
        layers, counts, alias = [str(x) for x in group.attrs["layer_names"]], Counter(), {}
        for name in layers:
            stem = re.sub(r"_\d+$", "", name)
            alias[name] = f"{stem}#{counts[stem]}"
            counts[stem] += 1

        def renamed(full: str) -> str:
            return "/".join(alias.get(part, part) for part in full.split("/"))

        found: dict[str, object] = {
            "attributes": sorted(file.attrs),
            "groups": sorted(map(renamed, file)),
            "layers": [renamed(name) for name in layers],
            "versions": [str(group.attrs[key])[:4] for key in ("backend", "keras_version")],
            "weights": [list(map(renamed, group[x].attrs["weight_names"])) for x in layers],
        }

        def note(name: str, node: h5py.Group | h5py.Dataset) -> None:
            if isinstance(node, h5py.Dataset):
                found[renamed(name)] = (node.shape, str(node.dtype))

        group.visititems(note)
        if "model_config" in file.attrs:
            found["config"] = [
                (
                    x["class_name"],
                    renamed(x["config"]["name"]),
                    {k: x["config"].get(k) for k in CHECKED}
                    if "Pool" not in x["class_name"]
                    else 0,
                )
                for x in json.loads(file.attrs["model_config"])["config"]["layers"]
            ]
        return found


CHECKED = (
    *("kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation"),
    *("epsilon", "rate", "function_type"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("layout", ["whole", "weights"])
def test_the_layout_is_that_of_tensorflow_2_15(written_by_tensorflow_215, tmp_path, name, layout):
    """What the fast tests import is laid out as the real thing."""
    settings, mine = SESSIONS[name], tmp_path / "mine.h5"
    write_h5(mine, settings, draw_weights(settings, 0), whole=layout == "whole", before=1)
    assert outline(mine) == outline(written_by_tensorflow_215 / name / f"{layout}.h5")


@pytest.mark.slow
def test_the_jax_backend_predicts_the_same(tmp_path):
    versions = [f"{name}=={importlib.metadata.version(name)}" for name in ("keras", "h5py")]
    python = python_with("jax", ["jax[cpu]==0.7.*", "pandas", *versions])
    jobs, expected = [], {}
    for name, settings in {"plain": PLAIN, "rich": RICH, "deep": SESSIONS["deep"]}.items():
        weights, images, expected[name] = trained(settings)
        write_h5(tmp_path / f"{name}.h5", settings, weights)
        np.save(tmp_path / f"{name}.npy", images)
        model = import_weights(tmp_path / f"{name}.h5", settings.network(), size=settings.size)
        save_model(model, tmp_path / f"{name}.keras")
        jobs.append(
            {
                "network": settings.network(),
                "size": settings.size,
                **{key: str(tmp_path / f"{name}.{key}") for key in ("h5", "keras")},
                "images": str(tmp_path / f"{name}.npy"),
                "out": str(tmp_path / f"{name}.npz"),
            }
        )
        found = load_model(tmp_path / f"{name}.keras").predict_on_batch(images)
        np.testing.assert_allclose(found, expected[name], atol=1e-4, rtol=0)
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    run_quietly(
        python,
        str(HERE / "jax_predict.py"),
        str(tmp_path / "jobs.json"),
        KERAS_BACKEND="jax",
        # drawing the initial weights is compiled again for every shape: most of this test's time
        JAX_COMPILATION_CACHE_DIR=str(python.parents[1] / "compiled"),
        JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS="0",
        PYTHONPATH=str(HERE.parents[1]),
    )
    for name, reference in expected.items():
        with np.load(tmp_path / f"{name}.npz") as found:
            for way in ("imported", "loaded"):
                np.testing.assert_allclose(found[way], reference, atol=1e-4, rtol=0)
