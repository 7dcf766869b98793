"""Scores of models, raters, other systems, the best HU threshold, and by the reference project's metric."""


rule adopt:
    """Adopt another system's predictions of the test cases after checking them against the scans."""
    input:
        archive=ARCHIVE,
        fold=fold_table,
        files=lambda w: targets.foreign_files(config, w.run, w.dataset),
    output:
        predictions=directory("results/{dataset}/predictions/{run}/test"),
        manifest="results/{dataset}/predictions/{run}/test.tsv",
    log:
        "results/logs/{dataset}/adopt/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/adopt/{run}.tsv"
    wildcard_constraints:
        run=any_of(config["foreign"]),
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        folder=lambda w: targets.foreign_folder(config, w.run, w.dataset),
        window=experiments.display_window(config),
        overlays=config["inference"]["overlays"],
        code=code("evaluate_adopt"),
    script:
        "../workflow_scripts/evaluate_adopt.py"


rule postprocess:
    """Choose the post-processing of a run on its validation cases; the test set is not used."""
    input:
        archive=ARCHIVE,
        fold=fold_table,
        predictions=ancient("results/{dataset}/predictions/{run}/valid"),
        manifest="results/{dataset}/predictions/{run}/valid.tsv",
    output:
        chosen="results/{dataset}/models/{run}/postprocess.json",
    log:
        "results/logs/{dataset}/postprocess/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/postprocess/{run}.tsv"
    wildcard_constraints:
        dataset=any_of(TRAINED),
        run=RUN,
    priority: 1  # scores and the report wait for it
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        consensus=CONSENSUS,
        min_ml=config["postprocessing"]["min_ml"],
        reconcile=config["postprocessing"]["reconcile"],
        code=code("evaluate_postprocess"),
    script:
        "../workflow_scripts/evaluate_postprocess.py"


rule evaluate:
    """Score the test predictions, the raters and the best HU threshold on the same cases."""
    input:
        archive=ARCHIVE,
        fold=fold_table,
        predictions=ancient("results/{dataset}/predictions/{run}/test"),
        manifest="results/{dataset}/predictions/{run}/test.tsv",
        postprocessing=lambda w: targets.chosen_postprocessing(config, w.dataset, w.run),
    output:
        cases=report(
            "results/{dataset}/evaluation/{run}/cases.csv",
            caption="../captions/cases.rst",
            category="Scores",
            labels={"dataset": "{dataset}", "run": "{run}", "what": "cases"},
        ),
        processed="results/{dataset}/evaluation/{run}/processed.csv",
        ceiling="results/{dataset}/evaluation/{run}/ceiling.csv",
        groups="results/{dataset}/evaluation/{run}/groups.csv",
        organisers="results/{dataset}/evaluation/{run}/organisers.csv",
        calibration="results/{dataset}/evaluation/{run}/calibration.csv",
        threshold="results/{dataset}/evaluation/{run}/threshold.csv",
        slices="results/{dataset}/evaluation/{run}/slices.csv",
        summary="results/{dataset}/evaluation/{run}/summary.json",
    log:
        "results/logs/{dataset}/evaluate/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/evaluate/{run}.tsv"
    priority: 1  # the report waits for it
    conda:
        "../envs/data.yaml"
    threads: 2
    resources:
        mem_mb=grows(2000),
        runtime=grows(120),
    params:
        consensus=CONSENSUS,
        folder=subpath(output.summary, parent=True),
        code=code("evaluate_run"),
    script:
        "../workflow_scripts/evaluate_run.py"


rule compare:
    """Compare all runs and other systems, patient by patient."""
    input:
        cases=expand("results/{{dataset}}/evaluation/{run}/cases.csv", run=SCORED),
        processed=expand(
            "results/{{dataset}}/evaluation/{run}/processed.csv", run=SCORED
        ),
    output:
        runs="results/{dataset}/comparison/runs.csv",
        experiments=report(
            "results/{dataset}/comparison/experiments.csv",
            caption="../captions/comparison.rst",
            category="Scores",
            labels={"dataset": "{dataset}", "what": "comparison"},
        ),
        differences="results/{dataset}/comparison/differences.csv",
    log:
        "results/logs/{dataset}/compare.log",
    benchmark:
        "results/benchmarks/{dataset}/compare.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        runs=SCORED,
        code=code("evaluate_compare"),
    script:
        "../workflow_scripts/evaluate_compare.py"


rule legacy:
    """Evaluate as the reference project does: its loss and its metric on the test slices."""
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
    wildcard_constraints:
        run=RUN,
    conda:
        f"../envs/{TRAIN_ENV}.yaml"
    threads: threads_of
    resources:
        mem_mb=grows(4000),
        runtime=grows(120),
        gpu=1,
    params:
        batch_size=config["inference"]["batch_size"],
        code=network_code("evaluate_legacy"),
    script:
        "../workflow_scripts/evaluate_legacy.py"
