"""What the rules share: the checked config, constraints, and digests of the code."""

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# the folder of our Snakefile, which is not the main one if another workflow uses this as a module
BASE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent

sys.path.insert(0, str(BASE))  # for the library

from mbhseg.config import defaults, experiments, schema, targets
from mbhseg.config.run_names import ENSEMBLE, NAME, RUN, SUBSETS, Run, any_of
from mbhseg.provenance.code import code_digest
from mbhseg.provenance.commands import note_command

SCHEMAS = defaults.schemas_folder()

# a workflow that uses this as a module gives its own config instead of ours
complete = experiments.merged(defaults.defaults(), config)
in_order = schema.typed(complete, schema.schema(SCHEMAS))
config.clear()  # so that the keys take the schema's order
config.update(in_order)
try:
    schema.check(config, SCHEMAS)
except schema.ConfigError as error:
    raise WorkflowError(str(error)) from None

DATASETS = config["build"]["datasets"]
RUNS = targets.runs(config)
SCORED = [*RUNS, *config["foreign"]]
IMPORTED_RUNS = [run for run in RUNS if targets.weights_of(config, run)]
TRAINED_RUNS = [run for run in RUNS if run not in IMPORTED_RUNS]
TRAIN_ENV = targets.train_env(config)
FOLDS = list(range(config["split"]["folds"]))
WINDOWS = experiments.windows(config)
TRAINED = targets.own_sets(config)
TO_TRAIN = [name for name in DATASETS if name in TRAINED]
CONSENSUS = {key: config["raters"][key] for key in ("method", "ties", "rater")}
KEEP = {key: config["slices"][key] for key in ("keep", "fraction")}
ARCHIVE = "results/{dataset}/raw/archive.zip"


wildcard_constraints:
    dataset=NAME,
    model=f"{RUN}|{NAME}{ENSEMBLE}",
    run=any_of([RUN, *config["foreign"]]),
    fold=r"\d+",
    subset=any_of(SUBSETS),


scattergather:
    shard=config["shards"],


def code(script):
    """Digest of a script of workflow_scripts/ and the library behind it: a change reruns the rule."""
    return code_digest(BASE / "workflow_scripts" / f"{script}.py")


def network_code(script):
    """Param: as `code`, with the file behind the experiment's network.model and what it imports."""

    def digest(wildcards):
        experiment = wildcards.get("experiment") or Run.parse(wildcards.run).experiment
        network = experiments.recipe(config, experiment)["network"]["model"]
        path = BASE / "workflow_scripts" / f"{script}.py"
        return code_digest(path, network=network, folders=(Path.cwd(),))

    return digest


def grows(amount):
    """Resource that grows with each attempt of a job: MB of memory, minutes of run time."""
    return lambda wildcards, attempt: amount * attempt


def source(kind):
    """Input function or param: the settings of the data set's source."""
    return lambda wildcards: config["datasets"][wildcards.dataset][kind]


def of_model(name):
    """Input function: a file of the run's model."""
    return lambda wildcards: targets.model_file(
        config, wildcards.dataset, wildcards.run, name
    )


def of_models(name, runs=RUNS):
    """Input function: the same file of every run's model."""
    return lambda wildcards: [
        targets.model_file(config, wildcards.dataset, run, name) for run in runs
    ]


def own_models(wildcards):
    """Input function: the manifests of the models in the data set's own folder."""
    return of_models("manifest.tsv")(wildcards) if wildcards.dataset in TRAINED else []


def members(name, setting=None):
    """Input function: a file of each run behind the wildcard `model`, if the setting asks for it."""
    return lambda wildcards: targets.member_files(
        config, wildcards.dataset, wildcards.model, name, setting
    )


def of_each_fold(pattern):
    """Input function or param: the pattern for each fold's run of an experiment and seed."""
    return lambda wildcards: [
        pattern.format(dataset=wildcards.dataset, run=run)
        for run in targets.fold_runs(config, wildcards.experiment, wildcards.seed)
    ]


def fold_table(wildcards):
    """Input function: the fold that the run trains on, or whose test set it is scored on."""
    return targets.fold_table(config, wildcards.dataset, wildcards.run)


def recipe_of(wildcards):
    """The network and training settings of the run's experiment."""
    return experiments.recipe(config, Run.parse(wildcards.run).experiment)


def threads_of(wildcards):
    """The CPU threads of the run's training, which its predictions take as well."""
    return experiments.threads(recipe_of(wildcards)["training"])


def probed_recipe(wildcards):
    """What the probe's measurement depends on."""
    return experiments.probed_part(experiments.recipe(config, wildcards.experiment))


def report_settings(wildcards):
    """The settings that the report prints."""
    return targets.reported_settings(config, wildcards.dataset)
