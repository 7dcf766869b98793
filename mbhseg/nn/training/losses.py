"""Losses and metrics of segmentation, as functions of targets and predicted probabilities.

Everywhere below
    target         [B, H, W] whole labels, or [B, H, W, C] the share of each class: vote counts of
                   raters, or a distribution (soft targets);
    probabilities  [B, H, W, C] float32, summing to 1 over C; class 0 is the background.
Losses give one value per image [B] (averaged by Keras) unless they pool the batch, then a scalar.
Pure Keras 3 operations.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from mbhseg.nn.recipe import LossRecipe

Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]

# keeps overlap losses finite where neither target nor prediction holds a class
SMOOTH = 1.0


def as_distribution(target: Tensor, classes: int) -> Tensor:
    """The target as float32 [B, H, W, C] that sums to 1 over C: one-hot of whole labels, or the
    votes over their number. A pixel without a vote is the caller's error and becomes NaN."""
    if len(target.shape) == 4:
        votes = ops.cast(target, "float32")
        return votes / ops.sum(votes, axis=-1, keepdims=True)
    return ops.one_hot(ops.cast(target, "int32"), classes, dtype="float32")


def cross_entropy(
    target: Tensor, probabilities: Tensor, class_weights: Sequence[float] | None = None
) -> Tensor:
    """Mean over pixels of -sum_c w_c t_c log p_c; [B]. Without weights w = 1.

    This is Keras' categorical_crossentropy, which uses the logits where it can.
    """
    wanted = as_distribution(target, probabilities.shape[-1])
    pixels = keras.losses.categorical_crossentropy(wanted, probabilities)
    if class_weights is not None:
        pixels = pixels * ops.sum(wanted * _constant(class_weights), axis=-1)
    return ops.mean(pixels, axis=(1, 2))


