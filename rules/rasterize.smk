"""The raters' masks and their consensus as RGB-coded PNGs."""


rule rasterize:
    """Rasterize one shard of the cases."""
    input:
        archive="results/{dataset}/raw/archive.zip",
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
