"""How the results were made, for readers and for reproducing them."""


onstart:
    note_command("results")


rule provenance:
    """Record inputs, settings, code, versions, machine and times, as JSON and as an RO-Crate."""
    input:
        verified="results/{dataset}/verified.tsv",
        source="results/{dataset}/raw/source.json",
        digest=f"{ARCHIVE}.sha256",
        inventory=rules.inventory.output,
        folds=rules.split.output.folds,
        table="results/{dataset}/dataset.tsv",
        agreement=rules.agreement.output,
        models=own_models,
        scores=expand("results/{{dataset}}/evaluation/{run}/summary.json", run=RUNS),
        report="results/{dataset}/report",
    output:
        record="results/{dataset}/provenance.json",
        crate="results/{dataset}/ro-crate-metadata.json",
    log:
        "results/logs/{dataset}/provenance.log",
    benchmark:
        "results/benchmarks/{dataset}/provenance.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(10),
    params:
        settings=report_settings,
        root=subpath(output.record, parent=True),
        code=code("provenance_record"),
    script:
        "../workflow_scripts/provenance_record.py"
