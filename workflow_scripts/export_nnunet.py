"""Rule export_nnunet: nnU-Net v2 raw data."""

from typing import Any

from mbhseg.files import read_table, write_table
from mbhseg.prepare.export import nnunet
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    folds = [read_table(path) for path in job.input.folds]
    manifest = nnunet(job.input.archive, folds, job.output.folder, **job.params.consensus)
    write_table(job.output.manifest, manifest)


if __name__ == "__main__":
    run(main, snakemake)
