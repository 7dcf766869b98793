"""Patients are split into train, valid and test, and the data set laid out accordingly."""


rule split:
    """Split by patient, stratified by class: a fixed test set and folds over the rest."""
    input:
        cases="results/{dataset}/inventory/usable.tsv",
        slices="results/{dataset}/inventory/slices.tsv",
        file=lambda wildcards: targets.split_file(config, wildcards.dataset),
    output:
        folds=expand("results/{{dataset}}/split/fold{fold}.tsv", fold=FOLDS),
        balance="results/{dataset}/split/balance.tsv",
    log:
        "results/logs/{dataset}/split.log",
    benchmark:
        "results/benchmarks/{dataset}/split.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(10),
    params:
        split=lambda wildcards: targets.split_of(config, wildcards.dataset),
        keep=KEEP,
        rater=CONSENSUS["rater"],
        code=code("split_patients"),
    script:
        "../workflow_scripts/split_patients.py"


rule leakage:
    """Stop if a patient is in two subsets of a fold, or if a model was trained on a patient of its test set."""
    input:
        folds=rules.split.output.folds,
        cases="results/{dataset}/inventory/usable.tsv",
        source_folds=lambda wildcards: expand(
            "results/{source}/split/fold{fold}.tsv",
            source=targets.trained_on(config, wildcards.dataset),
            fold=FOLDS,
        ),
        source_cases=lambda wildcards: expand(
            "results/{source}/inventory/usable.tsv",
            source=targets.trained_on(config, wildcards.dataset),
        ),
    output:
        table="results/{dataset}/split/leakage.tsv",
    log:
        "results/logs/{dataset}/leakage.log",
    benchmark:
        "results/benchmarks/{dataset}/leakage.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(10),
    params:
        allowed=config["split"]["by"] == "slice",
        code=code("split_leakage"),
    script:
        "../workflow_scripts/split_leakage.py"


rule dataset:
    """Link images and masks into train, valid and test of the first fold that is built."""
    input:
        images=ancient(gather.shard("results/{{dataset}}/slices/{scatteritem}")),
        image_manifests=gather.shard("results/{{dataset}}/slices/{scatteritem}.tsv"),
        masks=ancient(gather.shard("results/{{dataset}}/masks/{scatteritem}")),
        mask_manifests=gather.shard("results/{{dataset}}/masks/{scatteritem}.tsv"),
        fold=f"results/{{dataset}}/split/fold{config['build']['folds'][0]}.tsv",
        leakage="results/{dataset}/split/leakage.tsv",
    output:
        dataset=directory("results/{dataset}/dataset"),
        table="results/{dataset}/dataset.tsv",
    log:
        "results/logs/{dataset}/dataset.log",
    benchmark:
        "results/benchmarks/{dataset}/dataset.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        code=code("split_dataset"),
    script:
        "../workflow_scripts/split_dataset.py"
