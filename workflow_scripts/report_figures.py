"""Rule figures: figures of the data set."""

from pathlib import Path
from typing import Any

from mbhseg.config.run_names import SUBSETS
from mbhseg.figures import agreement, dataset
from mbhseg.files import read_table
from mbhseg.runtime.job import run

SAMPLES = 12


def main(job: Any) -> None:
    out = job.output
    table, fold = read_table(job.input.table), read_table(job.input.fold)
    balance = read_table(job.input.balance)
    root = Path(job.input.table).parent
    dataset.statistics(table, fold, out.statistics)
    dataset.split_balance(dict(tuple(balance.groupby("fold"))), out.balance)
    subset = next((name for name in SUBSETS if name in set(table["subset"])), SUBSETS[0])
    dataset.sample_grid(table, root, subset, SAMPLES, out.images, out.masks)
    agreement.agreement(read_table(job.input.pairs), out.agreement)


if __name__ == "__main__":
    run(main, snakemake)
