"""Post-process a prediction and measure it: labels, and one row of volumes.csv per class."""

import numpy as np

from mbhseg.classes import ANY, CLASSES, FOREGROUND
from mbhseg.metrics.lesions import lesions_of
from mbhseg.predictions.gathering import Outcome
from mbhseg.predictions.postprocess import Postprocessing
from mbhseg.predictions.writing import FULL

COLUMNS = (
    *("case", "class", "ml", "voxels", "components", "slices"),
    *("mean_probability", "low_confidence"),
)


def processed(outcome: Outcome, postprocessing: Postprocessing | None, ml: float) -> Outcome:
    """The outcome with post-processed labels; `ml` per voxel, nan if unknown.

    Without it, components have no volume, so only EDH and SDH are reconciled.
    """
    if postprocessing is None:
        return outcome
    if np.isnan(ml):
        postprocessing, ml = postprocessing._replace(min_ml={}), 0.0
    return outcome._replace(labels=postprocessing.apply(outcome.labels, ml))


def rows(name: str, outcome: Outcome, ml: float, low_confidence: float) -> list[dict[str, object]]:
    """Six rows of volumes.csv: EDH..SDH, then any hemorrhage.

    `ml` is the volume of a voxel, nan if unknown. `components` are 26-connected;
    `mean_probability` is the probability of the predicted class, averaged over its voxels, nan
    without any; `low_confidence` is whether that is below the limit.
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
