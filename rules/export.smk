"""The data set in other projects' formats. `rule all` does not build them."""


rule export_images:
    """Write the ImageMask-Dataset zip of the reference project."""
    input:
        dataset=ancient("results/{dataset}/dataset"),
        table="results/{dataset}/dataset.tsv",
    output:
        archive="results/{dataset}/export/{dataset}-ImageMask-Dataset.zip",
    log:
        "results/logs/{dataset}/export_images.log",
    benchmark:
        "results/benchmarks/{dataset}/export_images.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        code=code("export_images"),
    script:
        "../workflow_scripts/export_images.py"


rule export_nnunet:
    """Write nnU-Net v2 raw data with the same test set and folds."""
    input:
        archive=ARCHIVE,
        folds=rules.split.output.folds,
    output:
        folder=directory("results/{dataset}/export/nnunet/Dataset{number}_{dataset}"),
        manifest="results/{dataset}/export/nnunet/Dataset{number}_{dataset}.tsv",
    log:
        "results/logs/{dataset}/export_nnunet.{number}.log",
    benchmark:
        "results/benchmarks/{dataset}/export_nnunet.{number}.tsv"
    wildcard_constraints:
        number=r"\d{3}",
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(120),
    params:
        consensus=CONSENSUS,
        code=code("export_nnunet"),
    script:
        "../workflow_scripts/export_nnunet.py"


rule export:
    """Both exports of every data set, nnU-Net's with number 501; none of external test sets."""
    input:
        images=[
            f"results/{name}/export/{name}-ImageMask-Dataset.zip" for name in DATASETS
        ],
        nnunet=[
            f"results/{name}/export/nnunet/Dataset501_{name}.tsv" for name in TO_TRAIN
        ],
    localrule: True
