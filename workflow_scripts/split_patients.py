"""Rule split: the fold tables of the split, and the balance of its classes."""

from pathlib import Path
from typing import Any

import pandas as pd

from mbhseg.files import read_table, write_table
from mbhseg.prepare.shards import kept_planes
from mbhseg.runtime.job import run
from mbhseg.split import partition


def main(job: Any) -> None:
    cases = read_table(job.input.cases)
    settings = dict(job.params.split)
    if settings.pop("external", False):
        tables = partition.only_test(cases, **settings)
    elif job.input.file:
        file = str(job.input.file)
        tables = partition.from_file(read_table(file), cases, folds=settings["folds"], where=file)
    else:
        planes = kept_planes(
            Path(job.input.cases), Path(job.input.slices), job.params.keep, job.params.rater
        )
        rows = [(case, plane) for case, kept in planes.items() for plane in kept]
        kept = pd.DataFrame(rows, columns=["case", "slice"])
        tables = partition.make(cases, slices=kept, **settings)
    for table, path in zip(tables, job.output.folds, strict=True):
        write_table(path, table)
    slices = read_table(job.input.slices)
    balances = [
        partition.balance(table, cases, slices).assign(fold=fold)
        for fold, table in enumerate(tables)
    ]
    write_table(job.output.balance, pd.concat(balances, ignore_index=True))


if __name__ == "__main__":
    run(main, snakemake)
