"""The configuration: closed schemas, errors that suggest, cross-checks, and the runs it asks for.

Light on purpose: the Snakefile imports it at every call.
"""

import contextlib
import copy
import difflib
import functools
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from mbhseg.config.run_names import ENSEMBLE, PROBED, Run

SOURCES = ("huggingface", "archive", "phantom")
RECIPE = ("network", "training")
SUBSETS = ("train", "valid", "test")
_CHANNELS = 3  # the data set's images are RGB PNGs


class ConfigError(Exception):
    """The configuration is wrong; one line a fault, each naming its key."""


@functools.cache
def schema(folder: Path) -> dict[str, Any]:
    """The schema of the configuration, the recipe's part filled in from its own file."""
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
    """The value with words turned into the numbers, booleans and nulls that the schema expects.

    The engine's `--config slices='{size: 256}'` hands nested values over as text. Keys come in the
    schema's order, as the engine takes settings in another order for other settings.
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
            return kind(word)  # YAML alone takes 1e-3 for text
    return yaml.safe_load(word)


def check(config: Mapping[str, Any], schemas: Path) -> None:
    """Raise ConfigError, one line a fault, unless `config` fits the schema and itself."""
    rules = schema(schemas)
    found = sorted(
        jsonschema.Draft202012Validator(rules).iter_errors(config),
        key=lambda error: [str(part) for part in error.absolute_path],
    )
    faults = list(dict.fromkeys(line for error in found for line in _explain(error)))
    faults = faults or list(_contradictions(config))
    if faults:
        raise ConfigError("\n".join(faults))


def _explain(error: jsonschema.ValidationError) -> Iterator[str]:
    where = ".".join(str(part) for part in error.absolute_path)
    value: Any = error.validator_value
    instance: Any = error.instance
    if error.validator == "additionalProperties" and isinstance(error.schema, Mapping):
        known = list(error.schema.get("properties", {}))
        for key in sorted(set(instance) - set(known)):
            path = f"{where}.{key}" if where else str(key)
            yield f"config: {path} is not a key.{_suggest(str(key), known)}"
    elif error.validator == "enum":
        options = [str(option) for option in value]
        yield f"config: {where} is {instance!r}.{_suggest(str(instance), options)}"
    elif error.validator == "required":
        missing = [key for key in value if key not in instance]
        for key in missing:
            yield f"config: {where + '.' if where else ''}{key} is missing"
    else:
        yield f"config: {where or 'the file'}: {error.message}"


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
    for key, known in (("datasets", config["datasets"]), ("experiments", config["experiments"])):
        for name in build[key]:
            if name not in known:
                yield f"config: build.{key}: {name} is not defined.{_suggest(name, list(known))}"
    for name in slices["channels"]:
        if name not in config["windows"]:
            known = list(config["windows"])
            yield f"config: slices.channels: no window {name}.{_suggest(name, known)}"
    if len(slices["channels"]) not in (1, _CHANNELS):
        yield (
            f"config: slices.channels names {len(slices['channels'])} windows. An RGB image takes "
            f"{_CHANNELS}, or 1 for grey"
        )
    for fold in build["folds"]:
        if fold >= split["folds"]:
            yield f"config: build.folds: fold {fold} is not below split.folds, {split['folds']}"
    for name in set(config["foreign"]) & set(config["experiments"]):
        yield f"config: foreign.{name} has the name of an experiment. Name it otherwise"
    if (config["raters"]["method"] == "rater") != (config["raters"]["rater"] is not None):
        yield "config: raters.rater names the one rater of raters.method: rater, and is else null"
    if split["by"] == "slice" and split["folds"] != 1:
        yield "config: split.by: slice has one fold. Set split.folds to 1"
    for name in build["experiments"]:
        if name in config["experiments"]:
            if weights(config, name) and config["experiments"][name].get("training"):
                yield (
                    f"config: experiments.{name} has weights, so it trains nothing, and training. "
                    "Leave one of them out"
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
                    f"config: training.batch {batch} of experiment {name} is no multiple of "
                    f"training.gpus, {gpus}, which divide it among them"
                )
            if heads > max(0, levels - 2):
                yield (
                    f"config: training.deep_supervision {heads} of experiment {name} is above "
                    f"network.levels - 2, {levels - 2}"
                )
            step = 2 ** (levels - 1)
            if slices["size"] % step:
                yield (
                    f"config: slices.size {slices['size']} is not divisible by {step}, which "
                    f"network.levels {levels} of experiment {name} halves it to"
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


def recipe(config: Mapping[str, Any], experiment: str) -> dict[str, Any]:
    """The network and training settings of an experiment: the common ones with its overrides."""
    overrides = config["experiments"][experiment] or {}
    return {part: merged(config[part], overrides.get(part) or {}) for part in RECIPE}


def is_probed(training: Mapping[str, Any]) -> bool:
    """Whether the recipe leaves something to the probe of the machine."""
    return any(training[key] == "probe" for key in PROBED)


def probed_part(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a recipe that decides how fast a step is, so the rest probes nothing anew."""
    keys = (*PROBED, "probe", "loss", "optimizer", "deterministic", "require_gpu")
    training = {key: recipe["training"][key] for key in keys}
    return {"network": recipe["network"], "training": training}


