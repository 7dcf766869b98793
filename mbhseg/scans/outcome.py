"""What a network says about a scan: labels, how sure it is, and a row a class."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import ANY, CLASSES, FOREGROUND
from mbhseg.metrics.lesions import lesions_of
from mbhseg.postprocess import Postprocessing
from mbhseg.predictions import FULL, probability_bytes

COLUMNS = (
    *("case", "class", "ml", "voxels", "components", "slices"),
    *("mean_probability", "low_confidence"),
)
Bytes = NDArray[np.uint8]


class Outcome(NamedTuple):
    """A prediction on the voxels [x, y, z] of the turned scan.

    labels: 0..5. confidence: the probability of the network's own choice, 255 for 1. entropy: of
    the six probabilities, 0 where one is certain, 255 where all are alike; or None.
    probabilities: [x, y, z, 5] of EDH..SDH, 255 for 1; or None.
    """

    labels: Bytes
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
    """Put together what a predictor gives plane by plane: z and probabilities [x, y, 6]."""
    labels, confidence = (np.zeros(shape, np.uint8, order="F") for _ in range(2))
    unsure = np.zeros(shape, np.uint8, order="F") if entropy else None
    likely = np.zeros((*shape, len(FOREGROUND)), np.uint8, order="F") if probabilities else None
    for z, plane in planes:
        labels[:, :, z] = plane.argmax(axis=-1)
        confidence[:, :, z] = np.rint(plane.max(axis=-1) * np.float32(FULL))
        if unsure is not None:
            unsure[:, :, z] = np.rint(normalised_entropy(plane) * np.float32(FULL))
        if likely is not None:
            likely[:, :, z] = probability_bytes(plane)
    return Outcome(labels, confidence, unsure, likely)


def normalised_entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """-sum p ln p / ln C over the last axis of length C, 0 to 1."""
    p = np.clip(probabilities, 1e-12, 1.0)
    entropy = -(p * np.log(p)).sum(axis=-1) / np.log(np.float32(probabilities.shape[-1]))
    return np.asarray(np.clip(entropy, 0, 1), np.float32)


def processed(outcome: Outcome, postprocessing: Postprocessing | None, ml: float) -> Outcome:
    """The outcome with post-processed labels; `ml` of a voxel, nan where it is unknown.

    Without a volume, components cannot be measured, so only EDH and SDH are reconciled.
    """
    if postprocessing is None:
        return outcome
    if np.isnan(ml):
        postprocessing, ml = postprocessing._replace(min_ml={}), 0.0
    return outcome._replace(labels=postprocessing.apply(outcome.labels, ml))


def rows(name: str, outcome: Outcome, ml: float, low_confidence: float) -> list[dict[str, object]]:
    """Six rows of volumes.csv: EDH..SDH, then any hemorrhage.

    `ml` is the volume of a voxel, nan where it is unknown. `components` are 26-connected;
    `mean_probability` is the mean of what the network gave its own choice, over the class's
    voxels, nan without one; `low_confidence` whether that is below the limit.
    """
    sums = np.zeros(len(CLASSES))
    counts = np.zeros(len(CLASSES), np.int64)
    for z in range(outcome.labels.shape[2]):
        label = outcome.labels[:, :, z].ravel(order="F")
        sure = outcome.confidence[:, :, z].ravel(order="F")
        counts += np.bincount(label, minlength=len(CLASSES))
        sums += np.bincount(label, weights=sure, minlength=len(CLASSES))
    masks = [(c.key, [c.label]) for c in FOREGROUND]
    masks.append((ANY, [c.label for c in FOREGROUND]))
    table: list[dict[str, object]] = []
    for key, labels in masks:
        voxels = int(counts[labels].sum())
        drawn = np.isin(outcome.labels, labels) if voxels else np.zeros((1, 1, 0), bool)
        mean = float(sums[labels].sum() / FULL / voxels) if voxels else float("nan")
        table.append(
            {
                "case": name,
                "class": key,
                "ml": voxels * ml,
                "voxels": voxels,
                "components": len(lesions_of(drawn).voxels) if voxels else 0,
                "slices": int(drawn.any(axis=(0, 1)).sum()),
                "mean_probability": mean,
                "low_confidence": bool(voxels and mean < low_confidence),
            }
        )
    return table
