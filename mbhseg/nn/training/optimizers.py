"""Optimizer and learning-rate schedule from the recipe."""

from typing import Any

import keras

from mbhseg.errors import InputError
from mbhseg.nn.recipe import OptimizerRecipe, ScheduleRecipe

# decay pulls weights to zero, where offsets and scales need not go
_NOT_DECAYED = ["bias", "gamma", "beta"]


def make_optimizer(
    recipe: OptimizerRecipe, schedule: ScheduleRecipe, *, steps_per_epoch: int, epochs: int
) -> keras.optimizers.Optimizer:
    """The optimizer, with a fixed learning rate (constant, plateau) or a cosine over all steps.

    Raises ValueError for an unknown name, InputError if two ways of clipping are asked for.
    """
    if recipe.clip_value is not None and recipe.clip_norm is not None:
        raise InputError(
            "training.optimizer", "clip_value and clip_norm are both set", "Set one of them to null"
        )
    rate = _learning_rate(recipe.learning_rate, schedule, steps_per_epoch, epochs)
    common: dict[str, Any] = {
        "learning_rate": rate,
        "clipvalue": recipe.clip_value,
        "global_clipnorm": recipe.clip_norm,
        "use_ema": recipe.ema is not None,
        "ema_momentum": recipe.ema or 0.99,
    }
    if recipe.name == "adam":
        return keras.optimizers.Adam(beta_1=recipe.beta_1, beta_2=recipe.beta_2, **common)
    if recipe.name == "adamw":
        optimizer: keras.optimizers.Optimizer = keras.optimizers.AdamW(
            weight_decay=recipe.weight_decay,
            beta_1=recipe.beta_1,
            beta_2=recipe.beta_2,
            **common,
        )
    elif recipe.name == "sgd":
        optimizer = keras.optimizers.SGD(
            momentum=recipe.momentum,
            nesterov=True,
            weight_decay=recipe.weight_decay or None,
            **common,
        )
    else:
        raise ValueError(f"optimizer {recipe.name!r} is none of adam, adamw, sgd")
    optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    return optimizer


def _learning_rate(
    rate: float, schedule: ScheduleRecipe, steps_per_epoch: int, epochs: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if schedule.name in ("constant", "plateau"):
        return rate
    if schedule.name != "cosine":
        raise ValueError(f"schedule {schedule.name!r} is none of constant, plateau, cosine")
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=rate * schedule.final_fraction if warmup else rate,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
        decay_steps=max(1, epochs * steps_per_epoch - warmup),
        alpha=schedule.final_fraction,
    )


def learning_rate_reducer(
    schedule: ScheduleRecipe, monitor: str, mode: str
) -> list[keras.callbacks.Callback]:
    """Keras' reduce-on-plateau for the schedule `plateau`, else nothing."""
    if schedule.name != "plateau":
        return []
    return [
        keras.callbacks.ReduceLROnPlateau(
            monitor=monitor,
            mode=mode,
            factor=schedule.factor,
            patience=schedule.patience,
            min_lr=schedule.min_learning_rate,
        )
    ]
