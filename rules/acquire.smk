"""The archive: fetched from the hub, linked from this machine, or generated."""


rule fetch_hub:
    """Fetch the archive from the Hugging Face hub; resume what an earlier attempt left."""
    output:
        archive=ARCHIVE,
        digest=f"{ARCHIVE}.sha256",
        source="results/{dataset}/raw/source.json",
    log:
        "results/logs/{dataset}/fetch_hub.log",
    benchmark:
        "results/benchmarks/{dataset}/fetch_hub.tsv"
    wildcard_constraints:
        dataset=any_of(targets.from_source(config, "huggingface")),
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(1000),
        runtime=grows(240),
    params:
        source=source("huggingface"),
        code=code("acquire_hub"),
    script:
        "../workflow_scripts/acquire_hub.py"


rule link_archive:
    """Link a zip of this machine into the results and check its digest."""
    input:
        archive=lambda wildcards: source("archive")(wildcards)["path"],
    output:
        archive=ARCHIVE,
        digest=f"{ARCHIVE}.sha256",
        source="results/{dataset}/raw/source.json",
    log:
        "results/logs/{dataset}/link_archive.log",
    benchmark:
        "results/benchmarks/{dataset}/link_archive.tsv"
    wildcard_constraints:
        dataset=any_of(targets.from_source(config, "archive")),
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(30),
    params:
        sha256=lambda wildcards: source("archive")(wildcards).get("sha256"),
        code=code("acquire_archive"),
    script:
        "../workflow_scripts/acquire_archive.py"


rule make_phantom:
    """Generate the phantom data set."""
    output:
        archive=ARCHIVE,
        digest=f"{ARCHIVE}.sha256",
        source="results/{dataset}/raw/source.json",
    log:
        "results/logs/{dataset}/make_phantom.log",
    benchmark:
        "results/benchmarks/{dataset}/make_phantom.tsv"
    wildcard_constraints:
        dataset=any_of(targets.from_source(config, "phantom")),
    conda:
        "../envs/data.yaml"
    threads: 2
    resources:
        mem_mb=grows(1500),
        runtime=grows(60),
    params:
        spec=source("phantom"),
        code=code("acquire_phantom"),
    script:
        "../workflow_scripts/acquire_phantom.py"


rule fetch:
    """Stage every archive that the config asks for; no other rule opens a connection."""
    input:
        expand(ARCHIVE, dataset=targets.with_sources(config)),
    localrule: True
