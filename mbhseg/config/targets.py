"""What the configuration asks for: runs, files, and whose models predict what."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbhseg.config.experiments import weights
from mbhseg.config.run_names import ENSEMBLE, Run

SOURCES = ("huggingface", "archive", "phantom")  # of a data set


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
