"""Quality control of every case before it is used: the inventory and the gate."""


rule inspect:
    """Inspect one shard of the cases."""
    input:
        archive=ARCHIVE,
    output:
        cases="results/{dataset}/inventory/shards/{scatteritem}.cases.tsv",
        slices="results/{dataset}/inventory/shards/{scatteritem}.slices.tsv",
        findings="results/{dataset}/inventory/shards/{scatteritem}.findings.tsv",
        thumbnails=directory(
            "results/{dataset}/inventory/shards/{scatteritem}.thumbnails"
        ),
    log:
        "results/logs/{dataset}/inspect/{scatteritem}.log",
    benchmark:
        "results/benchmarks/{dataset}/inspect/{scatteritem}.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(800),
        runtime=grows(120),
    params:
        window=experiments.display_window(config),
        code=code("inspect_cases"),
    script:
        "../workflow_scripts/inspect_cases.py"


rule inventory:
    """Merge the shards and check across cases."""
    input:
        cases=gather.shard(
            "results/{{dataset}}/inventory/shards/{scatteritem}.cases.tsv"
        ),
        slices=gather.shard(
            "results/{{dataset}}/inventory/shards/{scatteritem}.slices.tsv"
        ),
        findings=gather.shard(
            "results/{{dataset}}/inventory/shards/{scatteritem}.findings.tsv"
        ),
    output:
        cases="results/{dataset}/inventory/cases.tsv",
        slices="results/{dataset}/inventory/slices.tsv",
        findings=report(
            "results/{dataset}/inventory/findings.tsv",
            caption="../captions/findings.rst",
            category="Data",
            labels={"dataset": "{dataset}", "what": "QC findings"},
        ),
    log:
        "results/logs/{dataset}/inventory.log",
    benchmark:
        "results/benchmarks/{dataset}/inventory.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(30),
    params:
        code=code("inspect_inventory"),
    script:
        "../workflow_scripts/inspect_inventory.py"


rule gate:
    """List the usable cases; stop the workflow at errors if the config says so."""
    input:
        cases="results/{dataset}/inventory/cases.tsv",
        findings="results/{dataset}/inventory/findings.tsv",
    output:
        usable="results/{dataset}/inventory/usable.tsv",
    log:
        "results/logs/{dataset}/gate.log",
    benchmark:
        "results/benchmarks/{dataset}/gate.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(10),
    params:
        on_error=config["qc"]["on_error"],
        code=code("inspect_gate"),
    script:
        "../workflow_scripts/inspect_gate.py"
