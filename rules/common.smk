"""What the rules share: the checked config, constraints, and digests of the code."""

import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

# beside our Snakefile, which is not the main one where another workflow uses this as a module
BASE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent

sys.path.insert(0, str(BASE))  # the library lies there

from mbhseg.config import experiments, schema, targets
from mbhseg.config.run_names import ENSEMBLE, NAME, RUN, SUBSETS, Run
from mbhseg.provenance.code import code_digest
from mbhseg.provenance.commands import note_command

SCHEMAS = BASE / "config" / "schemas"

# a workflow that uses this as a module gives its own config in place of ours
complete = experiments.merged(
    yaml.safe_load((BASE / "config" / "config.yaml").read_text()), config
)
in_order = schema.typed(complete, schema.schema(SCHEMAS))
config.clear()  # so that the keys take the schema's order
config.update(in_order)
try:
    schema.check(config, SCHEMAS)
except schema.ConfigError as error:
    raise WorkflowError(str(error)) from None

DATASETS = config["build"]["datasets"]
RUNS = targets.runs(config)
SWEEPS = targets.sweeps(config)
SCORED = [*RUNS, *config["foreign"]]
IMPORTED_RUNS = [
    run for run in RUNS if experiments.weights(config, Run.parse(run).experiment)
]
TRAINED_RUNS = [run for run in RUNS if run not in IMPORTED_RUNS]
TRAIN_ENV = targets.train_env(config)
FOLDS = list(range(config["split"]["folds"]))
WINDOWS = experiments.windows(config)
TRAINED = [
    name for name in config["datasets"] if targets.models_of(config, name) == name
]
TO_TRAIN = [name for name in DATASETS if name in TRAINED]
CONSENSUS = {key: config["raters"][key] for key in ("method", "ties", "rater")}
KEEP = {key: config["slices"][key] for key in ("keep", "fraction", "seed")}


wildcard_constraints:
    dataset=NAME,
    model=f"{RUN}|{NAME}{ENSEMBLE}",
    run="|".join([RUN, *config["foreign"]]),
    fold=r"\d+",
    subset="|".join(SUBSETS),


scattergather:
    shard=config["shards"],


def code(script):
    """Digest of a script of workflow_scripts/ and the library behind it: a change reruns the rule."""
    return code_digest(BASE / "workflow_scripts" / f"{script}.py")


def grows(amount):
    """Resource that grows with each try of a job: MiB of memory, minutes of run time."""
    return lambda wildcards, attempt: amount * attempt


def named(kind):
    """Constraint of the wildcard `dataset` to the data sets of one kind of source."""
    names = [
        name for name in config["datasets"] if targets.source_of(config, name) == kind
    ]
    return "|".join(names) or "(?!)"


def source(kind):
    """Input function or param: the settings of the data set's source."""
    return lambda wildcards: config["datasets"][wildcards.dataset][kind]


def models_folder(wildcards):
    """Where the models lie that the data set is tested with: its own, or those of another set."""
    return f"results/{targets.models_of(config, wildcards.dataset)}/models"


def of_model(name):
    """Input function: a file of the run's model."""
    return lambda wildcards: f"{models_folder(wildcards)}/{wildcards.run}/{name}"


def of_models(name, runs=RUNS):
    """Input function: the same file of every run's model."""
    return lambda wildcards: [
        f"{models_folder(wildcards)}/{run}/{name}" for run in runs
    ]


def runs_of(imported):
    """Constraint of the wildcard `run` to the experiments that import their weights, or train."""
    names = [
        name
        for name in config["experiments"]
        if imported == (experiments.weights(config, name) is not None)
    ]
    return rf"(?:{'|'.join(names) or '(?!)'})-f[0-9]+-s[0-9]+"


def weights_of(wildcards):
    """Input function: the file that the run takes its weights from."""
    return experiments.weights(config, Run.parse(wildcards.run).experiment)


def own_models(wildcards):
    """Input function: the manifests of the models that lie in the data set's own folder."""
    return of_models("manifest.tsv")(wildcards) if wildcards.dataset in TRAINED else []


def of_source(wildcards, name):
    """Files of the set that the models of an external test set come from; else none."""
    source = targets.models_of(config, wildcards.dataset)
    own = wildcards.dataset in TRAINED
    return [] if own else expand(f"results/{source}/{name}", fold=FOLDS)


def split_file(wildcards):
    """Input function: the user's own split; an external test set has none."""
    return (wildcards.dataset in TRAINED and config["split"]["file"]) or []


def recipe_of(wildcards):
    """The network and training settings of the run's experiment."""
    return experiments.recipe(config, Run.parse(wildcards.run).experiment)


def probed_recipe(wildcards):
    """What the probe's measurement depends on."""
    return experiments.probed_part(experiments.recipe(config, wildcards.experiment))


def probe_table(wildcards):
    """The probe of the run's experiment, where its recipe says `probe`."""
    probed = experiments.is_probed(recipe_of(wildcards)["training"])
    experiment = Run.parse(wildcards.run).experiment
    return f"results/probes/{experiment}.json" if probed else []


def fold_table(wildcards):
    """The fold that the run trains on; for a foreign system, whose test set it is scored on."""
    fold = targets.fold_of(config, wildcards.run)
    return f"results/{wildcards.dataset}/split/fold{fold}.tsv"


def of_each_fold(pattern):
    """Input function or param: the pattern for each fold's run of an experiment and seed."""
    return lambda wildcards: [
        pattern.format(
            dataset=wildcards.dataset,
            run=Run(wildcards.experiment, fold, wildcards.seed).name,
        )
        for fold in FOLDS
    ]


def chosen_postprocessing(wildcards):
    """Input function: what validation chose for the run; foreign systems are scored as they are."""
    own = targets.is_postprocessed(config, wildcards.run)
    return of_model("postprocess.json")(wildcards) if own else []


def annotations_of(wildcards):
    """The raters' own masks, if the run learns from them."""
    own = recipe_of(wildcards)["training"]["targets"] != "consensus"
    return f"results/{wildcards.dataset}/annotations.tsv" if own else []


def members(pattern, setting=None):
    """Input function: a file of each run behind the wildcard `model`, if the setting asks for it."""
    if setting and not config["inference"][setting]:
        return []
    return lambda wildcards: targets.member_files(config, pattern, wildcards)


def report_settings(wildcards):
    """The settings that the report prints: all that matter, of the data sets its own and its models'."""
    names = (wildcards.dataset, targets.models_of(config, wildcards.dataset))
    told = {k: value for k, value in config.items() if k not in ("checkpoint", "envs")}
    return {
        **told,
        "datasets": {name: config["datasets"][name] for name in dict.fromkeys(names)},
        "build": {**config["build"], "datasets": [wildcards.dataset]},
    }
