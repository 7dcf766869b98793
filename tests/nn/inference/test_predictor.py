"""Inference brings a volume to the network and its answer back to the very same voxels."""

from pathlib import Path

import numpy as np
import openvino
import pytest

from mbhseg.errors import InputError
from mbhseg.files import write_json
from mbhseg.imaging.windows import Window
from mbhseg.inference.predictor import Predictor
from mbhseg.nn.network.saving import save_model
from tests.heads import probabilities
from tests.nn.conftest import build

# HU 40 a label, seen by one window as grey 40 a label
WINDOW = Window("seed", 127.5, 255.0)


def reading(images: np.ndarray) -> np.ndarray:
    """A network's place taken by one that reads the label out of the grey value."""
    labels = np.rint(images[..., 0] / 40.0).astype(int).clip(0, 5)
    return np.eye(6, dtype=np.float32)[labels]


def blocks(shape: tuple[int, int, int]) -> np.ndarray:
    """Labels [x, y, z] that no flip, turn or exchange of axes leaves as they are."""
    labels = np.zeros(shape, np.uint8)
    x, y, z = shape
    labels[x // 8 : x // 2, y // 8 : y // 4] = 1
    labels[x // 8 : x // 4, y // 4 : (3 * y) // 4] = 2
    labels[(3 * x) // 4 : x - 2, y // 2 : y - 2] = 4
    for plane in range(z):
        labels[x // 2 : x // 2 + 2 + plane, y // 2 : y // 2 + 4, plane] = 1 + plane % 5
    return labels


@pytest.mark.parametrize("depth", [1, 4, 7])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_exact_where_the_matrix_is_the_networks(depth, dtype):
    labels = blocks((48, 48, depth))
    predictor = Predictor(reading, size=48, windows=[WINDOW], batch=3)
    hu = (labels * 40).astype(dtype)
    found = predictor.labels(hu)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels)
    likely = probabilities(predictor, hu)
    assert likely.shape == (48, 48, depth, 6)
    np.testing.assert_array_equal(likely.argmax(axis=-1), labels)


@pytest.mark.parametrize("shape", [(61, 47, 5), (47, 61, 3), (33, 33, 2), (96, 80, 2)])
def test_odd_matrices_come_back_in_place(shape):
    labels = blocks(shape)
    found = Predictor(reading, size=64, windows=[WINDOW], batch=2).labels(
        (labels * 40).astype(np.int16)
    )
    assert found.shape == shape
    assert (found == labels).mean() > 0.95
    # inside, away from the borders that resampling softens, every voxel is right
    same = np.ones(shape, bool)
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            same &= labels == np.roll(labels, step, axis)
    np.testing.assert_array_equal(found[same], labels[same])


@pytest.mark.parametrize("factor", [2, 4])
def test_whole_multiples_are_exact(factor):
    """Drawn in the network's pixels, a scan twice its size comes back voxel for voxel."""
    small = blocks((32, 32, 2))
    labels = small.repeat(factor, axis=0).repeat(factor, axis=1)
    found = Predictor(reading, size=32, windows=[WINDOW]).labels(labels.astype(np.int16) * 40)
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        for step in range(1, factor):
            edge |= labels != np.roll(labels, step, axis)
            edge |= labels != np.roll(labels, -step, axis)
    np.testing.assert_array_equal(found[~edge], labels[~edge])


def test_network_sees_a_few_slices_at_a_time():
    seen = []

    def recording(images: np.ndarray) -> np.ndarray:
        seen.append(images.shape)
        return reading(images)

    predictor = Predictor(recording, size=16, windows=[WINDOW], batch=4)
    predictor.labels(np.zeros((16, 16, 10), np.int16))
    assert seen == [(4, 16, 16, 3), (4, 16, 16, 3), (2, 16, 16, 3)]


def test_windows_make_the_channels():
    seen = []

    def recording(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return reading(images)

    windows = [Window("brain", 40, 80), Window("subdural", 75, 215), Window("bone", 600, 2800)]
    Predictor(recording, size=8, windows=windows).labels(np.full((8, 8, 1), 44, np.int16))
    assert seen[0][0, 0, 0].tolist() == [140, 91, 77]  # 44 HU in each window, of 255


def test_pictures_are_shown_in_the_brain_window_or_the_first():
    bone, brain = Window("bone", 600, 2800), Window("brain", 35, 90)
    assert Predictor(reading, size=8, windows=[bone, brain, bone]).window == brain
    assert Predictor(reading, size=8, windows=[bone, WINDOW]).window == bone


def test_no_planes():
    predictor = Predictor(reading, size=16, windows=[WINDOW])
    assert predictor.labels(np.zeros((16, 16, 0), np.int16)).shape == (16, 16, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with an untrained network."""
    save_model(build(size=16, levels=2, filters=4, input_scale=1 / 255), tmp_path / "model.keras")
    record = {
        "input": {"size": 16, "windows": [WINDOW._asdict()]},
        "classes": ["background", "EDH", "IPH", "IVH", "SAH", "SDH"],
    }
    write_json(tmp_path / "run.json", record)
    return tmp_path


def test_loads_a_folder_and_its_files(folder):
    hu = np.random.default_rng(0).integers(-100, 300, (20, 18, 3)).astype(np.int16)
    first = probabilities(Predictor.load(folder, batch=2), hu)
    files = probabilities(Predictor.load(folder / "model.keras", folder / "run.json"), hu)
    np.testing.assert_allclose(first, files, atol=1e-6)  # whatever the batch
    np.testing.assert_allclose(first.sum(axis=-1), 1, atol=1e-5)


def test_bfloat16_gives_nearly_the_same_and_float32_the_very_same(folder):
    hu = np.random.default_rng(2).integers(0, 255, (16, 16, 3)).astype(np.int16)
    stored = probabilities(Predictor.load(folder), hu)
    assert np.array_equal(probabilities(Predictor.load(folder, precision="float32"), hu), stored)
    coarse = probabilities(Predictor.load(folder, precision="bfloat16"), hu)
    can = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert np.array_equal(coarse, stored) != can  # others compute float32
    assert np.allclose(coarse, stored, atol=0.03)


def test_refuses_what_is_no_model(folder):
    with pytest.raises(InputError, match="no such model"):
        Predictor.load(folder / "nowhere")
    with pytest.raises(InputError, match="does not describe a run"):
        Predictor.load(folder, folder / "nowhere.json")
    (folder / "model.keras").write_bytes(b"not a model")
    with pytest.raises(InputError, match="not a loadable model"):
        Predictor.load(folder)


def test_refuses_other_classes(folder):
    write_json(
        folder / "run.json",
        {"input": {"size": 16, "windows": [WINDOW._asdict()]}, "classes": ["background", "tumour"]},
    )
    with pytest.raises(InputError, match="has classes"):
        Predictor.load(folder)
