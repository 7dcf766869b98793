"""Checks of the configuration: closed schemas, suggestions, contradictions.

Light on purpose: the Snakefile imports it at every call.
"""

import contextlib
import difflib
import functools
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from mbhseg.config.experiments import CHANNELS, RECIPE, recipe, weights
from mbhseg.config.targets import SOURCES, endangered_scans
from mbhseg.errors import InputError

# settings that are gone, and what to do about one in an older config
GONE = {
    "slices.seed": "the draw of keep: bleeding_plus is the same for everyone",
    "training.summary": "snakemake results/summaries/<experiment>.txt lists layers and parameters",
}


_KINDS = {"boolean": "true or false", "integer": "a whole number", "number": "a number"}


class ConfigError(Exception):
    """The configuration is wrong: one line per fault, each naming its key."""


@functools.cache
def schema(folder: Path) -> dict[str, Any]:
    """The schema of the configuration, with the recipe's part from its own file."""
    whole: dict[str, Any] = yaml.safe_load((folder / "config.schema.yaml").read_text())
    recipe = yaml.safe_load((folder / "recipe.schema.yaml").read_text())["properties"]
    whole["properties"] |= {part: recipe[part] for part in RECIPE}
    overrides = whole["properties"]["experiments"]["additionalProperties"]["properties"]
    overrides |= {part: _optional(recipe[part]) for part in RECIPE}
    return whole


def _optional(node: dict[str, Any]) -> dict[str, Any]:
    """The schema with nothing required: an experiment states only what it changes."""
    loose = {key: value for key, value in node.items() if key != "required"}
    if "properties" in loose:
        loose["properties"] = {k: _optional(v) for k, v in loose["properties"].items()}
    return loose


def typed(value: Any, rules: Mapping[str, Any]) -> Any:
    """The value, with words converted to the numbers, booleans and nulls that the schema expects.

    Snakemake's `--config slices='{size: 256}'` passes nested values as text. Keys are put in the
    schema's order, as Snakemake takes the same settings in another order for other settings.
    """
    if isinstance(value, Mapping):
        known, other = rules.get("properties", {}), rules.get("additionalProperties")
        other = other if isinstance(other, Mapping) else {}
        order = [
            *(key for key in known if key in value),
            *(key for key in value if key not in known),
        ]
        return {key: typed(value[key], known.get(key, other)) for key in order}
    if isinstance(value, list):
        return [typed(item, rules.get("items", {})) for item in value]
    kinds = rules.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    nullable = "null" in kinds or None in rules.get("enum", [])
    if isinstance(value, str) and (
        (kinds and ("string" not in kinds or "integer" in kinds)) or (nullable and value == "null")
    ):
        return _read_word(value)
    return value


def _read_word(word: str) -> Any:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(word)  # YAML takes 1e-3 for text
    return yaml.safe_load(word)


def check(config: Mapping[str, Any], schemas: Path) -> None:
    """Raise ConfigError, one line per fault, unless `config` fits the schema and is consistent."""
    rules = schema(schemas)
    errors = sorted(
        jsonschema.Draft202012Validator(rules).iter_errors(config),
        key=lambda error: [str(part) for part in error.absolute_path],
    )
    faults = list(dict.fromkeys(line for error in errors for line in _explain(error)))
    faults = faults or list(_contradictions(config))
    if faults:
        raise ConfigError("\n".join(faults))


def check_section(
    section: str,
    values: Mapping[str, Any],
    schemas: Path,
    shown: Callable[[str], str] = str,
) -> None:
    """Raise InputError unless each of the values may stand in a flat section of the configuration.

    It names the first key that is wrong, as `shown` words it. Stricter than `check`, whose values
    come from YAML: 2.0 is no whole number, and numbers are finite.
    """
    rules = schema(schemas)["properties"][section]["properties"]
    for key, value in values.items():
        valid = isinstance(value, str | int | float)
        valid = valid and jsonschema.Draft202012Validator(rules[key]).is_valid(value)
        if isinstance(value, float):
            valid = valid and rules[key].get("type") != "integer" and math.isfinite(value)
        if not valid:
            raise InputError(shown(key), f"is {reprlib.repr(value)}", f"Give {_wanted(rules[key])}")


def _wanted(rules: Mapping[str, Any]) -> str:
    """What a key of a flat section takes, in words."""
    if "enum" in rules:
        return f"one of {', '.join(map(str, rules['enum']))}"
    limits = {"from": rules.get("minimum"), "to": rules.get("maximum")}
    words = [f"{word} {limit}" for word, limit in limits.items() if limit is not None]
    return " ".join([_KINDS.get(rules["type"], f"a {rules['type']}"), *words])


