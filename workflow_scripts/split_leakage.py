"""Rule leakage: stop if a patient is in two subsets of a fold."""

from typing import Any

import pandas as pd

from mbhseg.files import read_table, write_table
from mbhseg.runtime.job import run
from mbhseg.split import partition


def main(job: Any) -> None:
    cases = read_table(job.input.cases)
    for path, source in zip(job.input.folds, job.input.source_folds, strict=False):
        trained = read_table(str(job.input.source_cases))
        partition.check_external(read_table(path), read_table(source), cases, trained, path)
    leaks = []
    for path in job.input.folds:
        table = read_table(path)
        if not job.params.allowed:
            partition.check_leakage(table, path)
        leaks.append(partition.leaks(table).assign(file=path))
    write_table(job.output.table, pd.concat(leaks, ignore_index=True))


if __name__ == "__main__":
    run(main, snakemake)
