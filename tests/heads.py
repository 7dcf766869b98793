"""Heads small enough for fast tests, which no flip, turn or exchange of axes leaves as they are."""

import numpy as np

from mbhseg.inference.averaging import PlanePredictor

WINDOW_HU = (0, 255)  # of the seed's window, in which `truth_network` reads labels


def blocks(shape: tuple[int, int, int], unit: int = 1) -> np.ndarray:
    """Labels uint8 [x, y, z] of every class, drawn in squares of `unit` pixels."""
    nx, ny = shape[0] // unit, shape[1] // unit
    labels = np.zeros((nx, ny, shape[2]), np.uint8)
    labels[nx // 4 : nx // 2, ny // 4 : ny // 3] = 1
    labels[nx // 4 : nx // 3, ny // 3 : (2 * ny) // 3] = 2
    labels[(5 * nx) // 8 : (3 * nx) // 4, ny // 2 : (3 * ny) // 4] = 4
    for z in range(shape[2]):
        labels[nx // 2 : nx // 2 + 2 + z % 4, ny // 3 : ny // 3 + 3, z] = 1 + z % 5
    return labels.repeat(unit, axis=0).repeat(unit, axis=1)


def head(labels: np.ndarray) -> np.ndarray:
    """HU int16 [x, y, z]: air, a ring of bone, and inside 40 HU a label."""
    hu = np.full(labels.shape, -1000, np.int16)
    x, y = labels.shape[:2]
    hu[x // 8 : -x // 8, y // 8 : -y // 8] = 1000
    hu[x // 8 + 1 : -x // 8 - 1, y // 8 + 1 : -y // 8 - 1] = 0
    inside = labels > 0
    hu[inside] = 40 * labels[inside].astype(np.int16)
    return hu


def reading(images: np.ndarray) -> np.ndarray:
    """A network's place taken by one that reads the label out of the grey value."""
    grey = np.where(images[..., 0] > 220, 0, images[..., 0])  # bone
    labels = np.rint(grey / 40.0).astype(int).clip(0, 5)
    return np.eye(6, dtype=np.float32)[labels]


def probabilities(predictor: PlanePredictor, hu: np.ndarray) -> np.ndarray:
    """Class probabilities float32 [x, y, z, 6] of a whole volume in HU [x, y, z]."""
    result = np.zeros((*hu.shape, 6), np.float32)
    for z, plane in predictor.planes(hu):
        result[:, :, z] = plane
    return result