def _explain(error: jsonschema.ValidationError) -> Iterator[str]:
    where = ".".join(str(part) for part in error.absolute_path)
    value: Any = error.validator_value
    instance: Any = error.instance
    if error.validator == "additionalProperties" and isinstance(error.schema, Mapping):
        known = list(error.schema.get("properties", {}))
        for key in sorted(set(instance) - set(known)):
            path = f"{where}.{key}" if where else str(key)
            gone = next((text for name, text in GONE.items() if _is_or_in(path, name)), None)
            yield (
                f"config: {path} is gone. Remove it: {gone}"
                if gone
                else f"config: {path} is not a key.{_suggest(str(key), known)}"
            )
    elif error.validator == "enum":
        options = [str(option) for option in value]
        yield f"config: {where} is {instance!r}.{_suggest(str(instance), options)}"
    elif error.validator == "required":
        missing = [key for key in value if key not in instance]
        for key in missing:
            yield f"config: {where + '.' if where else ''}{key} is missing"
    else:
        yield f"config: {where or 'the file'}: {error.message}"


def _is_or_in(path: str, name: str) -> bool:
    """Whether a dotted path is the key `name`, or that key in an experiment's recipe."""
    return path == name or (path.startswith("experiments.") and path.endswith(f".{name}"))


def _suggest(word: str, options: list[str]) -> str:
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"{hint} Allowed: {', '.join(sorted(options))}"


def _contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """Faults that no single key shows."""
    build, slices, split = config["build"], config["slices"], config["split"]
    for name, source in config["datasets"].items():
        given = [key for key in SOURCES if source.get(key) is not None]
        if len(given) != 1:
            stated = " and ".join(given) if given else "none"
            yield (
                f"config: datasets.{name} needs exactly one source of {', '.join(SOURCES)}, has "
                f"{stated}. Set the others to null"
            )
        yield from _models_faults(config, name)
    for place in endangered_scans(config):
        yield (
            f"config: scans: {place} is among the predictions in results/<dataset>/scans, or holds "
            "them, and a new run removes those. Name files elsewhere"
        )
    for key, known in (("datasets", config["datasets"]), ("experiments", config["experiments"])):
        for name in build[key]:
            if name not in known:
                yield f"config: build.{key}: {name} is not defined.{_suggest(name, list(known))}"
    for name in slices["channels"]:
        if name not in config["windows"]:
            known = list(config["windows"])
            yield f"config: slices.channels: no window {name}.{_suggest(name, known)}"
    if len(slices["channels"]) not in (1, CHANNELS):
        yield (
            f"config: slices.channels names {len(slices['channels'])} windows. An RGB image takes "
            f"{CHANNELS}, or 1 for grey"
        )
    for fold in build["folds"]:
        if fold >= split["folds"]:
            yield f"config: build.folds: fold {fold} is not below split.folds, {split['folds']}"
    for name in set(config["foreign"]) & set(config["experiments"]):
        yield f"config: foreign.{name} has the name of an experiment. Rename one of them"
    if (config["raters"]["method"] == "rater") != (config["raters"]["rater"] is not None):
        yield "config: raters.rater needs a number if raters.method is rater, and null otherwise"
    if split["by"] == "slice" and split["folds"] != 1:
        yield "config: split.by: slice allows one fold only. Set split.folds: 1"
    for name in build["experiments"]:
        if name in config["experiments"]:
            if weights(config, name) and config["experiments"][name].get("training"):
                yield (
                    f"config: experiments.{name} has weights, so it does not train, and training. "
                    "Remove one of them"
                )
            chosen = recipe(config, name)
            levels = chosen["network"].get("levels", 1)
            targets, heads = chosen["training"]["targets"], chosen["training"]["deep_supervision"]
            if targets != "consensus" and not config["raters"]["masks"]:
                yield (
                    f"config: training.targets {targets} of experiment {name} needs the raters' "
                    "own masks. Set raters.masks: true"
                )
            batch, gpus = (chosen["training"][key] for key in ("batch", "gpus"))
            if gpus > 1 and (batch == "probe" or batch % gpus):
                yield (
                    f"config: training.batch {batch} of experiment {name} is not a multiple of "
                    f"training.gpus, {gpus}, which share it"
                )
            if heads > max(0, levels - 2):
                yield (
                    f"config: training.deep_supervision {heads} of experiment {name} is above "
                    f"network.levels - 2, {levels - 2}"
                )
            step = 2 ** (levels - 1)
            if slices["size"] % step:
                yield (
                    f"config: slices.size {slices['size']} is not divisible by {step}: "
                    f"experiment {name} halves it {levels - 1} times (network.levels {levels})"
                )


def _models_faults(config: Mapping[str, Any], name: str) -> Iterator[str]:
    known = config["datasets"]
    other = known[name].get("models_of")
    if other is None:
        return
    key = f"config: datasets.{name}.models_of"
    trained = [each for each in known if known[each].get("models_of") is None]
    if other not in known:
        yield f"{key}: {other} is not defined.{_suggest(other, trained)}"
    elif other not in trained:
        yield f"{key}: {other} has no models of its own.{_suggest(other, trained)}"
