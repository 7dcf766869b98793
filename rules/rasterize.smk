"""The raters' masks and their consensus as RGB-coded PNGs."""


rule rasterize:
    """Write the masks of one shard of the cases."""
    input:
        archive=ARCHIVE,
        cases="results/{dataset}/inventory/usable.tsv",
        slices="results/{dataset}/inventory/slices.tsv",
    output:
        masks=directory("results/{dataset}/masks/{scatteritem}"),
        manifest="results/{dataset}/masks/{scatteritem}.tsv",
    log:
        "results/logs/{dataset}/rasterize/{scatteritem}.log",
    benchmark:
        "results/benchmarks/{dataset}/rasterize/{scatteritem}.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(800),
        runtime=grows(120),
    params:
        size=config["slices"]["size"],
        keep=KEEP,
        consensus=CONSENSUS,
        rater_masks=config["raters"]["masks"],
        code=code("rasterize_masks"),
    script:
        "../workflow_scripts/rasterize_masks.py"


rule annotations:
    """Collect each rater's masks, and the votes of `method: soft`, from the shards into one folder."""
    input:
        masks=ancient(gather.shard("results/{{dataset}}/masks/{scatteritem}")),
        manifests=gather.shard("results/{{dataset}}/masks/{scatteritem}.tsv"),
    output:
        annotations=directory("results/{dataset}/annotations"),
        table="results/{dataset}/annotations.tsv",
    log:
        "results/logs/{dataset}/annotations.log",
    benchmark:
        "results/benchmarks/{dataset}/annotations.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(60),
    params:
        code=code("rasterize_annotations"),
    script:
        "../workflow_scripts/rasterize_annotations.py"
