"""A network's answer on a volume, gathered plane by plane: labels and their probabilities."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import FOREGROUND, Labels
from mbhseg.predictions.writing import FULL, probability_bytes

Bytes = NDArray[np.uint8]  # probabilities and the like, 255 for 1
TINY = 1e-12  # smaller probabilities are raised to it before a logarithm


class Outcome(NamedTuple):
    """A prediction on the voxels [x, y, z] of the turned scan.

    labels: 0..5. confidence: the probability of the network's choice, 255 for 1. entropy: of
    the six probabilities, 0 where one is 1, 255 where all are equal; or None.
    probabilities: [x, y, z, 5] of EDH..SDH, 255 for 1; or None.
    """

    labels: Labels
    confidence: Bytes
    entropy: Bytes | None
    probabilities: Bytes | None


def gather(
    planes: Iterable[tuple[int, NDArray[np.float32]]],
    shape: tuple[int, ...],
    *,
    entropy: bool = False,
    probabilities: bool = False,
) -> Outcome:
    """Collect a predictor's planes into volumes; each is z and probabilities [x, y, 6].

    Planes that are not given stay 0.
    """
    labels, confidence = (np.zeros(shape, np.uint8, order="F") for _ in range(2))
    unsure = np.zeros(shape, np.uint8, order="F") if entropy else None
    likely = np.zeros((*shape, len(FOREGROUND)), np.uint8, order="F") if probabilities else None
    for z, plane in planes:
        likeliest = plane.argmax(axis=-1)
        labels[:, :, z] = likeliest
        # `max` along such a short axis takes ten times as long
        sure = np.take_along_axis(plane, likeliest[..., None], axis=-1)[..., 0]
        confidence[:, :, z] = np.rint(sure * np.float32(FULL))
        if unsure is not None:
            unsure[:, :, z] = np.rint(normalised_entropy(plane) * np.float32(FULL))
        if likely is not None:
            likely[:, :, z] = probability_bytes(plane)
    return Outcome(labels, confidence, unsure, likely)


def normalised_entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """-sum p ln p / ln C over the last axis of length C, 0 to 1."""
    p = np.clip(probabilities, TINY, 1.0)
    entropy = -(p * np.log(p)).sum(axis=-1) / np.log(np.float32(probabilities.shape[-1]))
    return np.asarray(np.clip(entropy, 0, 1), np.float32)
