"""From a multi-rater head-CT archive to trained, evaluated FlexUNet models and a report."""

from snakemake.utils import min_version

min_version("9.27.1")


configfile: f"{workflow.basedir}/config/config.yaml"  # also with --directory


include: "rules/common.smk"
include: "rules/acquire.smk"
include: "rules/inspect.smk"
include: "rules/slice.smk"
include: "rules/rasterize.smk"
include: "rules/agree.smk"
include: "rules/split.smk"
include: "rules/train.smk"
include: "rules/import.smk"
include: "rules/infer.smk"
include: "rules/evaluate.smk"
include: "rules/sweep.smk"
include: "rules/scans.smk"
include: "rules/report.smk"
include: "rules/export.smk"
include: "rules/verify.smk"
include: "rules/provenance.smk"


rule data:
    """The data sets only: images, masks, splits and inter-rater agreement."""
    input:
        archives=expand(ARCHIVE, dataset=DATASETS),
        inventories=expand(rules.inventory.output, dataset=DATASETS),
        splits=expand(rules.split.output, dataset=DATASETS),
        sets=expand(rules.dataset.output, dataset=DATASETS),
        annotations=expand(rules.annotations.output, dataset=DATASETS),
        agreements=expand(rules.agreement.output, dataset=DATASETS),
    localrule: True


rule all:
    """Everything that the config asks for: models, predictions, scores and the report, all verified."""
    default_target: True
    input:
        rules.data.input,
        models=expand(rules.train.output, dataset=TO_TRAIN, run=TRAINED_RUNS),
        imported=expand(
            rules.import_weights.output, dataset=TO_TRAIN, run=IMPORTED_RUNS
        ),
        predictions=expand(
            rules.infer.output, dataset=DATASETS, run=RUNS, subset="test"
        ),
        scores=expand(rules.evaluate.output, dataset=DATASETS, run=SCORED),
        comparisons=expand(rules.compare.output, dataset=DATASETS) if SCORED else [],
        report=expand("results/{dataset}/report", dataset=DATASETS),
        verified=expand("results/{dataset}/verified.tsv", dataset=DATASETS),
        provenance=expand(rules.provenance.output, dataset=DATASETS),
    localrule: True
