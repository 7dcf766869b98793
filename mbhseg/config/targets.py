"""What the configuration asks for: runs and their files, and which models predict what."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbhseg.config.experiments import is_probed, recipe, weights
from mbhseg.config.run_names import ENSEMBLE, Run, any_of

SOURCES = ("huggingface", "archive", "phantom")  # of a data set

File = str | list[str]  # an input of a rule; the empty list where it has none


def runs(config: Mapping[str, Any]) -> list[str]:
    """Names of the runs to build, sorted by experiment, fold and seed as in the config."""
    build = config["build"]
    product = itertools.product(build["experiments"], build["folds"], build["seeds"])
    return [Run(*parts).name for parts in product]


def sweeps(config: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Each pair of an experiment that trains and a seed, for which the folds are pooled."""
    build = config["build"]
    trained = [name for name in build["experiments"] if weights(config, name) is None]
    return list(itertools.product(trained, build["seeds"]))


def scans(config: Mapping[str, Any]) -> list[str]:
    """The user's own scans: files and folders, as given."""
    given = config["scans"]
    return [given] if isinstance(given, str) else list(given)


def endangered_scans(config: Mapping[str, Any]) -> list[str]:
    """The user's own scans among, or around, the predictions of scans: a new run removes those.

    Links are followed; relative paths are below the working directory.
    """
    results = Path("results").resolve()

    def endangered(place: Path) -> bool:
        if not place.is_relative_to(results):
            return results.is_relative_to(place)
        below = place.relative_to(results).parts  # <dataset>, scans, <model>, ...
        return len(below) < 2 or below[1] == "scans"

    return [given for given in scans(config) if endangered(Path(given).resolve())]


def scan_files(config: Mapping[str, Any]) -> list[str]:
    """Every file of the user's own scans, so that a change of one of them reruns the prediction."""
    files: list[str] = []
    for given in map(Path, scans(config)):
        below = given.rglob("*") if given.is_dir() else [given]
        files += (str(path) for path in below if not path.is_dir())
    return sorted(files)


def scan_models(config: Mapping[str, Any]) -> list[str]:
    """The models that predict the user's scans: every run, or an ensemble per experiment."""
    if not config["inference"]["ensemble"]:
        return runs(config)
    return [f"{name}{ENSEMBLE}" for name in config["build"]["experiments"]]


def model_runs(config: Mapping[str, Any], model: str) -> list[str]:
    """The runs that a name of `scan_models` stands for."""
    if not model.endswith(ENSEMBLE):
        return [model]
    experiment = model.removesuffix(ENSEMBLE)
    return [run for run in runs(config) if Run.parse(run).experiment == experiment]


def member_files(
    config: Mapping[str, Any], dataset: str, model: str, name: str, setting: str | None = None
) -> list[str]:
    """A file of the folder of each run that `model`, a name of `scan_models`, stands for.

    None if `inference.<setting>` is false.
    """
    if setting and not config["inference"][setting]:
        return []
    return [f"results/{dataset}/models/{run}/{name}" for run in model_runs(config, model)]


def fold_runs(config: Mapping[str, Any], experiment: str, seed: int | str) -> list[str]:
    """Names of the runs of an experiment and seed, one per fold of the split."""
    return [Run(experiment, fold, int(seed)).name for fold in range(config["split"]["folds"])]


def weights_of(config: Mapping[str, Any], run: str) -> str | None:
    """The file that a run takes its weights from instead of training; None if it trains."""
    return weights(config, Run.parse(run).experiment)


def run_pattern(config: Mapping[str, Any], *, imported: bool) -> str:
    """Regular expression of the runs whose experiments import their weights, or of the others."""
    names = [n for n in config["experiments"] if imported == (weights(config, n) is not None)]
    return rf"(?:{any_of(names)})-f[0-9]+-s[0-9]+"


def probe_table(config: Mapping[str, Any], run: str) -> File:
    """The probe of the run's experiment, if its recipe says `probe`."""
    experiment = Run.parse(run).experiment
    probed = is_probed(recipe(config, experiment)["training"])
    return f"results/probes/{experiment}.json" if probed else []


