"""The training recipe: the config's `training` object as immutable records.

`config/schemas/recipe.schema.yaml` describes every key to the user; the names are the same. The
defaults are those of config/config.yaml (`mbhseg.config.defaults`); there are none here.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mbhseg.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class LossRecipe:
    """Which loss, and the parameters of those that have some."""

    name: str
    class_weights: tuple[float, ...] | None
    dice_weight: float
    gamma: float
    alpha: float
    beta: float


@dataclass(frozen=True)
class OptimizerRecipe:
    """Adam, AdamW (decoupled weight decay) or SGD with Nesterov momentum."""

    name: str
    learning_rate: float
    beta_1: float
    beta_2: float
    momentum: float
    weight_decay: float
    clip_value: float | None
    clip_norm: float | None
    ema: float | None


@dataclass(frozen=True)
class ScheduleRecipe:
    """How the learning rate moves."""

    name: str
    warmup_epochs: float
    final_fraction: float
    factor: float
    patience: int
    min_learning_rate: float


@dataclass(frozen=True)
class EarlyStoppingRecipe:
    """Stop after `patience` epochs without a better monitor; None never stops early."""

    patience: int | None


@dataclass(frozen=True)
class SamplingRecipe:
    """Which slices an epoch draws; see `mbhseg.nn.feed.sampling`."""

    foreground: float | None
    slices_per_epoch: int | None


@dataclass(frozen=True)
class AugmentationRecipe:
    """Probabilities and ranges; 0 switches a part off. See `mbhseg.nn.feed.augment`."""

    flip_left_right: float
    flip_up_down: float
    affine: float
    rotation_degrees: float
    scale: float
    shift: float
    shear_degrees: float
    elastic: float
    elastic_shift: float
    elastic_points: int
    barrel: float
    barrel_strength: float
    intensity: float
    hu_shift: float
    hu_scale: float
    hu_noise: float
    blur: float
    blur_pixels: float


@dataclass(frozen=True)
class PreviewRecipe:
    """Validation slices pictured after every `every` epochs; 0 slices for none."""

    slices: int
    every: int


@dataclass(frozen=True)
class ProbeRecipe:
    """What `mbhseg.nn.training.probe` tries for the keys that say `probe`."""

    batches: tuple[int, ...]
    threads: tuple[int, ...]
    steps: int


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything about training but the data and the network."""

    start_from: str | None
    epochs: int
    batch: int
    targets: str
    patch: tuple[float, ...] | None
    deep_supervision: int
    loss: LossRecipe
    metrics: tuple[str, ...]
    optimizer: OptimizerRecipe
    schedule: ScheduleRecipe
    monitor: str
    early_stopping: EarlyStoppingRecipe
    time_budget_minutes: float | None
    sampling: SamplingRecipe
    augmentation: AugmentationRecipe
    previews: PreviewRecipe
    precision: str
    threads: int
    probe: ProbeRecipe
    deterministic: bool
    gpus: int
    require_gpu: bool

    @classmethod
    def from_config(cls, training: Mapping[str, Any]) -> "TrainingRecipe":
        """The recipe of a config's `training` object.

        Raises InputError for a key that does not exist, and for one that is missing.
        """
        return _record(cls, training, "training")


def _record(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        known = ", ".join(sorted(hints))
        raise InputError(f"{where}.{unknown[0]}", "no such key", f"Allowed: {known}")
    for name in hints:
        if name not in values:
            raise InputError(
                f"{where}.{name}", "is missing", "Take its default from config/config.yaml"
            )
    settings = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = _record(typing.cast(type, hints[name]), value, f"{where}.{name}")
        settings[name] = tuple(value) if isinstance(value, list) else value
    return kind(**settings)
