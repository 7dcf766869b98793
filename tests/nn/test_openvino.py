"""What OpenVINO computes is the network that Keras holds."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import openvino
import pytest

from mbhseg.errors import InputError
from mbhseg.files import write_json
from mbhseg.inference.predictor import Predictor
from mbhseg.nn import device
from mbhseg.nn.network.models import computes_in
from mbhseg.nn.network.saving import save_model
from mbhseg.nn.openvino import ACTIVATIONS, UnknownLayer, compiled, observed, translated
from tests.heads import probabilities
from tests.nn.conftest import build

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"size": None, "levels": 3, "filters": 8, "background_prior": 0.9}
SETTINGS = [
    {},
    {"levels": 1},
    {"levels": 4, "kernel": 7},
    {"levels": 4, "kernel": 5, "dilation": 3, "max_filters": 16},
    {"dropout": 0.3, "input_scale": 1 / 255},
    *({"normalization": kind, "input_scale": 1 / 255} for kind in ("batch", "instance", "group")),
    *({"activation": name, "input_scale": 1 / 255} for name in sorted(ACTIVATIONS)),
]


def images(count: int, rows: int = 32, columns: int = 48) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (count, rows, columns, 3), dtype=np.uint8)


def trained(**settings) -> keras.Model:
    """A network whose biases and statistics are no longer those that it began with."""
    model = build(**(SMALL | settings))
    rng = np.random.default_rng(4)
    for weight in model.weights:
        value = np.asarray(weight)
        weight.assign(value + rng.uniform(0.01, 0.1, value.shape) * (value.ndim == 1))
    return model


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_it_is_the_same_function(settings):
    model = trained(**settings)
    network = compiled(translated(model), bfloat16=False, threads=2)
    for shape in ((3, 32, 48), (2, 64, 16)):
        expected = model.predict_on_batch(images(*shape))
        found = network(images(*shape))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("kind", [None, "batch", "instance", "group"])
def test_neither_threads_nor_neighbours_matter(kind):
    translation = translated(trained(normalization=kind, input_scale=1 / 255))
    one = compiled(translation, bfloat16=False, threads=1)
    two = compiled(translation, bfloat16=False, threads=2)
    together = two(images(5))
    np.testing.assert_array_equal(one(images(5)), together)
    for z in range(5):
        np.testing.assert_array_equal(two(images(5)[z : z + 1])[0], together[z])


def test_an_answer_stays_when_the_next_one_is_asked_for():
    network = compiled(translated(trained()), bfloat16=False, threads=1)
    first = network(images(2))
    kept = first.copy()
    network(255 - images(2))
    np.testing.assert_array_equal(first, kept)


def test_no_images():
    network = compiled(translated(trained()), bfloat16=False, threads=2)
    assert network(images(0)).shape == (0, 32, 48, 6)


def test_bfloat16_is_near():
    translation = translated(trained(normalization="instance", input_scale=1 / 255))
    exact = compiled(translation, bfloat16=False, threads=2)(images(4))
    coarse = compiled(translation, bfloat16=True, threads=2)(images(4))
    np.testing.assert_allclose(coarse, exact, atol=0.1)
    assert np.abs(coarse - exact).mean() < 0.01
    can = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert np.array_equal(coarse, exact) != can


QUANTIZED = {"levels": 3, "normalization": "instance", "input_scale": 1 / 255}


def test_ranges_are_those_of_keras():
    model = trained(**QUANTIZED)
    pictures = images(3)
    ranges = observed(model, [pictures[:2], pictures[2:]], threads=2)
    ups = {"up0", "up1"}  # what the decoder joins with the encoder's
    norms = {f"{p}_norm{k}" for p in ("encoder0", "encoder1", "decoder1", "bridge") for k in (1, 2)}
    assert set(ranges) == ups | norms | {"decoder0_norm1", "input_scale"}
    for name, (low, high) in ranges.items():
        values = keras.Model(model.inputs, model.get_layer(name).output).predict_on_batch(pictures)
        per_image = np.asarray(values).reshape(3, -1)
        assert low == pytest.approx(per_image.min(axis=1).mean(), abs=1e-3)
        assert high == pytest.approx(per_image.max(axis=1).mean(), abs=1e-3)


def test_no_images_give_no_ranges():
    assert observed(trained(), [], threads=1) == {}
    with pytest.raises(KeyError):
        translated(trained(), {})


needs_int8 = pytest.mark.skipif(
    device.inference_policy("int8") != "int8", reason="this processor has no 8-bit units (VNNI)"
)


def near(coarse: np.ndarray, exact: np.ndarray) -> bool:
    """Probabilities that differ by .15 in a thousandth of the voxels at most, by .015 on average.

    Untrained networks are sure of nothing, and their deepest planes hold a few pixels.
    """
    difference = np.abs(coarse - exact)
    return bool(np.quantile(difference, 0.999) < 0.15 and difference.mean() < 0.015)


@needs_int8
@pytest.mark.parametrize("kind", [None, "batch", "instance", "group"])
def test_int8_is_near(kind):
    model = trained(**QUANTIZED | {"normalization": kind, "levels": 4})
    exact = compiled(translated(model), bfloat16=False, threads=2)(images(4))
    ranges = observed(model, [images(4)], threads=2)
    whole = translated(model, ranges)
    coarse = compiled(whole, bfloat16=False, threads=2)(images(4))
    assert not np.array_equal(coarse, exact)
    assert near(coarse, exact)
    np.testing.assert_array_equal(compiled(whole, bfloat16=False, threads=1)(images(4)), coarse)


def test_int8_multiplies_whole_numbers():
    """Every convolution but the last has 8-bit weights, and its input 256 values."""
    model = trained(**QUANTIZED)
    graph = translated(model, observed(model, [images(2)], threads=1))
    kinds = [operation.get_type_name() for operation in graph.get_ops()]
    weights = [
        operation
        for operation in graph.get_ops()
        if operation.get_type_name() == "Constant"
        and operation.get_element_type() == openvino.Type.i8
    ]
    convolutions = [name for name in kinds if name.startswith("Convolution")]
    assert len(weights) == len(convolutions) - 1
    assert kinds.count("FakeQuantize") == len(observed(model, [images(1)], threads=1))


def test_joined_layers_share_a_range():
    model = trained(**QUANTIZED)
    ranges = observed(model, [images(2)], threads=1)
    found = {}
    for operation in translated(model, ranges).get_ops():
        if operation.get_type_name() == "Concat":
            ends = [source.get_source_output().get_node() for source in operation.inputs()]
            assert [end.get_type_name() for end in ends] == ["FakeQuantize"] * 2
            found[operation.get_friendly_name()] = [
                [end.input_value(i).get_node().data.item() for i in range(1, 5)] for end in ends
            ]
    assert len(found) == 2
    for first, second in found.values():
        assert first == second


@needs_int8
def test_int8_through_a_predictor(tmp_path, monkeypatch):
    model = trained(**QUANTIZED)
    ranges = observed(model, [images(2)], threads=1)
    place = folder_of(model, tmp_path, ranges=ranges)
    hu = images(1, 32, 32)[0].astype(np.int16)
    exact = probabilities(Predictor.load(place), hu)
    monkeypatch.setattr(device, "_cpu_field", lambda name: "fpu avx512_vnni")
    coarse = probabilities(Predictor.load(place, precision="int8"), hu)
    assert not np.array_equal(coarse, exact)
    assert near(coarse, exact)
    monkeypatch.setattr(device, "_cpu_field", lambda name: "fpu avx2")
    np.testing.assert_array_equal(probabilities(Predictor.load(place, precision="int8"), hu), exact)


@pytest.mark.parametrize("ranges", [{"encoder0_norm1": [0, 1]}, {"up0": 3}, {"up0": []}, [1]])
def test_ranges_of_another_network_are_refused(tmp_path, monkeypatch, ranges):
    monkeypatch.setattr(device, "_cpu_field", lambda name: "fpu avx512_vnni")
    place = folder_of(trained(levels=2, filters=4), tmp_path, ranges=ranges)
    with pytest.raises(InputError, match=r"run\.json: .*ranges.*another network"):
        Predictor.load(place, precision="int8")


def test_int8_needs_ranges(tmp_path):
    place = folder_of(trained(), tmp_path)
    with pytest.raises(InputError, match=r"run\.json: .*no activation ranges.*int8"):
        Predictor.load(place, precision="int8")


def other(kind: type) -> keras.Model:
    """A model of the user's own with a layer that FlexUNet has not."""
    image = keras.Input((None, None, 3), name="image")
    x = kind(3, padding="same", strides=1)(image)
    x = keras.layers.Conv2D(6, 1, activation="softmax")(x)
    return keras.Model(image, x)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: other(keras.layers.AveragePooling2D), "AveragePooling2D"),
        (lambda: other(keras.layers.MaxPooling2D), "pooling"),
        (lambda: trained(activation="hard_tanh"), "activation hard_tanh"),
    ],
)
def test_what_it_does_not_know_it_refuses(make, what):
    with pytest.raises(UnknownLayer, match=what):
        translated(make())


