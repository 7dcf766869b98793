"""Rule adopt: a foreign system's predictions of the test cases."""

from typing import Any

from mbhseg import foreign, splits
from mbhseg.files import read_table, write_table
from mbhseg.job import run


def main(job: Any) -> None:
    cases = list(splits.members(read_table(job.input.fold), "test"))
    manifest = foreign.adopt(
        job.input.archive, cases, job.params.folder, job.output.predictions, job.params.overlays
    )
    write_table(job.output.manifest, manifest)


if __name__ == "__main__":
    run(main, snakemake)