def annotation_table(config: Mapping[str, Any], dataset: str, run: str) -> File:
    """The table of the raters' own masks, if the run learns from them."""
    own = recipe(config, Run.parse(run).experiment)["training"]["targets"] != "consensus"
    return f"results/{dataset}/annotations.tsv" if own else []


def fold_table(config: Mapping[str, Any], dataset: str, run: str) -> str:
    """The fold that a run trains on.

    Foreign systems are scored on the test set of the first fold that is built.
    """
    foreign = run in config["foreign"]
    fold = config["build"]["folds"][0] if foreign else Run.parse(run).fold
    return f"results/{dataset}/split/fold{fold}.tsv"


def foreign_folder(config: Mapping[str, Any], name: str, dataset: str) -> str:
    """The folder of a foreign system's predictions of a data set."""
    return str(config["foreign"][name]).replace("{dataset}", dataset)


def foreign_files(config: Mapping[str, Any], name: str, dataset: str) -> list[str]:
    """The label volumes in it, sorted; none if there is no such folder."""
    return sorted(map(str, Path(foreign_folder(config, name, dataset)).glob("*.nii.gz")))


def chosen_postprocessing(config: Mapping[str, Any], dataset: str, run: str) -> File:
    """What validation chose for the run, if anything; foreign systems are scored as they are."""
    chosen = config["postprocessing"]["enabled"] and run not in config["foreign"]
    return model_file(config, dataset, run, "postprocess.json") if chosen else []


def from_source(config: Mapping[str, Any], kind: str) -> list[str]:
    """The data sets that come from one kind of source."""
    return [name for name, given in config["datasets"].items() if given.get(kind) is not None]


def models_of(config: Mapping[str, Any], dataset: str) -> str:
    """The data set whose models are tested on `dataset`: itself, or the one it names."""
    return str(config["datasets"][dataset].get("models_of") or dataset)


def own_sets(config: Mapping[str, Any]) -> list[str]:
    """The data sets that have models of their own."""
    return [name for name in config["datasets"] if models_of(config, name) == name]


def models_folder(config: Mapping[str, Any], dataset: str) -> str:
    """The folder of the models that a data set is tested with: its own, or another set's."""
    return f"results/{models_of(config, dataset)}/models"


def model_file(config: Mapping[str, Any], dataset: str, run: str, name: str) -> str:
    """A file of a run's model that `dataset` is tested with."""
    return f"{models_folder(config, dataset)}/{run}/{name}"


def trained_on(config: Mapping[str, Any], dataset: str) -> list[str]:
    """The other set that the models of an external test set come from; else none."""
    source = models_of(config, dataset)
    return [source] if source != dataset else []


def split_file(config: Mapping[str, Any], dataset: str) -> File:
    """The user's own split, if there is one; it does not apply to an external test set."""
    file: str | None = config["split"]["file"]
    return file if file and models_of(config, dataset) == dataset else []


def split_of(config: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """How the data set is split, without the user's file; `external` if all of it is test set."""
    if models_of(config, dataset) != dataset:
        return {"folds": config["split"]["folds"], "external": True}
    return {key: value for key, value in config["split"].items() if key != "file"}


def with_sources(config: Mapping[str, Any]) -> list[str]:
    """The data sets to build, and those whose models they are tested with; no duplicates."""
    asked = config["build"]["datasets"]
    return list(dict.fromkeys([*asked, *(models_of(config, name) for name in asked)]))


def train_env(config: Mapping[str, Any]) -> str:
    """Stem of the file in envs/ for the network's jobs."""
    return "train-gpu" if config["envs"]["train"] == "gpu" else "train"


def reported_settings(config: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """The settings that the report prints: those that matter for a data set and its models."""
    names = (dataset, models_of(config, dataset))
    told = {key: value for key, value in config.items() if key not in ("checkpoint", "envs")}
    return {
        **told,
        "datasets": {name: config["datasets"][name] for name in dict.fromkeys(names)},
        "build": {**config["build"], "datasets": [dataset]},
    }
