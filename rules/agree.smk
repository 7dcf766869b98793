"""Inter-rater agreement, which is shown next to every score of a model."""


rule agree:
    """Score the raters of one shard of the cases against each other."""
    input:
        archive=ARCHIVE,
        cases="results/{dataset}/inventory/usable.tsv",
    output:
        pairs="results/{dataset}/agreement/shards/{scatteritem}.csv",
    log:
        "results/logs/{dataset}/agree/{scatteritem}.log",
    benchmark:
        "results/benchmarks/{dataset}/agree/{scatteritem}.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(800),
        runtime=grows(120),
    params:
        consensus=CONSENSUS,
        code=code("agree_raters"),
    script:
        "../workflow_scripts/agree_raters.py"


rule agreement:
    """Merge and summarise the pairs' scores."""
    input:
        shards=gather.shard("results/{{dataset}}/agreement/shards/{scatteritem}.csv"),
    output:
        pairs="results/{dataset}/agreement/pairs.csv",
        summary="results/{dataset}/agreement/summary.json",
    log:
        "results/logs/{dataset}/agreement.log",
    benchmark:
        "results/benchmarks/{dataset}/agreement.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(30),
    params:
        code=code("agree_summary"),
    script:
        "../workflow_scripts/agree_summary.py"
