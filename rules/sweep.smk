"""Cross-validation: out-of-fold predictions, pooled and scored. `rule all` does not build it."""

SWEEPS = targets.sweeps(config)
# the tables that an evaluation writes beside summary.json
EVALUATED = [Path(path).name for path in rules.evaluate.output if path.endswith(".csv")]


rule pool:
    """Pool the folds' validation predictions: each case as predicted by the model not trained on it."""
    input:
        folds=rules.split.output.folds,
        predictions=ancient(of_each_fold("results/{dataset}/predictions/{run}/valid")),
        manifests=of_each_fold("results/{dataset}/predictions/{run}/valid.tsv"),
    output:
        predictions=directory("results/{dataset}/oof/{experiment}-s{seed}/predictions"),
        manifest="results/{dataset}/oof/{experiment}-s{seed}/predictions.tsv",
        table="results/{dataset}/oof/{experiment}-s{seed}/runs.tsv",
    log:
        "results/logs/{dataset}/pool/{experiment}-s{seed}.log",
    benchmark:
        "results/benchmarks/{dataset}/pool/{experiment}-s{seed}.tsv"
    wildcard_constraints:
        experiment=NAME,
        seed=r"\d+",
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(30),
    params:
        runs=of_each_fold("{run}"),
        code=code("sweep_pool"),
    script:
        "../workflow_scripts/sweep_pool.py"


rule score_pool:
    """Score the pooled predictions like those of a run."""
    input:
        archive=ARCHIVE,
        table="results/{dataset}/oof/{experiment}-s{seed}/runs.tsv",
        predictions=ancient("results/{dataset}/oof/{experiment}-s{seed}/predictions"),
        manifest="results/{dataset}/oof/{experiment}-s{seed}/predictions.tsv",
    output:
        tables=expand(
            "results/{{dataset}}/oof/{{experiment}}-s{{seed}}/{name}",
            name=EVALUATED,
        ),
        summary="results/{dataset}/oof/{experiment}-s{seed}/summary.json",
    log:
        "results/logs/{dataset}/score_pool/{experiment}-s{seed}.log",
    benchmark:
        "results/benchmarks/{dataset}/score_pool/{experiment}-s{seed}.tsv"
    wildcard_constraints:
        experiment=NAME,
        seed=r"\d+",
    conda:
        "../envs/data.yaml"
    threads: 2
    resources:
        mem_mb=grows(2000),
        runtime=grows(240),
    params:
        name=lambda wildcards: f"{wildcards.experiment}-s{wildcards.seed}",
        consensus=CONSENSUS,
        folder=subpath(output.summary, parent=True),
        code=code("sweep_score"),
    script:
        "../workflow_scripts/sweep_score.py"


rule oof_table:
    """List the Dice of every experiment and seed over all folds."""
    input:
        scores=expand(
            "results/{{dataset}}/oof/{name}/summary.json",
            name=[f"{experiment}-s{seed}" for experiment, seed in SWEEPS],
        ),
    output:
        table="results/{dataset}/oof/scores.csv",
    log:
        "results/logs/{dataset}/oof_table.log",
    benchmark:
        "results/benchmarks/{dataset}/oof_table.tsv"
    conda:
        "../envs/data.yaml"
    resources:
        mem_mb=grows(500),
        runtime=grows(10),
    params:
        sweeps=SWEEPS,
        code=code("sweep_table"),
    script:
        "../workflow_scripts/sweep_table.py"


rule oof:
    """Train every fold, predict out of fold, and score all cases of the training folds."""
    input:
        expand(rules.oof_table.output, dataset=TO_TRAIN),
    localrule: True