def folder_of(model: keras.Model, place: Path, **more) -> Path:
    save_model(model, place / "model.keras")
    window = {"name": "seed", "level": 127.5, "width": 255.0}
    record = {
        "input": {"size": 32, "windows": [window]},
        "classes": ["background", "EDH", "IPH", "IVH", "SAH", "SDH"],
        **more,
    }
    write_json(place / "run.json", record)
    return place


def test_keras_predicts_with_other_networks(tmp_path, caplog):
    model = other(keras.layers.AveragePooling2D)
    hu = images(1, 32, 32)[0, :, :, :2].astype(np.int16)
    with caplog.at_level("WARNING"):
        predictor = Predictor.load(folder_of(model, tmp_path))
    assert "AveragePooling2D" in caplog.text
    grey = np.repeat(hu.transpose(2, 1, 0)[:, ::-1, :, None], 3, axis=-1)
    expected = model.predict_on_batch(grey)
    for z, plane in predictor.planes(hu):
        np.testing.assert_allclose(plane, expected[z][::-1].swapaxes(0, 1), atol=1e-5)


def test_keras_predicts_on_a_gpu(tmp_path, monkeypatch):
    """There is none here, so it is only said that there is one."""
    place = folder_of(trained(), tmp_path)
    hu = images(1, 32, 32)[0].astype(np.int16)
    here = probabilities(Predictor.load(place), hu)
    monkeypatch.setattr(device, "gpus", lambda: ["NVIDIA"])
    monkeypatch.setattr("mbhseg.nn.keras_backend.compiled", None)
    np.testing.assert_allclose(probabilities(Predictor.load(place), hu), here, atol=1e-4)