def threads(training: Mapping[str, Any]) -> int:
    """The most threads that a training takes, for its scheduler."""
    given = training["threads"]
    return int(max(training["probe"]["threads"]) if given == "probe" else given)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with single keys replaced by those of `changes`, mapping by mapping; both stay."""
    result = dict(copy.deepcopy(base))
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if nested else copy.deepcopy(value)
    return result


def weights(config: Mapping[str, Any], experiment: str) -> str | None:
    """The file that an experiment takes its weights from instead of training; None if it trains."""
    found: str | None = (config["experiments"][experiment] or {}).get("weights")
    return found


def runs(config: Mapping[str, Any]) -> list[str]:
    """Names of the runs to build, experiments first, then folds, then seeds."""
    build = config["build"]
    product = itertools.product(build["experiments"], build["folds"], build["seeds"])
    return [Run(*parts).name for parts in product]


def sweeps(config: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Each experiment that trains with each seed: what the folds are pooled over."""
    build = config["build"]
    trained = [name for name in build["experiments"] if weights(config, name) is None]
    return list(itertools.product(trained, build["seeds"]))


def scans(config: Mapping[str, Any]) -> list[str]:
    """The user's own scans: files and folders, as given."""
    given = config["scans"]
    return [given] if isinstance(given, str) else list(given)


def scan_files(config: Mapping[str, Any]) -> list[str]:
    """Every file of the user's own scans, so that a change of one predicts again."""
    files: list[str] = []
    for given in map(Path, scans(config)):
        below = given.rglob("*") if given.is_dir() else [given]
        files += (str(path) for path in below if not path.is_dir())
    return sorted(files)


def scan_models(config: Mapping[str, Any]) -> list[str]:
    """Who predicts the user's scans: every run, or each experiment's ensemble of its runs."""
    if not config["inference"]["ensemble"]:
        return runs(config)
    return [f"{name}{ENSEMBLE}" for name in config["build"]["experiments"]]


def model_runs(config: Mapping[str, Any], model: str) -> list[str]:
    """The runs that a name of `scan_models` stands for."""
    if not model.endswith(ENSEMBLE):
        return [model]
    experiment = model.removesuffix(ENSEMBLE)
    return [run for run in runs(config) if Run.parse(run).experiment == experiment]


def member_files(config: Mapping[str, Any], pattern: str, wildcards: Any) -> list[str]:
    """The file `pattern`, with `{run}` in it, of each run behind the wildcard `model`."""
    runs_of = model_runs(config, wildcards.model)
    return [f"results/{wildcards.dataset}/{pattern.format(run=run)}" for run in runs_of]


def fold_of(config: Mapping[str, Any], run: str) -> int:
    """The fold of a run; a foreign system is scored on the test set of the first that is built."""
    foreign = run in config["foreign"]
    return int(config["build"]["folds"][0]) if foreign else Run.parse(run).fold


def foreign_folder(config: Mapping[str, Any], name: str, dataset: str) -> str:
    """Where a foreign system's predictions of a data set lie."""
    return str(config["foreign"][name]).replace("{dataset}", dataset)


def foreign_files(config: Mapping[str, Any], name: str, dataset: str) -> list[str]:
    """The label volumes that are there, in order; none if there is no such folder."""
    return sorted(map(str, Path(foreign_folder(config, name, dataset)).glob("*.nii.gz")))


def is_postprocessed(config: Mapping[str, Any], run: str) -> bool:
    """Whether post-processing is chosen for a run; foreign systems have no validation cases."""
    return bool(config["postprocessing"]["enabled"]) and run not in config["foreign"]


def source_of(config: Mapping[str, Any], dataset: str) -> str:
    """Which kind of source a data set comes from."""
    return next(kind for kind in SOURCES if config["datasets"][dataset].get(kind) is not None)


def models_of(config: Mapping[str, Any], dataset: str) -> str:
    """The data set whose models are tested on `dataset`: itself, or the one it names."""
    return str(config["datasets"][dataset].get("models_of") or dataset)


def split_of(config: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """How the data set is split, without the user's file; `external` where it is all test."""
    if models_of(config, dataset) != dataset:
        return {"folds": config["split"]["folds"], "external": True}
    return {key: value for key, value in config["split"].items() if key != "file"}


def with_sources(config: Mapping[str, Any]) -> list[str]:
    """The data sets to build, and those whose models they are tested with; each once."""
    asked = config["build"]["datasets"]
    return list(dict.fromkeys([*asked, *(models_of(config, name) for name in asked)]))


def train_env(config: Mapping[str, Any]) -> str:
    """Stem of the file in envs/ that holds what the network's jobs need."""
    return "train-gpu" if config["envs"]["train"] == "gpu" else "train"


def windows(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The window of each of the three channels: name, level and width in HU."""
    names = config["slices"]["channels"]
    names = names * _CHANNELS if len(names) == 1 else names
    return [{"name": name, **config["windows"][name]} for name in names]
