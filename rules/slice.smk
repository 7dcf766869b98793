"""The images of the data set: slices as windowed 8-bit RGB PNGs."""


rule slice:
    """Write the images of one shard of the cases."""
    input:
        archive=ARCHIVE,
        cases="results/{dataset}/inventory/usable.tsv",
        slices="results/{dataset}/inventory/slices.tsv",
    output:
        images=directory("results/{dataset}/slices/{scatteritem}"),
        manifest="results/{dataset}/slices/{scatteritem}.tsv",
    log:
        "results/logs/{dataset}/slice/{scatteritem}.log",
    benchmark:
        "results/benchmarks/{dataset}/slice/{scatteritem}.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(800),
        runtime=grows(120),
    params:
        size=config["slices"]["size"],
        windows=WINDOWS,
        keep=KEEP,
        rater=CONSENSUS["rater"],
        code=code("slice_volumes"),
    script:
        "../workflow_scripts/slice_volumes.py"
