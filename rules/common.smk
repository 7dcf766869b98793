"""What the rules share: the checked config, constraints, and digests of the code."""

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)  # the library lies beside the Snakefile

from mbhseg import config as settings
from mbhseg.provenance import code_digest, note_command
from mbhseg.runs import NAME, RUN, Run

BASE = Path(workflow.basedir)

SCHEMAS = BASE / "config" / "schemas"

config.update(settings.typed(config, settings.schema(SCHEMAS)))
try:
    settings.check(config, SCHEMAS)
except settings.ConfigError as error:
    raise WorkflowError(str(error)) from None

DATASETS = config["build"]["datasets"]
RUNS = settings.runs(config)
FOLDS = list(range(config["split"]["folds"]))
WINDOWS = settings.windows(config)
CONSENSUS = {key: config["raters"][key] for key in ("method", "ties", "rater")}
KEEP = {key: config["slices"][key] for key in ("keep", "fraction", "seed")}


wildcard_constraints:
    dataset=NAME,
    run=RUN,
    fold=r"\d+",
    subset="|".join(settings.SUBSETS),


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
        name for name in config["datasets"] if settings.source_of(config, name) == kind
    ]
    return "|".join(names) or "(?!)"


def source(kind):
    """Input function or param: the settings of the data set's source."""
    return lambda wildcards: config["datasets"][wildcards.dataset][kind]


def recipe_of(wildcards):
    """The network and training settings of the run's experiment."""
    return settings.recipe(config, Run.parse(wildcards.run).experiment)


def probed_recipe(wildcards):
    """What the probe's measurement depends on."""
    return settings.probed_part(settings.recipe(config, wildcards.experiment))


def probe_table(wildcards):
    """The probe of the run's experiment, where its recipe says `probe`."""
    probed = settings.is_probed(recipe_of(wildcards)["training"])
    experiment = Run.parse(wildcards.run).experiment
    return f"results/probes/{experiment}.json" if probed else []


def fold_table(wildcards):
    """The fold that the run trains on."""
    return f"results/{wildcards.dataset}/split/fold{Run.parse(wildcards.run).fold}.tsv"


def annotations_of(wildcards):
    """The raters' own masks, if the run learns from them."""
    own = recipe_of(wildcards)["training"]["targets"] != "consensus"
    return f"results/{wildcards.dataset}/annotations.tsv" if own else []


def report_settings(wildcards):
    """The settings that the report prints: all, but of the data sets only its own."""
    return {
        **config,
        "datasets": {wildcards.dataset: config["datasets"][wildcards.dataset]},
    }
