"""Rule oof_table: the pooled scores of all experiments and seeds in one table."""

from typing import Any

from mbhseg.evaluation.cross_validation import pooled_table, score_rows
from mbhseg.files import read_json, write_table
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    rows = [
        row
        for (experiment, seed), summary in zip(job.params.sweeps, job.input.scores, strict=True)
        for row in score_rows(experiment, seed, read_json(summary))
    ]
    write_table(job.output.table, pooled_table(rows))


if __name__ == "__main__":
    run(main, snakemake)
