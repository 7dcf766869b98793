"""Facts as lines of name and value: settings, and how a run was trained by its run.json."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from mbhseg.runtime.durations import duration


class Fact(NamedTuple):
    """A line of a list of facts."""

    name: str
    value: str


def flatten(settings: Any, prefix: str = "") -> list[Fact]:
    """Nested settings as lines `outer.inner: value`, in their order."""
    if not isinstance(settings, dict):
        return [Fact(prefix, as_text(settings))]
    if not settings:
        return [Fact(prefix, "none")] if prefix else []
    return [
        fact
        for key, value in settings.items()
        for fact in flatten(value, f"{prefix}.{key}" if prefix else str(key))
    ]


def as_text(value: Any) -> str:
    """A setting as the config file would write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_text(item) for item in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def run_facts(info: dict[str, Any], history: pd.DataFrame | None) -> list[Fact]:
    """The main facts of a run.json and its history; no history for imported weights."""
    size = info["input"]["size"]
    facts = [
        Fact("experiment", f"{info['experiment']}, fold {info['fold']}, seed {info['seed']}"),
        Fact("parameters", f"{info['parameters']:,}"),
        Fact("input", f"{size} × {size}, {len(info['input']['windows'])} channels"),
    ]
    if history is None:
        return [*facts, imported_weights(info)]
    seconds = info["timings"]["total_seconds"]
    return [
        *facts,
        trained_on(info),
        Fact("validated on", f"{info['data']['valid_slices']:,} slices"),
        kept_weights(info, len(history)),
        Fact("training time", duration(seconds)),
        trained_with(info),
    ]


def trained_with(info: Mapping[str, Any]) -> Fact:
    """The device of a run.json: `CPU: AMD EPYC, 2 threads, float32`."""
    device = info["device"]
    name = f"{device['count']} × {device['name']}" if device["count"] > 1 else device["name"]
    threads = f"{device['threads']} thread{'s' if device['threads'] != 1 else ''}"
    return Fact("device", f"{device['kind'].upper()}: {name}, {threads}, {device['precision']}")


def trained_on(info: Mapping[str, Any]) -> Fact:
    """How many slices the network was trained on."""
    return Fact("trained on", f"{info['data']['train_slices']:,} slices")


def imported_weights(info: Mapping[str, Any]) -> Fact:
    """Where imported weights come from."""
    return Fact("weights", f"imported from {info['imported']['file']}, not trained here")


def kept_weights(info: Mapping[str, Any], epochs: int | None = None) -> Fact:
    """The epoch whose weights were kept, of how many if known, and its score if it has one."""
    best = info["best"]
    chosen = f"epoch {best['epoch']:.0f}" + (f" of {epochs}" if epochs is not None else "")
    if best.get("val_dice") is not None:
        chosen += f", validation Dice {best['val_dice']:.3f}"
    return Fact("weights kept", chosen)
