"""Predicted volumes, in the geometry of the scans."""


rule infer:
    """Predict every case of a subset with one load of the model."""
    input:
        archive=ARCHIVE,
        fold=fold_table,
        leakage="results/{dataset}/split/leakage.tsv",
        model=of_model("model.keras"),
        run=of_model("run.json"),
    output:
        predictions=directory("results/{dataset}/predictions/{run}/{subset}"),
        manifest="results/{dataset}/predictions/{run}/{subset}.tsv",
    log:
        "results/logs/{dataset}/infer/{run}.{subset}.log",
    benchmark:
        "results/benchmarks/{dataset}/infer/{run}.{subset}.tsv"
    wildcard_constraints:
        run=RUN,
    priority: 1  # scores and the report wait for it
    conda:
        f"../envs/{TRAIN_ENV}.yaml"
    threads: threads_of
    resources:
        mem_mb=grows(4000),
        runtime=grows(240),
        gpu=1,
    params:
        batch_size=config["inference"]["batch_size"],
        precision=config["inference"]["precision"],
        window=experiments.display_window(config),
        overlays=config["inference"]["overlays"],
        probabilities=config["inference"]["probabilities"],
        code=network_code("infer_volumes"),
    script:
        "../workflow_scripts/infer_volumes.py"
