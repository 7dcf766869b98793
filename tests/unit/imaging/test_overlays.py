"""Overlays, outlines and mosaics: exact colours, and grey where nothing bleeds."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mbhseg.classes import CLASSES, PALETTE
from mbhseg.imaging.masks import read_mask
from mbhseg.imaging.overlays import blend, contours, mosaic, outline, overlay
from mbhseg.imaging.png import read_image

labels_2d = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 5)
)


def grey_of(labels: np.ndarray) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, labels.shape, np.uint8)


@settings(max_examples=40, deadline=None)
@given(labels=labels_2d)
def test_pixels_without_a_bleed_keep_their_grey(labels):
    grey = grey_of(labels)
    for picture in (
        blend(grey, labels),
        contours(grey, labels),
        overlay(grey, labels),
    ):
        assert picture.dtype == np.uint8
        background = labels == 0
        assert (picture[background] == grey[background][:, None]).all()


def test_blend_mixes_grey_and_colour_by_alpha():
    grey = np.array([[0, 100, 255, 40, 41, 7]], np.uint8)
    labels = np.arange(6, dtype=np.uint8)[None]
    assert (blend(grey, labels, alpha=0) == grey[..., None]).all()
    assert (blend(grey, labels, alpha=1)[0, 1:] == PALETTE[1:]).all()
    half = blend(grey, labels, alpha=0.5)[0]
    assert half[1].tolist() == [178, 50, 50]  # EDH, red: (100 + 255) / 2 = 177.5, up
    assert half[2].tolist() == [128, 128, 255]  # IPH, blue, on white
    assert half[5].tolist() == [4, 131, 4]  # SDH, green: 3.5 and 131


def test_overlay_has_a_rim_of_the_full_colour_and_a_tinted_inside():
    labels = np.zeros((9, 9), np.uint8)
    labels[2:7, 2:7] = 4
    grey = np.full((9, 9), 90, np.uint8)
    picture = overlay(grey, labels)
    colour = np.array(CLASSES[4].rgb)
    assert (picture[2, 2:7] == colour).all()
    assert (picture[2:7, 6] == colour).all()
    inside = picture[3:6, 3:6]
    assert (inside == blend(grey, labels)[4, 4]).all()
    assert not (inside == colour).all(axis=-1).any()


def test_colour_images_are_drawn_on_too():
    rgb = np.zeros((3, 3, 3), np.uint8)
    rgb[..., 1] = 50
    labels = np.zeros((3, 3), np.uint8)
    labels[1, 1] = 1
    picture = contours(rgb, labels)
    assert picture[1, 1].tolist() == [255, 0, 0]
    assert picture[0, 0].tolist() == [0, 50, 0]
    assert rgb[1, 1].tolist() == [0, 50, 0]  # the input is left alone


@settings(max_examples=60, deadline=None)
@given(labels=labels_2d)
def test_outline_is_what_erosion_removes(labels):
    cross = ndimage.generate_binary_structure(2, 1)
    expected = np.zeros(labels.shape, bool)
    for label in range(1, 6):
        region = labels == label
        expected |= region & ~ndimage.binary_erosion(region, cross)
    assert (outline(labels) == expected).all()


def test_touching_classes_both_get_a_rim():
    labels = np.zeros((7, 8), np.uint8)
    labels[1:6, 1:4] = 1
    labels[1:6, 4:7] = 5
    rim = outline(labels)
    assert rim[1:6, 3].all()
    assert rim[1:6, 4].all()
    assert not rim[3, 2]


@pytest.mark.parametrize(
    ("grey", "labels"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8)),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), 6, np.uint8)),
    ],
)
def test_what_does_not_fit_is_refused(grey, labels):
    with pytest.raises(ValueError, match=r"differ|no colour"):
        overlay(grey, labels)


def test_mosaic_lays_tiles_row_by_row():
    tiles = [np.full((2, 3, 3), n, np.uint8) for n in range(1, 6)]
    picture = mosaic(tiles, columns=2, gap=1, fill=9)
    assert picture.shape == (8, 7, 3)
    for n, tile in enumerate(tiles):
        top, left = n // 2 * 3, n % 2 * 4
        assert (picture[top : top + 2, left : left + 3] == tile).all()
    assert (picture[2] == 9).all()
    assert (picture[:, 3] == 9).all()
    assert (picture[6:, 4:] == 9).all()  # no sixth tile


def test_mosaic_of_few_tiles_has_one_short_row():
    assert mosaic([np.zeros((2, 2, 3), np.uint8)] * 2, columns=5).shape == (2, 4, 3)


def test_mosaic_refuses_nothing_and_mixed_shapes():
    with pytest.raises(ValueError, match="needs a tile"):
        mosaic([], columns=2)
    with pytest.raises(ValueError, match="tile 1"):
        mosaic([np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)], columns=2)


def test_real_slices(real_ct):
    """On real CT the overlay changes exactly the bleeding pixels."""
    paths = sorted((real_ct / "slices" / "images").glob("*.png"))[:4]
    assert paths
    for path in paths:
        grey = read_image(path)[..., 0]
        labels = read_mask(real_ct / "slices" / "masks" / path.name)
        assert labels.any()
        changed = (overlay(grey, labels) != grey[..., None]).any(axis=-1)
        assert (changed == (labels > 0)).all()
