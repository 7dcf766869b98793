"""Augmentation of one slice: image and labels move together, grey values on their own.

Images are uint8 [H, W, C], one CT window per channel; labels are uint8 [..., H, W], of one rater or
several, always interpolated by the nearest pixel. The caller's generator is the only source of
randomness.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.imaging.windows import Window
from mbhseg.nn.recipe import AugmentationRecipe

Pixels = NDArray[np.uint8]
Field = NDArray[np.float32]

_STILL = np.eye(2, 3)


def augment(
    image: Pixels,
    labels: Pixels,
    recipe: AugmentationRecipe,
    windows: Sequence[Window],
    rng: np.random.Generator,
) -> tuple[Pixels, Pixels]:
    """Flip, move and vary one slice; shapes and dtypes stay, the inputs are not changed."""
    # a fixed number of draws per call, so that switching one part off does not change the others
    chances = rng.random(4)
    if chances[0] < recipe.flip_left_right:
        image, labels = image[:, ::-1], labels[..., ::-1]
    if chances[1] < recipe.flip_up_down:
        image, labels = image[::-1], labels[..., ::-1, :]
    matrix = _random_affine(image.shape[0], recipe, rng)
    if chances[2] >= recipe.affine:
        matrix = _STILL
    deformation, blur = _random_extras(image.shape[0], recipe, rng)
    if deformation is not None or matrix is not _STILL:
        image, labels = warp(image, labels, matrix, deformation)
    if blur > 0:
        image = _inside_windows(image, cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), blur))
    table = _random_grey_table(windows, recipe, rng)
    if chances[3] < recipe.intensity:
        image = np.asarray(cv2.LUT(np.ascontiguousarray(image), table), np.uint8)
        if recipe.hu_noise:
            image = _add_noise(image, recipe.hu_noise, windows, rng)
    return np.ascontiguousarray(image, np.uint8), np.ascontiguousarray(labels)


class Deformation(NamedTuple):
    """How an image of `size` x `size` pixels is bent.

    barrel: k of r' = r (1 + k r^2), which maps a target pixel to its source (Brown, 1966); r is the
        distance from the middle, 1 at the middle of an edge; k > 0 makes a barrel.
    elastic: shifts [points, points, 2] in pixels (x, y) of control points spread over the image,
        interpolated cubically; None for none.
    """

    barrel: float
    elastic: Field | None


def warp(
    image: Pixels,
    labels: Pixels,
    matrix: NDArray[np.float64],
    deformation: Deformation | None = None,
) -> tuple[Pixels, Pixels]:
    """Move a slice by a 2 x 3 matrix from source to target pixels (x, y); gaps are 0, air.

    With a deformation the slice is also bent, in the same resampling.
    """
    size = (image.shape[1], image.shape[0])
    if deformation is None:

        def move(plane: Pixels, how: int) -> Pixels:
            return np.asarray(cv2.warpAffine(plane, matrix, size, flags=how), np.uint8)

    else:
        columns, rows = _source_of(size[0], matrix, deformation)

        def move(plane: Pixels, how: int) -> Pixels:
            return np.asarray(cv2.remap(plane, columns, rows, how), np.uint8)

    moved = move(np.ascontiguousarray(image), cv2.INTER_LINEAR)
    planes = np.ascontiguousarray(labels).reshape(-1, *labels.shape[-2:])
    moved_labels = np.stack([move(plane, cv2.INTER_NEAREST) for plane in planes])
    # cv2 drops a channel axis of length 1
    return moved.reshape(image.shape), moved_labels.reshape(labels.shape)


def _source_of(
    size: int, matrix: NDArray[np.float64], deformation: Deformation
) -> tuple[Field, Field]:
    """The source column and row of each target pixel: two float32 [size, size]."""
    back = cv2.invertAffineTransform(matrix).astype(np.float32)
    places = np.arange(size, dtype=np.float32)
    middle = np.float32((size - 1) / 2)
    # relative to the middle
    x, y = (row[0] * places + (row[1] * places[:, None] + (row[2] - middle)) for row in back)
    if deformation.barrel:
        stretch = 1 + np.float32(deformation.barrel / middle**2) * (x * x + y * y)
        x, y = x * stretch, y * stretch
    x, y = x + middle, y + middle
    if deformation.elastic is not None:
        shifts = cv2.resize(deformation.elastic, (size, size), interpolation=cv2.INTER_CUBIC)
        x, y = x + shifts[..., 0], y + shifts[..., 1]
    return x, y


def _random_extras(
    size: int, recipe: AugmentationRecipe, rng: np.random.Generator
) -> tuple[Deformation | None, float]:
    """The deformation, None for none, and the standard deviation of the blur, 0 for none."""
    if not (recipe.elastic or recipe.barrel or recipe.blur):
        return None, 0.0
    # a stream of its own, so that these do not change what is drawn for the others
    own = rng.spawn(1)[0]
    chances = own.random(3)
    strength, deviation = own.uniform(-1, 1), own.uniform(0, recipe.blur_pixels)
    elastic = None
    if chances[0] < recipe.elastic:
        grid = (recipe.elastic_points, recipe.elastic_points, 2)
        shifts = own.uniform(-1, 1, grid) * (size * recipe.elastic_shift)
        elastic = shifts.astype(np.float32)
    barrel = strength * recipe.barrel_strength if chances[1] < recipe.barrel else 0.0
    bent = elastic is not None or barrel != 0.0
    blur = deviation if chances[2] < recipe.blur else 0.0
    return (Deformation(barrel, elastic) if bent else None), blur


def _random_affine(
    size: int, recipe: AugmentationRecipe, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Rotation, shear, scale and shift about the middle of the image."""
    turn, shear, stretch, right, down = rng.uniform(-1, 1, 5)
    angle = math.radians(turn * recipe.rotation_degrees)
    slant = math.tan(math.radians(shear * recipe.shear_degrees))
    scale = math.exp(stretch * math.log1p(recipe.scale))  # 1/s as often as s
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = scale * rotation @ np.array([[1.0, slant], [0.0, 1.0]])
    middle = np.full(2, (size - 1) / 2)
    offset = middle - linear @ middle + size * recipe.shift * np.array([right, down])
    return np.column_stack([linear, offset])


def _random_grey_table(
    windows: Sequence[Window], recipe: AugmentationRecipe, rng: np.random.Generator
) -> Pixels:
    """A look-up table [1, 256, C]: HU shifted and scaled, as each window shows it.

    0 and 255 stand for everything outside the window and do not change.
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
    noisy = np.empty_like(image)
    for channel, window in enumerate(windows):  # twice as fast as all channels at once
        grey = cv2.extractChannel(image, channel)
        added = cv2.add(grey, noise * np.float32(255 / window.width), dtype=cv2.CV_8U)
        cv2.insertChannel(added, noisy, channel)
    return _inside_windows(image, noisy)


def _inside_windows(image: Pixels, changed: NDArray[Any]) -> Pixels:
    """The changed pixels, except where the image is 0 or 255: outside its window."""
    # 1..254 in one comparison: 0 wraps around to 255
    return np.where(image - np.uint8(1) < np.uint8(254), changed, image)
