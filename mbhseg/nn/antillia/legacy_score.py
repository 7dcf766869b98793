"""The reference project's evaluation over slices, for readers who compare with its reports."""

from pathlib import Path

import numpy as np
import pandas as pd
from keras import ops

from mbhseg.errors import InputError
from mbhseg.imaging.masks import read_mask
from mbhseg.imaging.png import read_image
from mbhseg.nn.network.saving import load_model
from mbhseg.nn.training.losses import cross_entropy, dice_coef_multiclass


def evaluate_slices(
    model_path: str | Path, slices: pd.DataFrame, root: str | Path, batch: int = 8
) -> dict[str, float]:
    """The reference project's test figures: means over slices of its loss and its metric.

    slices: columns image, mask (PNG paths below `root`), of the network's size.

    Returns categorical_crossentropy, dice_coef_multiclass (soft, background included: about .99
    for a network that finds nothing) and n_slices. No slices give NaN for both.

    Raises InputError if a file cannot be read or does not fit the network.
    """
    model, root = load_model(model_path), Path(root)
    size = tuple(model.input_shape[1:3])
    entropies: list[float] = []
    scores: list[float] = []
    for start in range(0, len(slices), batch):
        part = slices.iloc[start : start + batch]
        images = [read_image(root / name) for name in part["image"]]
        masks = [read_mask(root / name) for name in part["mask"]]
        for name, image, mask in zip(part["image"], images, masks, strict=True):
            if image.shape[:2] != mask.shape or (None not in size and mask.shape != size):
                raise InputError(
                    root / name,
                    f"image {image.shape[:2]}, mask {mask.shape} and network {size} differ",
                    "Score the model on the slices it was trained for",
                )
        target = np.stack(masks)
        predicted = model.predict_on_batch(np.stack(images))
        entropies += ops.convert_to_numpy(cross_entropy(target, predicted)).tolist()
        scores += ops.convert_to_numpy(dice_coef_multiclass(target, predicted)).tolist()
    return {
        "categorical_crossentropy": float(np.mean(entropies)) if entropies else float("nan"),
        "dice_coef_multiclass": float(np.mean(scores)) if scores else float("nan"),
        "n_slices": len(slices),
    }
