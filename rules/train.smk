"""Training of FlexUNet, or of another Keras model."""


rule train:
    """Train one run, or resume it if it was stopped; the best epoch's weights are kept."""
    input:
        dataset=ancient("results/{dataset}/dataset"),
        table="results/{dataset}/dataset.tsv",
        fold=fold_table,
        probe=lambda wildcards: targets.probe_table(config, wildcards.run),
        annotations=lambda wildcards: targets.annotation_table(
            config, wildcards.dataset, wildcards.run
        ),
        start=lambda wildcards: recipe_of(wildcards)["training"]["start_from"] or [],
    output:
        model="results/{dataset}/models/{run}/model.keras",
        history="results/{dataset}/models/{run}/history.csv",
        curves=report(
            "results/{dataset}/models/{run}/curves.png",
            caption="../captions/curves.rst",
            category="Training",
            labels={"dataset": "{dataset}", "run": "{run}", "what": "curves"},
        ),
        events="results/{dataset}/models/{run}/events.out.tfevents",
        run="results/{dataset}/models/{run}/run.json",
        previews=directory("results/{dataset}/models/{run}/previews"),
        manifest="results/{dataset}/models/{run}/manifest.tsv",
    log:
        "results/logs/{dataset}/train/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/train/{run}.tsv"
    wildcard_constraints:
        dataset=any_of(TRAINED),
        run=targets.run_pattern(config, imported=False),
    conda:
        f"../envs/{TRAIN_ENV}.yaml"
    threads: threads_of
    resources:
        mem_mb=grows(6000),
        runtime=grows(1440),
        gpu=lambda wildcards: recipe_of(wildcards)["training"]["gpus"],
    params:
        recipe=recipe_of,
        size=config["slices"]["size"],
        windows=WINDOWS,
        code=network_code("train_model"),
    script:
        "../workflow_scripts/train_model.py"


rule probe:
    """Measure the fastest batch, precision and threads, where an experiment says `probe`."""
    output:
        probe="results/probes/{experiment}.json",
    log:
        "results/logs/probe/{experiment}.log",
    benchmark:
        "results/benchmarks/probe/{experiment}.tsv"
    wildcard_constraints:
        experiment=NAME,
    conda:
        f"../envs/{TRAIN_ENV}.yaml"
    threads: lambda wildcards: experiments.threads(probed_recipe(wildcards)["training"])
    resources:
        mem_mb=grows(6000),
        runtime=grows(60),
        gpu=1,
    params:
        recipe=probed_recipe,
        size=config["slices"]["size"],
        code=network_code("train_probe"),
    script:
        "../workflow_scripts/train_probe.py"


rule summary:
    """List the layers and parameters of an experiment's network; needs no data."""
    output:
        text="results/summaries/{experiment}.txt",
    log:
        "results/logs/summary/{experiment}.log",
    benchmark:
        "results/benchmarks/summary/{experiment}.tsv"
    wildcard_constraints:
        experiment=NAME,
    conda:
        f"../envs/{TRAIN_ENV}.yaml"
    resources:
        mem_mb=grows(3000),
        runtime=grows(10),
    params:
        network=lambda wildcards: experiments.recipe(config, wildcards.experiment)[
            "network"
        ],
        size=config["slices"]["size"],
        code=network_code("train_summary"),
    script:
        "../workflow_scripts/train_summary.py"
