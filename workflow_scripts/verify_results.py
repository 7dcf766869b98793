"""Rule verified: hash the outputs of a data set again."""

from pathlib import Path
from typing import Any

from mbhseg.files import write_table
from mbhseg.provenance.verification import verify
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    folders = [*job.input.images, *job.input.masks, *job.input.predictions]
    table = verify(Path(job.params.root), map(Path, folders), map(Path, job.input.models))
    write_table(job.output.table, table)


if __name__ == "__main__":
    run(main, snakemake)
