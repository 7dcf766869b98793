"""Augmentation moves image and labels together and changes grey in HU, by its generator alone."""

import dataclasses

import cv2
import numpy as np
import pytest

from mbhseg.imaging.windows import Window, to_grey
from mbhseg.nn.feed.augment import Deformation, augment, warp
from tests.nn.conftest import augmentation_of

WINDOWS = (Window("brain", 40, 80), Window("subdural", 75, 215), Window("bone", 600, 2800))
EVERYTHING = augmentation_of(
    flip_left_right=0.5,
    flip_up_down=0.5,
    affine=1.0,
    rotation_degrees=15,
    scale=0.1,
    shift=0.05,
    shear_degrees=5,
    intensity=1.0,
    hu_shift=5,
    hu_scale=0.05,
    hu_noise=3,
)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A slice [24, 24, 3] whose grey value is 40 times the label."""
    labels = np.zeros((24, 24), np.uint8)
    labels[3:10, 4:9], labels[12:20, 14:20] = 2, 5
    return np.repeat((labels * 40)[..., None], 3, axis=-1), labels


def apply(pair, recipe, seed=0):
    return augment(*pair, recipe, WINDOWS, np.random.default_rng(seed))


def test_nothing_asked_for_changes_nothing(pair):
    image, labels = apply(pair, augmentation_of())
    np.testing.assert_array_equal(image, pair[0])
    np.testing.assert_array_equal(labels, pair[1])


def test_same_generator_same_result_and_inputs_untouched(pair):
    before = [a.copy() for a in pair]
    first, again, other = (apply(pair, EVERYTHING, seed) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])
    for a, b in zip(pair, before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [a.dtype for a in first] == [np.uint8, np.uint8]
    assert [a.shape for a in first] == [(24, 24, 3), (24, 24)]


@pytest.mark.parametrize(("name", "axis"), [("flip_left_right", 1), ("flip_up_down", 0)])
def test_flips(pair, name, axis):
    image, labels = apply(pair, augmentation_of(**{name: 1.0}))
    np.testing.assert_array_equal(image, np.flip(pair[0], axis))
    np.testing.assert_array_equal(labels, np.flip(pair[1], axis))


def test_image_and_labels_move_alike(pair):
    recipe = dataclasses.replace(EVERYTHING, intensity=0.0)
    for seed in range(20):
        image, labels = apply(pair, recipe, seed)
        assert set(np.unique(labels)) <= {0, 2, 5}  # nearest: no label is made up
        grey, square = image[..., 0], np.ones((3, 3), np.uint8)
        inside = cv2.erode(grey, square) == cv2.dilate(grey, square)  # no border near
        np.testing.assert_array_equal(labels[inside], grey[inside] // 40)
        assert set(labels[inside]) == {0, 2, 5}


def test_warp_maps_source_to_target(pair):
    matrix = np.array([[1.0, 0, 3], [0, 1.0, -2]])  # three columns right, two rows up
    image, labels = warp(*pair, matrix)
    np.testing.assert_array_equal(labels[:-2, 3:], pair[1][2:, :-3])
    np.testing.assert_array_equal(image[:-2, 3:], pair[0][2:, :-3])
    assert not labels[-2:].any()
    assert not image[:, :3].any()


def test_shift_and_scale_are_in_hu_and_stay_inside_the_window():
    hu = np.arange(-10, 100, dtype=np.float32).reshape(1, -1)
    image = np.stack([to_grey(hu, window) for window in WINDOWS], axis=-1)
    recipe = augmentation_of(intensity=1.0, hu_shift=6.0)
    changed, _ = augment(
        image, np.zeros(hu.shape, np.uint8), recipe, WINDOWS, np.random.default_rng(3)
    )
    outside = (image == 0) | (image == 255)
    np.testing.assert_array_equal(changed[outside], image[outside])
    moved = changed.astype(float) - image
    clipped = outside | (changed == 0) | (changed == 255)
    # one shift in HU: each channel moves by it as its own window shows it
    for channel, window in enumerate(WINDOWS[:2]):
        found = moved[..., channel][~clipped[..., channel]] * window.width / 255
        assert np.ptp(found) <= window.width / 255 + 1e-6  # rounding to whole grey
        assert abs(found.mean()) > 0.5
        assert abs(found).max() <= 6.0 + window.width / 255
    brain, subdural = (moved[..., c][~clipped[..., c]].mean() for c in (0, 1))
    assert brain / subdural == pytest.approx(215 / 80, rel=0.15)


def test_noise_has_its_deviation_in_hu():
    image = np.full((200, 200, 3), 128, np.uint8)
    labels = np.zeros((200, 200), np.uint8)
    recipe = augmentation_of(intensity=1.0, hu_noise=4.0)
    deviations = []
    for seed in range(30):
        noisy, _ = augment(image, labels, recipe, WINDOWS, np.random.default_rng(seed))
        brain = noisy[..., 0].std() * 80 / 255
        assert noisy[..., 1].std() * 215 / 255 == pytest.approx(brain, rel=0.2, abs=0.3)
        deviations.append(brain)
    assert max(deviations) < 4.2
    assert np.mean(deviations) == pytest.approx(2.0, abs=0.7)


def test_parts_are_independent(pair):
    """Switching the flip on does not change the angle that is drawn."""
    recipe = augmentation_of(affine=1.0, rotation_degrees=20)
    plain = apply(pair, recipe, 4)
    with_noise = apply(pair, dataclasses.replace(recipe, intensity=1.0, hu_noise=2.0), 4)
    np.testing.assert_array_equal(plain[1], with_noise[1])


STILL = np.eye(2, 3)


def test_deformation_of_nothing_is_the_affine_move(pair):
    turn = cv2.getRotationMatrix2D((11.5, 11.5), 20, 1.05)
    plain, bent = warp(*pair, turn), warp(*pair, turn, Deformation(0.0, None))
    assert np.abs(plain[0].astype(int) - bent[0]).max() <= 8  # cv2 rounds weights to 1/32 pixel
    assert (plain[1] != bent[1]).mean() < 0.01


@pytest.mark.parametrize("strength", [0.2, -0.2])
def test_barrel_takes_pixels_from_where_its_formula_says(strength):
    size, middle = 65, 32
    column = np.arange(size)
    image = np.repeat((column * 3)[None, :], size, axis=0).astype(np.uint8)[..., None]
    bent, _ = warp(image, image[..., 0] // 40, STILL, Deformation(strength, None))
    r = (column - middle) / middle
    source = middle + middle * r * (1 + strength * r**2)  # on the middle row, r is |x|
    inside = (source >= 0) & (source <= size - 1)
    np.testing.assert_allclose(bent[middle, inside, 0], source[inside] * 3, atol=1.5)
    assert abs(int(bent[middle, 48, 0]) - 48 * 3) > 1
    assert bent[middle, middle, 0] == middle * 3


def test_elastic_shifts_by_its_control_points():
    shifts = np.zeros((4, 4, 2), np.float32)
    shifts[..., 0] = 3.0  # all taken from three columns to the right
    image = np.arange(40, dtype=np.uint8)[None, :].repeat(40, axis=0)[..., None] * 5
    labels = image[..., 0] // 50
    bent, drawn = warp(image, labels, STILL, Deformation(0.0, shifts))
    np.testing.assert_array_equal(bent[:, :-3], image[:, 3:])
    np.testing.assert_array_equal(drawn[:, :-3], labels[:, 3:])


BENT = augmentation_of(
    affine=0.5,
    rotation_degrees=15,
    elastic=1.0,
    elastic_shift=0.08,
    elastic_points=4,
    barrel=1.0,
    barrel_strength=0.2,
)


def test_bent_image_and_labels_agree(pair):
    moved = 0
    for seed in range(20):
        image, labels = apply(pair, BENT, seed)
        grey, square = image[..., 0], np.ones((3, 3), np.uint8)
        inside = cv2.erode(grey, square) == cv2.dilate(grey, square)
        np.testing.assert_array_equal(labels[inside], grey[inside] // 40)
        assert set(np.unique(labels)) <= {0, 2, 5}
        moved += not np.array_equal(labels, pair[1])
    assert moved == 20


def test_several_raters_move_alike(pair):
    image, labels = pair
    other = np.roll(labels, 2, axis=1)
    recipe = dataclasses.replace(BENT, flip_left_right=0.5, flip_up_down=0.5)
    for seed in range(6):
        _, both = augment(
            image, np.stack([labels, other]), recipe, WINDOWS, np.random.default_rng(seed)
        )
        for mask, moved in zip((labels, other), both, strict=True):
            alone = augment(image, mask, recipe, WINDOWS, np.random.default_rng(seed))[1]
            np.testing.assert_array_equal(moved, alone)


def test_blur_smooths_inside_the_window_only():
    rng = np.random.default_rng(0)
    image = rng.integers(60, 200, (64, 64, 3)).astype(np.uint8)
    image[:8], image[-8:] = 0, 255  # outside the window: air and bone
    recipe = augmentation_of(blur=1.0, blur_pixels=3.0)
    shares = []
    for seed in range(8):
        blurred, _ = augment(
            image, np.zeros((64, 64), np.uint8), recipe, WINDOWS, np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(blurred[:8], 0)
        np.testing.assert_array_equal(blurred[-8:], 255)
        assert blurred[24:40].mean() == pytest.approx(image[24:40].mean(), abs=2)
        shares.append(blurred[24:40].std() / image[24:40].std())
    assert min(shares) < 0.3  # by 3 pixels
    assert max(shares) <= 1
    assert len(set(shares)) > 5


def test_what_came_later_leaves_earlier_draws_as_they_were(pair):
    """Elastic, barrel and blur draw from a stream of their own."""
    with_blur = dataclasses.replace(EVERYTHING, blur=1.0, blur_pixels=0.4)
    for seed in range(5):
        np.testing.assert_array_equal(
            apply(pair, EVERYTHING, seed)[1], apply(pair, with_blur, seed)[1]
        )
