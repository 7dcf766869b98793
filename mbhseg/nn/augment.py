"""Augmentation of one slice: image and labels move together, grey values on their own.

Images are uint8 [H, W, C], one CT window a channel; labels are uint8 [H, W], always moved by the
nearest pixel. A generator given by the caller is the only source of chance.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.nn.recipe import AugmentationRecipe
from mbhseg.windows import Window

Pixels = NDArray[np.uint8]


def augment(
    image: Pixels,
    labels: Pixels,
    recipe: AugmentationRecipe,
    windows: Sequence[Window],
    rng: np.random.Generator,
) -> tuple[Pixels, Pixels]:
    """Flip, move and vary one slice; shapes and dtypes stay, the inputs are not changed."""
    # a fixed number of draws a call, so that switching one part off leaves the others as they were
    chances = rng.random(4)
    if chances[0] < recipe.flip_left_right:
        image, labels = image[:, ::-1], labels[:, ::-1]
    if chances[1] < recipe.flip_up_down:
        image, labels = image[::-1], labels[::-1]
    matrix = _random_affine(image.shape[0], recipe, rng)
    if chances[2] < recipe.affine:
        image, labels = warp(image, labels, matrix)
    table = _random_grey_table(windows, recipe, rng)
    if chances[3] < recipe.intensity:
        image = np.asarray(cv2.LUT(np.ascontiguousarray(image), table), np.uint8)
        if recipe.hu_noise:
            image = _add_noise(image, recipe.hu_noise, windows, rng)
    return np.ascontiguousarray(image, np.uint8), np.ascontiguousarray(labels)


def warp(image: Pixels, labels: Pixels, matrix: NDArray[np.float64]) -> tuple[Pixels, Pixels]:
    """Move a slice by a 2 x 3 matrix from source to target pixels (x, y); gaps are 0, air."""
    size = (image.shape[1], image.shape[0])
    moved = cv2.warpAffine(np.ascontiguousarray(image), matrix, size, flags=cv2.INTER_LINEAR)
    drawn = cv2.warpAffine(np.ascontiguousarray(labels), matrix, size, flags=cv2.INTER_NEAREST)
    # cv2 drops a channel axis of length 1
    return np.asarray(moved, np.uint8).reshape(image.shape), np.asarray(drawn, np.uint8)


def _random_affine(
    size: int, recipe: AugmentationRecipe, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Rotation, shear, scale and shift about the middle of the image."""
    turn, shear, stretch, right, down = rng.uniform(-1, 1, 5)
    angle = math.radians(turn * recipe.rotation_degrees)
    slant = math.tan(math.radians(shear * recipe.shear_degrees))
    scale = math.exp(stretch * math.log1p(recipe.scale))  # as often 1/s as s
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = scale * rotation @ np.array([[1.0, slant], [0.0, 1.0]])
    middle = np.full(2, (size - 1) / 2)
    offset = middle - linear @ middle + size * recipe.shift * np.array([right, down])
    return np.column_stack([linear, offset])


def _random_grey_table(
    windows: Sequence[Window], recipe: AugmentationRecipe, rng: np.random.Generator
) -> Pixels:
    """A look-up table [1, 256, C]: HU shifted and scaled, as each window shows it.

    0 and 255 stand for everything outside the window and stay.
    """
    shift, scale = rng.uniform(-1, 1, 2) * (recipe.hu_shift, recipe.hu_scale)
    grey = np.arange(256, dtype=np.float64)
    columns = []
    for window in windows:
        hu = window.low + grey * window.width / 255
        # ASSUME: a scanner's calibration error scales about water, HU 0
        changed = hu * (1 + scale) + shift
        column = np.clip(np.rint((changed - window.low) * 255 / window.width), 0, 255)
        column[[0, 255]] = 0, 255
        columns.append(column)
    return np.stack(columns, axis=-1).astype(np.uint8)[None]


def _add_noise(
    image: Pixels, hu: float, windows: Sequence[Window], rng: np.random.Generator
) -> Pixels:
    """Gaussian noise of standard deviation up to `hu`, the same HU in every channel."""
    deviation = rng.uniform(0, hu)
    noise = rng.standard_normal(image.shape[:2], np.float32) * np.float32(deviation)
    slopes = np.array([255 / window.width for window in windows], np.float32)
    noisy = np.clip(np.rint(image + noise[..., None] * slopes), 0, 255).astype(np.uint8)
    inside = (image > 0) & (image < 255)
    return np.where(inside, noisy, image)
