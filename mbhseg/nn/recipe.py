"""The training recipe: the config's `training` object as immutable records.

`config/schemas/recipe.schema.yaml` describes every key to the user; the names are the same.
Defaults here are for callers without a config, such as tests.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mbhseg.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class LossRecipe:
    """Which loss, and the parameters of those that have some."""

    name: str = "ce_dice"
    class_weights: tuple[float, ...] | None = None
    dice_weight: float = 1.0
    gamma: float = 2.0
    alpha: float = 0.3
    beta: float = 0.7


@dataclass(frozen=True)
class OptimizerRecipe:
    """Adam, AdamW (decoupled weight decay) or SGD with Nesterov momentum."""

    name: str = "adamw"
    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    momentum: float = 0.99
    weight_decay: float = 1e-4
    clip_value: float | None = None
    clip_norm: float | None = 1.0
    ema: float | None = None


@dataclass(frozen=True)
class ScheduleRecipe:
    """How the learning rate moves."""

    name: str = "cosine"
    warmup_epochs: float = 1.0
    final_fraction: float = 0.01
    factor: float = 0.5
    patience: int = 4
    min_learning_rate: float = 0.0


@dataclass(frozen=True)
class EarlyStoppingRecipe:
    """Stop after `patience` epochs without a better monitor; None never stops."""

    patience: int | None = None


@dataclass(frozen=True)
class SamplingRecipe:
    """Which slices an epoch draws; see `mbhseg.nn.feed.sampling`."""

    foreground: float | None = None
    slices_per_epoch: int | None = None


@dataclass(frozen=True)
class AugmentationRecipe:
    """Probabilities and ranges; 0 switches a part off. See `mbhseg.nn.feed.augment`."""

    flip_left_right: float = 0.0
    flip_up_down: float = 0.0
    affine: float = 0.0
    rotation_degrees: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    shear_degrees: float = 0.0
    elastic: float = 0.0
    elastic_shift: float = 0.0
    elastic_points: int = 8
    barrel: float = 0.0
    barrel_strength: float = 0.0
    intensity: float = 0.0
    hu_shift: float = 0.0
    hu_scale: float = 0.0
    hu_noise: float = 0.0
    blur: float = 0.0
    blur_pixels: float = 0.0


@dataclass(frozen=True)
class PreviewRecipe:
    """Validation slices drawn after every `every` epochs; 0 slices draws none."""

    slices: int = 4
    every: int = 1


@dataclass(frozen=True)
class ProbeRecipe:
    """What `mbhseg.nn.training.probe` tries for the keys that say `probe`.

    A training has its choice.
    """

    batches: tuple[int, ...] = (4, 8, 16)
    threads: tuple[int, ...] = (1, 2, 4, 8)
    steps: int = 4


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything about training but the data and the network."""

    start_from: str | None = None
    epochs: int = 10
    batch: int = 8
    targets: str = "consensus"
    patch: tuple[float, ...] | None = None
    deep_supervision: int = 0
    loss: LossRecipe = field(default_factory=LossRecipe)
    metrics: tuple[str, ...] = ()
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    monitor: str = "val_dice"
    early_stopping: EarlyStoppingRecipe = field(default_factory=EarlyStoppingRecipe)
    time_budget_minutes: float | None = None
    sampling: SamplingRecipe = field(default_factory=SamplingRecipe)
    augmentation: AugmentationRecipe = field(default_factory=AugmentationRecipe)
    previews: PreviewRecipe = field(default_factory=PreviewRecipe)
    summary: bool = False
    precision: str = "float32"
    threads: int = 2
    probe: ProbeRecipe = field(default_factory=ProbeRecipe)
    deterministic: bool = True
    gpus: int = 1
    require_gpu: bool = False

    @classmethod
    def from_config(cls, training: Mapping[str, Any]) -> "TrainingRecipe":
        """The recipe of a config's `training` object; keys left out take their defaults.

        Raises InputError for a key that does not exist.
        """
        return _record(cls, training, "training")


def _record(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        known = ", ".join(sorted(hints))
        raise InputError(f"{where}.{unknown[0]}", "no such key", f"Allowed: {known}")
    settings = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = _record(typing.cast(type, hints[name]), value, f"{where}.{name}")
        settings[name] = tuple(value) if isinstance(value, list) else value
    return kind(**settings)
