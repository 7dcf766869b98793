"""Imported weights, for experiments that name a file instead of training."""


rule import_weights:
    """Import a run's weights from a best_model.h5 of the reference project."""
    input:
        weights=lambda wildcards: targets.weights_of(config, wildcards.run),
    output:
        model="results/{dataset}/models/{run}/model.keras",
        run="results/{dataset}/models/{run}/run.json",
        manifest="results/{dataset}/models/{run}/manifest.tsv",
    log:
        "results/logs/{dataset}/import_weights/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/import_weights/{run}.tsv"
    wildcard_constraints:
        dataset=any_of(TRAINED),
        run=targets.run_pattern(config, imported=True),
    conda:
        f"../envs/{TRAIN_ENV}.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(30),
    params:
        network=lambda wildcards: recipe_of(wildcards)["network"],
        size=config["slices"]["size"],
        windows=WINDOWS,
        code=network_code("import_weights"),
    script:
        "../workflow_scripts/import_weights.py"
