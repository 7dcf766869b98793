"""Rule adopt: another system's predictions of the test cases."""

from typing import Any

from mbhseg.files import read_table, write_table
from mbhseg.imaging.windows import Window
from mbhseg.predictions import adopt
from mbhseg.runtime.job import run
from mbhseg.split import partition


def main(job: Any) -> None:
    cases = list(partition.members(read_table(job.input.fold), "test"))
    manifest = adopt.adopt(
        job.input.archive,
        cases,
        job.params.folder,
        job.output.predictions,
        Window(**job.params.window),
        job.params.overlays,
    )
    write_table(job.output.manifest, manifest)


if __name__ == "__main__":
    run(main, snakemake)
