"""The recipe of each experiment: the common settings and its overrides."""

import copy
from collections.abc import Mapping
from typing import Any

from mbhseg.config.run_names import PROBED

RECIPE = ("network", "training")

CHANNELS = 3  # the data set's images are RGB PNGs


def recipe(config: Mapping[str, Any], experiment: str) -> dict[str, Any]:
    """The network and training settings of an experiment: the common ones and its overrides."""
    overrides = config["experiments"][experiment] or {}
    return {part: merged(config[part], overrides.get(part) or {}) for part in RECIPE}


def is_probed(training: Mapping[str, Any]) -> bool:
    """Whether a key of the recipe is `probe`."""
    return any(training[key] == "probe" for key in PROBED)


def probed_part(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a recipe that decides how fast a step is; other changes need no new probe."""
    keys = (*PROBED, "probe", "patch", "loss", "optimizer", "deterministic", "require_gpu")
    training = {key: recipe["training"][key] for key in keys}
    return {"network": recipe["network"], "training": training}


def threads(training: Mapping[str, Any]) -> int:
    """The largest number of CPU threads that a training takes."""
    given = training["threads"]
    return int(max(training["probe"]["threads"]) if given == "probe" else given)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with single keys, at every level, replaced by those of `changes`; copies of both."""
    result = dict(copy.deepcopy(base))
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if nested else copy.deepcopy(value)
    return result


def weights(config: Mapping[str, Any], experiment: str) -> str | None:
    """The file that an experiment takes its weights from instead of training; None if it trains."""
    file: str | None = (config["experiments"][experiment] or {}).get("weights")
    return file


def named_windows(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every window of the config in its order: name, level and width in HU."""
    return [{"name": name, **window} for name, window in config["windows"].items()]


def display_window(config: Mapping[str, Any]) -> dict[str, Any]:
    """The window in which pictures show CT: `brain`, else the first of slices.channels.

    Returns name, level and width in HU.
    """
    name = "brain" if "brain" in config["windows"] else config["slices"]["channels"][0]
    return {"name": name, **config["windows"][name]}


def windows(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The window of each of the three channels: name, level and width in HU."""
    names = config["slices"]["channels"]
    names = names * CHANNELS if len(names) == 1 else names
    return [{"name": name, **config["windows"][name]} for name in names]
