"""Planes as pictures: turned to display orientation, resized, windowed.

The display orientation is the reference project's: the voxel plane [x, y] turned 90 degrees
counter-clockwise, so image rows are y from high to low and columns are x from low to high.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.imaging.windows import Window, to_grey

Size = int | tuple[int, int] | None  # side of a square, (rows, columns), or as it is
CHANNELS = 3


def to_display(plane: NDArray[Any]) -> NDArray[Any]:
    """Turn a voxel plane [x, y] (further axes follow) to the image [row, column]; a view."""
    return plane.swapaxes(0, 1)[::-1]  # np.rot90 at a tenth of its overhead


def from_display(image: NDArray[Any]) -> NDArray[Any]:
    """Turn an image [row, column] back to the voxel plane [x, y]; undoes `to_display`."""
    return image[::-1].swapaxes(0, 1)


def display_shape(shape: Sequence[int], size: Size) -> tuple[int, int]:
    """Rows and columns of the images of a volume of `shape` [x, y, ...], resized to `size`."""
    return _target((shape[1], shape[0]), size)


def resize_image(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize an image [H, W] or [H, W, C], C up to 4; None keeps the size.

    An axis that shrinks is averaged over the area, one that grows is interpolated linearly.
    """
    rows, columns = _target(image.shape, size)
    small = min(rows, image.shape[0]), min(columns, image.shape[1])
    if small != image.shape[:2]:
        image = _resized(image, small, cv2.INTER_AREA)
    if small != (rows, columns):
        image = _resized(image, (rows, columns), cv2.INTER_LINEAR)
    return image


def _resized(image: NDArray[np.uint8], shape: tuple[int, int], method: int) -> NDArray[np.uint8]:
    resized = cv2.resize(image, (shape[1], shape[0]), interpolation=method)
    # cv2 drops a channel axis of length 1
    return np.asarray(resized, np.uint8).reshape(*shape, *image.shape[2:])


def resize_labels(labels: NDArray[Any], size: Size) -> NDArray[Any]:
    """Resize labels [H, W, ...] to size x size, or to (rows, columns), by the nearest pixel.

    Pixel centres are compared in whole numbers, so no new value appears, and enlarging and then
    reducing to the first size gives the first labels. None keeps the size.
    """
    rows, columns = _target(labels.shape, size)
    if (rows, columns) == labels.shape[:2]:
        return labels
    return labels[np.ix_(_nearest(labels.shape[0], rows), _nearest(labels.shape[1], columns))]


def _nearest(source: int, target: int) -> NDArray[np.intp]:
    """For each target pixel the source pixel that holds its centre: floor((i + 1/2) s / t)."""
    return (2 * np.arange(target) + 1) * source // (2 * target)


def _target(shape: Sequence[int], size: Size) -> tuple[int, int]:
    if size is None:
        return shape[0], shape[1]
    return (size, size) if isinstance(size, int) else size


def network_input(
    planes: NDArray[Any], windows: Sequence[Window], size: Size = None
) -> NDArray[np.uint8]:
    """Grey images in display orientation from HU planes, for slicing and for inference.

    Args:
        planes: HU values [x, y, k], k planes.
        windows: one to three; one fills all three channels, two leave the third black.
        size: side of the square images, or their (rows, columns); None keeps the matrix as it is.

    Returns:
        uint8 [k, rows, columns, 3]; no planes give an array of length 0.

    Raises:
        ValueError: no window, or more than an RGB image holds.
    """
    if not 1 <= len(windows) <= CHANNELS:
        raise ValueError(f"an RGB image holds 1 to {CHANNELS} windows, not {len(windows)}")
    shown = to_display(planes)
    shape = display_shape(planes.shape, size)
    images = np.empty((planes.shape[2], *shape, CHANNELS), np.uint8)
    for k, image in enumerate(images):
        grey = [resize_image(to_grey(shown[:, :, k], window), size) for window in windows]
        if len(grey) == 1:
            grey *= CHANNELS
        grey += [np.zeros_like(grey[0])] * (CHANNELS - len(grey))
        cv2.merge(grey, image)  # writes into `images`
    return images
