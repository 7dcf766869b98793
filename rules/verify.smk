"""Outputs are hashed again and compared with their manifests."""


rule verified:
    """Hash the outputs again; name every file that is missing, changed or unknown."""
    input:
        images=gather.shard("results/{{dataset}}/slices/{scatteritem}.tsv"),
        masks=gather.shard("results/{{dataset}}/masks/{scatteritem}.tsv"),
        table="results/{dataset}/dataset.tsv",
        annotations="results/{dataset}/annotations.tsv",
        digest=f"{ARCHIVE}.sha256",
        models=own_models,
        predictions=expand("results/{{dataset}}/predictions/{run}/test.tsv", run=SCORED),
    output:
        table="results/{dataset}/verified.tsv",
    log:
        "results/logs/{dataset}/verify.log",
    benchmark:
        "results/benchmarks/{dataset}/verify.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(60),
    params:
        root=subpath(output.table, parent=True),
        code=code("verify_results"),
    script:
        "../workflow_scripts/verify_results.py"


rule verify:
    """Hash every artifact that exists again; name each file that changed.

    It has no inputs, outputs or benchmark on purpose: it makes nothing and runs whenever it is
    called.
    """
    log:
        "results/logs/verify.log",
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(60),
    params:
        roots=expand("results/{dataset}", dataset=DATASETS),
        code=code("verify_all"),
    script:
        "../workflow_scripts/verify_all.py"
