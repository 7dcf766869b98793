"""Validation during training: loss over slices, Dice over cases."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES, KEYS
from mbhseg.nn.feed.loader import batches
from mbhseg.nn.feed.store import SliceStore
from mbhseg.nn.patches import Patch, seen

Counts = NDArray[np.int64]


class Validation(NamedTuple):
    """The result of one pass over the validation slices.

    scores: `val_loss`, `val_dice` and `val_dice_<class>`; an undefined Dice is NaN.
    kept: predicted labels uint8 [H, W] of the slices asked for, by index into the store.
    """

    scores: dict[str, float]
    kept: dict[int, NDArray[np.uint8]]


def validate(
    model: keras.Model,
    loss: Callable[[Any, Any], Any],
    store: SliceStore,
    indices: NDArray[np.int64],
    batch: int,
    patch: Patch | None,
    keep: Sequence[int] = (),
    each: Callable[[], None] = lambda: None,
) -> Validation:
    """Predict the slices `indices` and score them.

    The loss is the mean over batches, weighted by their sizes, as Keras computes it. Dice is pooled
    over the slices of a case (`case_dice`). No slices give NaN for every score. `each` is called
    before every batch and may stop the validation by raising. With a `patch` the network sees
    the heads alone, and the loss is over what it sees.
    """
    cases = store.table["case"].iloc[indices].to_numpy()
    names = sorted(set(cases))
    counts = np.zeros((len(names), len(CLASSES), 3), np.int64)
    losses, kept = [], {}
    for part, (images, labels) in batches(store, indices, batch):
        each()
        place = seen(images, patch)
        probabilities = model.predict_on_batch(np.ascontiguousarray(images[:, *place]))
        probabilities = probabilities[: len(images)]  # each of several GPUs gives all of them
        value = np.asarray(keras.ops.mean(loss(labels[:, *place], probabilities)))
        losses.append((float(value), len(part)))
        predicted = np.zeros_like(labels)
        predicted[:, *place] = probabilities.argmax(axis=-1)
        for index, truth, guess in zip(part, labels, predicted, strict=True):
            case = names.index(store.table["case"].iloc[index])
            counts[case] += class_counts(truth, guess)
            if index in keep:
                kept[int(index)] = guess
    total = sum(n for _, n in losses)
    loss_mean = sum(value * n for value, n in losses) / total if total else float("nan")
    return Validation({"val_loss": loss_mean, **case_dice(counts)}, kept)


def class_counts(truth: NDArray[np.uint8], guess: NDArray[np.uint8]) -> Counts:
    """Pixels per class in truth, in guess, and in both: [6, 3]."""
    pairs = np.bincount(
        truth.ravel().astype(np.int64) * len(CLASSES) + guess.ravel(), minlength=len(CLASSES) ** 2
    ).reshape(len(CLASSES), len(CLASSES))
    return np.stack([pairs.sum(axis=1), pairs.sum(axis=0), np.diag(pairs)], axis=-1)


def case_dice(counts: Counts) -> dict[str, float]:
    """Mean Dice over the cases that hold the class, from counts [cases, 6, 3]; and its mean.

    `val_dice_<class>` is NaN if no case holds the class; `val_dice` is the mean over the classes
    that have a value, NaN if none has.
    """
    scores = {}
    for c in CLASSES[1:]:
        reference, candidate, both = counts[:, c.label].T
        held = reference > 0
        dice = 2 * both[held] / (reference[held] + candidate[held])
        scores[f"val_dice_{c.key}"] = float(dice.mean()) if held.any() else float("nan")
    known = [scores[f"val_dice_{key}"] for key in KEYS if not np.isnan(scores[f"val_dice_{key}"])]
    return {"val_dice": float(np.mean(known)) if known else float("nan"), **scores}
