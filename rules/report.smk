"""Figures, model cards and the report page."""


rule figures:
    """Draw the data set: sizes, split balance, samples, inter-rater agreement."""
    input:
        dataset=ancient("results/{dataset}/dataset"),
        table="results/{dataset}/dataset.tsv",
        fold=f"results/{{dataset}}/split/fold{config['build']['folds'][0]}.tsv",
        balance="results/{dataset}/split/balance.tsv",
        pairs="results/{dataset}/agreement/pairs.csv",
    output:
        statistics=report(
            "results/{dataset}/figures/statistics.png",
            caption="../captions/statistics.rst",
            category="Data",
            labels={"dataset": "{dataset}", "what": "statistics"},
        ),
        balance=report(
            "results/{dataset}/figures/split_balance.png",
            caption="../captions/split_balance.rst",
            category="Data",
            labels={"dataset": "{dataset}", "what": "split balance"},
        ),
        images=report(
            "results/{dataset}/figures/sample_images.png",
            caption="../captions/sample_images.rst",
            category="Data",
            labels={"dataset": "{dataset}", "what": "sample images"},
        ),
        masks=report(
            "results/{dataset}/figures/sample_masks.png",
            caption="../captions/sample_masks.rst",
            category="Data",
            labels={"dataset": "{dataset}", "what": "sample masks"},
        ),
        agreement=report(
            "results/{dataset}/figures/agreement.png",
            caption="../captions/agreement.rst",
            category="Data",
            labels={"dataset": "{dataset}", "what": "rater agreement"},
        ),
    log:
        "results/logs/{dataset}/figures.log",
    benchmark:
        "results/benchmarks/{dataset}/figures.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=grows(1500),
        runtime=grows(30),
    params:
        code=code("report_figures"),
    script:
        "../workflow_scripts/report_figures.py"


rule score_figures:
    """Draw a run: its scores next to the raters', its best, median and worst case."""
    input:
        archive=ARCHIVE,
        fold=fold_table,
        cases="results/{dataset}/evaluation/{run}/cases.csv",
        ceiling="results/{dataset}/evaluation/{run}/ceiling.csv",
        summary="results/{dataset}/evaluation/{run}/summary.json",
        predictions=ancient("results/{dataset}/predictions/{run}/test"),
    output:
        scores=report(
            "results/{dataset}/evaluation/{run}/scores.png",
            caption="../captions/scores.rst",
            category="Scores",
            labels={"dataset": "{dataset}", "run": "{run}", "what": "scores"},
        ),
        overlays=report(
            "results/{dataset}/evaluation/{run}/overlays.png",
            caption="../captions/overlays.rst",
            category="Scores",
            labels={"dataset": "{dataset}", "run": "{run}", "what": "overlays"},
        ),
        scatter=report(
            "results/{dataset}/evaluation/{run}/scatter.png",
            caption="../captions/scatter.rst",
            category="Scores",
            labels={"dataset": "{dataset}", "run": "{run}", "what": "case by case"},
        ),
        volumes=report(
            "results/{dataset}/evaluation/{run}/volumes.png",
            caption="../captions/volumes.rst",
            category="Scores",
            labels={"dataset": "{dataset}", "run": "{run}", "what": "volumes"},
        ),
        calibration=report(
            "results/{dataset}/evaluation/{run}/calibration.png",
            caption="../captions/calibration.rst",
            category="Scores",
            labels={"dataset": "{dataset}", "run": "{run}", "what": "calibration"},
        ),
        confusion=report(
            "results/{dataset}/evaluation/{run}/confusion.png",
            caption="../captions/confusion.rst",
            category="Scores",
            labels={"dataset": "{dataset}", "run": "{run}", "what": "confusion"},
        ),
    log:
        "results/logs/{dataset}/score_figures/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/score_figures/{run}.tsv"
    priority: 1  # the report waits for it
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=grows(1500),
        runtime=grows(30),
    params:
        consensus=CONSENSUS,
        window=experiments.display_window(config),
        code=code("report_scores"),
    script:
        "../workflow_scripts/report_scores.py"


rule model_card:
    """Write the model card of a run: intended use, data, scores, limits."""
    input:
        run=of_model("run.json"),
        summary="results/{dataset}/evaluation/{run}/summary.json",
        cases="results/{dataset}/inventory/cases.tsv",
        source="results/{dataset}/raw/source.json",
    output:
        card=report(
            "results/{dataset}/evaluation/{run}/model_card.md",
            caption="../captions/model_card.rst",
            category="Models",
            labels={"dataset": "{dataset}", "run": "{run}", "what": "model card"},
        ),
    log:
        "results/logs/{dataset}/model_card/{run}.log",
    benchmark:
        "results/benchmarks/{dataset}/model_card/{run}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(10),
    params:
        trained_on=lambda wildcards: targets.models_of(config, wildcards.dataset),
        code=code("report_card"),
    script:
        "../workflow_scripts/report_card.py"


rule report:
    """Build the report, pages that open from the file system."""
    input:
        archive=ancient(ARCHIVE),
        source="results/{dataset}/raw/source.json",
        cases="results/{dataset}/inventory/cases.tsv",
        findings="results/{dataset}/inventory/findings.tsv",
        thumbnails=ancient(
            gather.shard(
                "results/{{dataset}}/inventory/shards/{scatteritem}.thumbnails"
            )
        ),
        table="results/{dataset}/dataset.tsv",
        balance="results/{dataset}/split/balance.tsv",
        agreement=rules.agreement.output.summary,
        folds=rules.split.output.folds,
        figures=rules.figures.output,
        models=of_models("manifest.tsv"),
        previews=ancient(of_models("previews", TRAINED_RUNS)),
        predictions=ancient(
            expand("results/{{dataset}}/predictions/{run}/test", run=SCORED)
        ),
        scores=expand("results/{{dataset}}/evaluation/{run}/summary.json", run=SCORED),
        comparison=rules.compare.output if SCORED else [],
        legacy=expand("results/{{dataset}}/evaluation/{run}/legacy.json", run=RUNS),
        pictures=expand("results/{{dataset}}/evaluation/{run}/overlays.png", run=SCORED),
        cards=expand("results/{{dataset}}/evaluation/{run}/model_card.md", run=RUNS),
    output:
        page=report(
            directory("results/{dataset}/report"),
            caption="../captions/page.rst",
            htmlindex="index.html",
            category="Report",
            labels={"dataset": "{dataset}", "what": "page"},
        ),
    log:
        "results/logs/{dataset}/report.log",
    benchmark:
        "results/benchmarks/{dataset}/report.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=grows(1500),
        runtime=grows(30),
    params:
        root=subpath(output.page, parent=True),
        models=lambda wildcards: targets.models_folder(config, wildcards.dataset),
        runs=SCORED,
        first_fold=config["build"]["folds"][0],
        settings=report_settings,
        windows=experiments.named_windows(config),
        window=experiments.display_window(config),
        code=code("report_page"),
    script:
        "../workflow_scripts/report_page.py"
