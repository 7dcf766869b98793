"""Scores: the model beside the raters, the best HU threshold, and the seed's own metric."""


rule evaluate:
    """Score the test predictions, the raters and the best HU threshold on the same cases."""
    input:
        archive="results/{dataset}/raw/archive.zip",
        fold=fold_table,
        predictions=ancient("results/{dataset}/predictions/{run}/test"),
        manifest="results/{dataset}/predictions/{run}/test.tsv",
    output:
        cases=report(
            "results/{dataset}/evaluation/{run}/cases.csv",
            caption="../report/cases.rst",
            category="Scores",
            labels={"dataset": "{dataset}", "run": "{run}", "what": "cases"},
        ),
        ceiling="results/{dataset}/evaluation/{run}/ceiling.csv",
        threshold="results/{dataset}/evaluation/{run}/threshold.csv",
        slices="results/{dataset}/evaluation/{run}/slices.csv",
        summary="results/{dataset}/evaluation/{run}/summary.json",
    log:
        "results/logs/{dataset}/evaluate/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/evaluate/{run}.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1500),
        runtime=grows(120),
    params:
        consensus=CONSENSUS,
        folder=subpath(output.summary, parent=True),
        code=code("evaluate_run"),
    script:
        "../workflow_scripts/evaluate_run.py"


rule legacy:
    """The seed project's evaluation: its loss and its metric on the test slices."""
    input:
        dataset=ancient("results/{dataset}/dataset"),
        table="results/{dataset}/dataset.tsv",
        fold=fold_table,
        model=of_model("model.keras"),
        run=of_model("run.json"),
    output:
        legacy="results/{dataset}/evaluation/{run}/legacy.json",
    log:
        "results/logs/{dataset}/legacy/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/legacy/{run}.tsv"
    conda:
        "../envs/train.yaml"
    threads: lambda wildcards: settings.threads(recipe_of(wildcards)["training"])
    resources:
        mem_mb=grows(4000),
        runtime=grows(120),
        gpu=1,
    params:
        batch_size=config["inference"]["batch_size"],
        code=code("evaluate_legacy"),
    script:
        "../workflow_scripts/evaluate_legacy.py"
