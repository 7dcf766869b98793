"""Rule pool: the validation predictions of all folds in one folder."""

from pathlib import Path
from typing import Any

from mbhseg.evaluation.cross_validation import Fold, pool
from mbhseg.files import read_table, write_table
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    given = job.input
    folds = [
        Fold(name, read_table(table), Path(folder), read_table(manifest))
        for name, table, folder, manifest in zip(
            job.params.runs, given.folds, given.predictions, given.manifests, strict=True
        )
    ]
    write_table(job.output.manifest, pool(folds, job.output.predictions, job.output.table))


if __name__ == "__main__":
    run(main, snakemake)
