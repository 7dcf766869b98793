"""Predict your own scans with the models of the build. Not part of `rule all`."""


rule calibrate:
    """Fit the temperature that calibrates a model on its validation cases."""
    input:
        archive=ARCHIVE,
        fold=fold_table,
        model="results/{dataset}/models/{run}/model.keras",
        run="results/{dataset}/models/{run}/run.json",
    output:
        calibration="results/{dataset}/models/{run}/calibration.json",
    log:
        "results/logs/{dataset}/calibrate/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/calibrate/{run}.tsv"
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
        code=network_code("scans_calibrate"),
    script:
        "../workflow_scripts/scans_calibrate.py"


rule predict_scans:
    """Predict every scan: label volumes, tables, pictures. A scan that fails is listed and does not stop the others."""
    input:
        scans=targets.scan_files(config),
        models=members("model.keras"),
        runs=members("run.json"),
        calibrations=members("calibration.json", "temperature"),
        chosen=members("postprocess.json", "postprocess"),
    output:
        folder=directory("results/{dataset}/scans/{model}"),
        failed="results/{dataset}/scans/{model}.failed.tsv",
        manifest="results/{dataset}/scans/{model}.tsv",
    log:
        "results/logs/{dataset}/scans/{model}.log",
    benchmark:
        "results/benchmarks/{dataset}/scans/{model}.tsv"
    conda:
        f"../envs/{TRAIN_ENV}.yaml"
    threads: config["inference"]["threads"]
    resources:
        mem_mb=grows(4000),
        runtime=grows(600),
        gpu=1,
    params:
        scans=targets.scans(config),
        inference=config["inference"],
        code=code("scans_predict"),
    script:
        "../workflow_scripts/scans_predict.py"


rule scans_page:
    """Build the page of the predicted scans: tables and a viewer."""
    input:
        predicted=ancient("results/{dataset}/scans/{model}"),
        manifest="results/{dataset}/scans/{model}.tsv",
        runs=members("run.json"),
    output:
        page=report(
            directory("results/{dataset}/scans/{model}.report"),
            caption="../captions/scans.rst",
            htmlindex="index.html",
            category="Scans",
            labels={"dataset": "{dataset}", "model": "{model}"},
        ),
    log:
        "results/logs/{dataset}/scans/{model}.page.log",
    benchmark:
        "results/benchmarks/{dataset}/scans/{model}.page.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=grows(1500),
        runtime=grows(30),
    params:
        inference=config["inference"],
        code=code("scans_page"),
    script:
        "../workflow_scripts/scans_page.py"


rule scans_gate:
    """Stop the workflow if a scan could not be predicted; results and page of the others stay."""
    input:
        failed="results/{dataset}/scans/{model}.failed.tsv",
        page=rules.scans_page.output.page if config["inference"]["report"] else [],
    output:
        complete="results/{dataset}/scans/{model}.complete",
    log:
        "results/logs/{dataset}/scans/{model}.gate.log",
    benchmark:
        "results/benchmarks/{dataset}/scans/{model}.gate.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(10),
    params:
        code=code("scans_gate"),
    script:
        "../workflow_scripts/scans_gate.py"


rule scans:
    """All scans of the config, predicted by every model of the build."""
    input:
        complete=expand(
            rules.scans_gate.output,
            dataset=TO_TRAIN,
            model=targets.scan_models(config),
        ),
    localrule: True
