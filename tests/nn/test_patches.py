"""Patches at the head: where they lie, and that a network around them sees what it should."""

import numpy as np
import pytest

from mbhseg.errors import InputError
from mbhseg.inference.predictor import Predictor
from mbhseg.nn.network.saving import load_model
from mbhseg.nn.patches import Box, Patch, around, cover, draw, head_spans
from tests.heads import probabilities
from tests.nn.conftest import SIZE

PATCH = Patch(16, 8, 8)


def head(rows: slice, columns: slice, size: int = 64) -> np.ndarray:
    image = np.zeros((size, size, 3), np.uint8)
    image[rows, columns] = 90
    return image


def test_a_patch_is_enlarged_to_what_the_network_takes():
    assert Patch.of(None, 512, {}) is None
    assert Patch.of([0.75, 0.625], 512, {"levels": 6}) == Patch(384, 320, 32)
    assert Patch.of([0.7, 0.6], 512, {"levels": 6}) == Patch(384, 320, 32)
    assert Patch.of([1, 1], 512, {"levels": 8}) == Patch(512, 512, 128)
    with pytest.raises(InputError, match=r"slices\.size.* not divisible by 32"):
        Patch.of([1, 1], 500, {"levels": 6})


def test_the_head_is_what_all_windows_show():
    image = head(slice(10, 50), slice(20, 44))
    image[5:60, 60] = 255, 0, 0  # a headrest that only a wide window shows
    image[2, 3] = 200  # noise
    assert head_spans(image[None]) == ((10, 50), (20, 44))
    two_windows = image.copy()
    two_windows[..., 2] = 0
    two_windows[5:60, 60] = 0
    assert head_spans(two_windows[None]) == ((10, 50), (20, 44))


def test_a_batch_has_the_span_of_all_its_heads():
    both = np.stack([head(slice(10, 20), slice(5, 20)), head(slice(30, 40), slice(15, 50))])
    assert head_spans(both) == ((10, 40), (5, 50))
    assert head_spans(np.zeros((2, 64, 32, 3), np.uint8)) == ((0, 64), (0, 32))


def test_a_drawn_patch_holds_the_head_or_lies_in_it():
    small, large = head(slice(50, 60), slice(30, 34)), head(slice(10, 50), slice(4, 60))
    rng = np.random.default_rng(3)
    boxes = [(draw(small, PATCH, rng), draw(large, PATCH, rng)) for _ in range(200)]
    for around_it, within in boxes:
        assert around_it.row <= 50
        assert 60 <= around_it.row + 16 <= 64
        assert around_it.column <= 30
        assert around_it.column + 8 >= 34
        assert 10 <= within.row <= 34
        assert 4 <= within.column <= 52
    assert {box.row for _, box in boxes} == set(range(10, 35))  # every place comes up
    assert {box.row for box, _ in boxes} == set(range(44, 49))


def test_the_cover_is_the_smallest_allowed_box_over_the_head():
    assert cover(head(slice(20, 24), slice(30, 34))[None], PATCH) == Box(14, 28, 16, 8)
    assert cover(head(slice(10, 50), slice(1, 10))[None], PATCH) == Box(10, 0, 40, 16)
    assert cover(head(slice(0, 64), slice(0, 63))[None], PATCH) == Box(0, 0, 64, 64)


def test_a_network_around_boxes_gives_background_outside():
    seen = []

    def network(images: np.ndarray) -> np.ndarray:
        seen.append(images.shape)
        one_hot = np.zeros((*images.shape[:3], 6), np.float32)
        one_hot[..., 2] = 1
        return one_hot

    images = head(slice(10, 50), slice(20, 28))[None]
    labels = around(network, PATCH)(images).argmax(axis=-1)
    assert seen == [(1, 40, 8, 3)]
    expected = np.zeros((1, 64, 64), int)
    expected[:, 10:50, 20:28] = 2
    np.testing.assert_array_equal(labels, expected)


def test_trains_on_patches_and_predicts_the_whole(train_toy, toy):
    outputs = train_toy(patch=[0.5, 0.75], epochs=1)
    model = load_model(outputs.model)
    assert model.input_shape == (None, None, None, 3)
    predictor = Predictor.load(outputs.model)
    hu = np.full((SIZE, SIZE, 2), -1000, np.int16)
    hu[8:20, 4:30] = 60
    shares = probabilities(predictor, hu)
    assert shares.shape == (SIZE, SIZE, 2, 6)
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-5)
    outside = shares[:, :3, :, 0]  # nearer to the edge than the box over the head comes
    assert (outside == 1).all()