def test_a_model_computes_as_it_was_trained(tmp_path):
    assert computes_in(trained()) == "float32"
    model = trained(dtype="mixed_bfloat16", normalization="instance", input_scale=1 / 255)
    assert computes_in(model) == "bfloat16"
    place = folder_of(model, tmp_path)
    hu = images(1, 32, 32)[0].astype(np.int16)
    stored, coarse, exact = (
        probabilities(Predictor.load(place, precision=precision), hu)
        for precision in ("model", "bfloat16", "float32")
    )
    np.testing.assert_array_equal(stored, coarse)
    np.testing.assert_allclose(stored, exact, atol=0.1)


def test_nobody_is_told_that_it_was_imported(tmp_path):
    """OpenVINO's own telemetry would send an event, and leave a folder in the user's home."""
    code = "import sys, mbhseg.nn.openvino; assert sys.modules['openvino_telemetry'] is None"
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
    assert not list(tmp_path.glob("intel*"))
    assert not list(tmp_path.glob(".intel*"))


def test_a_signal_is_handled_afterwards(tmp_path):
    """OpenVINO replaces the stack of signal handlers; in a process of its own, as it may crash."""
    code = """
import faulthandler, gc, signal
faulthandler.enable()
from mbhseg.nn.openvino import compiled, translated
from tests.nn.conftest import build
def network():
    graph = translated(build(size=None, levels=1, filters=2))
    return compiled(graph, bfloat16=False, threads=1)
first = network()
second = network()
del first; gc.collect()
del second; gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