def focal(
    target: Tensor,
    probabilities: Tensor,
    gamma: float,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """Mean over pixels of -sum_c w_c t_c (1 - p_c)^gamma log p_c; [B] (Lin et al., 2017)."""
    wanted = as_distribution(target, probabilities.shape[-1])
    p = ops.clip(probabilities, keras.config.epsilon(), 1.0 - keras.config.epsilon())
    terms = -wanted * ops.power(1.0 - p, gamma) * ops.log(p)
    if class_weights is not None:
        terms = terms * _constant(class_weights)
    return ops.mean(ops.sum(terms, axis=-1), axis=(1, 2))


def tversky(
    target: Tensor,
    probabilities: Tensor,
    alpha: float,
    beta: float,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """1 - (weighted) mean over bleed classes of TP / (TP + alpha FP + beta FN); a scalar.

    Counts are soft and pooled over the batch, as most slices hold no pixel of a class
    (Salehi et al., 2017). The background's weight is not used.
    """
    wanted = as_distribution(target, probabilities.shape[-1])[..., 1:]
    p = probabilities[..., 1:]
    hits = ops.sum(wanted * p, axis=(0, 1, 2))
    false_positives = ops.sum(p, axis=(0, 1, 2)) - hits
    misses = ops.sum(wanted, axis=(0, 1, 2)) - hits
    index = (hits + SMOOTH) / (hits + alpha * false_positives + beta * misses + SMOOTH)
    if class_weights is None:
        return 1.0 - ops.mean(index)
    weights = _constant(class_weights)[1:]
    return 1.0 - ops.sum(weights * index) / ops.sum(weights)


def soft_dice(
    target: Tensor, probabilities: Tensor, class_weights: Sequence[float] | None = None
) -> Tensor:
    """1 - (weighted) mean over bleed classes of the soft Dice, pooled over the batch; a scalar.

    Dice = 2 TP / (2 TP + FP + FN), the Tversky index with alpha = beta = 1/2 (Milletari, 2016).
    """
    return tversky(target, probabilities, 0.5, 0.5, class_weights)


def generalized_dice(
    target: Tensor, probabilities: Tensor, class_weights: Sequence[float] | None = None
) -> Tensor:
    """1 - 2 sum_c w_c TP_c / sum_c w_c (2 TP_c + FP_c + FN_c), w_c = 1 / volume_c^2; a scalar.

    Counts are soft, over all classes, and pooled over the batch, so that a class weighs the same
    however small its volume is (Sudre et al., 2017, section 2.1). A class that is not in the
    batch gets the largest weight of those that are. `class_weights` multiply w.
    """
    axes = (0, 1, 2)
    wanted = as_distribution(target, probabilities.shape[-1])
    volumes = ops.sum(wanted, axis=axes)
    held = volumes > 0
    weights = ops.where(held, 1.0 / ops.square(ops.where(held, volumes, 1.0)), 0.0)
    weights = ops.where(held, weights, ops.max(weights))
    if class_weights is not None:
        weights = weights * _constant(class_weights)
    hits = ops.sum(wanted * probabilities, axis=axes)
    totals = volumes + ops.sum(probabilities, axis=axes)
    return 1.0 - 2.0 * ops.sum(weights * hits) / ops.sum(weights * totals)


def cross_entropy_and_dice(
    target: Tensor,
    probabilities: Tensor,
    dice_weight: float,
    class_weights: Sequence[float] | None = None,
) -> Tensor:
    """Mean cross-entropy of the batch + dice_weight times soft Dice loss; a scalar.

    Class weights apply to the cross-entropy.
    """
    entropy = ops.mean(cross_entropy(target, probabilities, class_weights))
    return entropy + dice_weight * soft_dice(target, probabilities)


def make_loss(recipe: LossRecipe) -> Loss:
    """The loss that the recipe names, one of LOSSES, with the settings that it uses bound.

    Raises ValueError for another name.
    """
    name = recipe.name
    settings: dict[str, dict[str, Any]] = {
        "cross_entropy": {},
        "dice": {},
        "ce_dice": {"dice_weight": recipe.dice_weight},
        "focal": {"gamma": recipe.gamma},
        "generalized_dice": {},
        "tversky": {"alpha": recipe.alpha, "beta": recipe.beta},
    }
    if name not in LOSSES:
        raise ValueError(f"loss {name!r} is none of {', '.join(LOSSES)}")
    weights = recipe.class_weights
    bound = functools.partial(LOSSES[name], **settings[name], class_weights=weights)
    functools.update_wrapper(bound, LOSSES[name])  # Keras shows and stores the name
    return bound


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "dice": soft_dice,
    "ce_dice": cross_entropy_and_dice,
    "focal": focal,
    "generalized_dice": generalized_dice,
    "tversky": tversky,
}


def dice_coef_multiclass(target: Tensor, probabilities: Tensor) -> Tensor:
    """(2 sum t p + s) / (sum t + sum p + s) over H, W and all classes, [B].

    The reference project's metric, only for comparison with it. The background counts, so on hard
    masks it is the share of pixels that agree, about .99 for a network that finds nothing.
    """
    # ASSUME: the smoothing is 1e-6; against 2 H W in the denominator it changes nothing
    smooth = 1e-6
    wanted = as_distribution(target, probabilities.shape[-1])
    p = ops.cast(probabilities, "float32")
    both = ops.sum(wanted * p, axis=(1, 2, 3))
    total = ops.sum(wanted, axis=(1, 2, 3)) + ops.sum(p, axis=(1, 2, 3))
    return (2.0 * both + smooth) / (total + smooth)


def pixel_accuracy(target: Tensor, probabilities: Tensor) -> Tensor:
    """Share of pixels whose most probable class is the target's, [B]."""
    wanted = ops.argmax(as_distribution(target, probabilities.shape[-1]), axis=-1)
    right = ops.equal(wanted, ops.argmax(probabilities, axis=-1))
    return ops.mean(ops.cast(right, "float32"), axis=(1, 2))


def bleed_dice(target: Tensor, probabilities: Tensor) -> Tensor:
    """Soft Dice of any bleed against background, pooled over the batch; a scalar.

    1 where neither target nor prediction holds a bleed.
    """
    wanted = 1.0 - as_distribution(target, probabilities.shape[-1])[..., 0]
    p = 1.0 - probabilities[..., 0]
    both = ops.sum(wanted * p)
    return (2.0 * both + SMOOTH) / (ops.sum(wanted) + ops.sum(p) + SMOOTH)


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dice_coef_multiclass": dice_coef_multiclass,
    "pixel_accuracy": pixel_accuracy,
    "bleed_dice": bleed_dice,
    "cross_entropy": cross_entropy,
}


def _constant(values: Sequence[float]) -> Tensor:
    return ops.convert_to_tensor(list(values), dtype="float32")
