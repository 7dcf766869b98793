"""Rule annotations: each rater's masks in one folder."""

from pathlib import Path
from typing import Any

from mbhseg.files import read_table
from mbhseg.prepare import dataset
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    dataset.assemble_annotations(
        zip(job.input.masks, map(read_table, job.input.manifests), strict=True),
        root=Path(job.output.table).parent,
        out_dir=job.output.annotations,
        out_table=job.output.table,
    )


if __name__ == "__main__":
    run(main, snakemake)
