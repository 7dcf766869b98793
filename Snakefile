"""From a multi-rater head-CT archive to trained, evaluated FlexUNet models and a report."""

from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.basedir}/config/config.yaml"  # also with --directory and as a module


include: "rules/common.smk"
include: "rules/acquire.smk"
include: "rules/inspect.smk"
include: "rules/slice.smk"
include: "rules/rasterize.smk"
include: "rules/agree.smk"
include: "rules/split.smk"
include: "rules/train.smk"
include: "rules/infer.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"
include: "rules/export.smk"
include: "rules/verify.smk"


localrules:
    all,
    data,


rule all:
    """Everything the config asks for: models, predictions, scores, the report, all verified."""
    default_target: True
    input:
        report=expand("results/{dataset}/report", dataset=DATASETS),
        verified=expand("results/{dataset}/verified.tsv", dataset=DATASETS),


rule data:
    """The data sets only: images, masks, splits and the raters' agreement."""
    input:
        table=expand("results/{dataset}/dataset.tsv", dataset=DATASETS),
        agreement=expand("results/{dataset}/agreement/summary.json", dataset=DATASETS),
