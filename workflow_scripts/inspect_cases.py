"""Rule inspect: the cases of one shard."""

from typing import Any

from mbhseg.files import write_table
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.inspect.examine import inspect_cases
from mbhseg.prepare.shards import shard_of
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    with Archive(job.input.archive) as archive:
        cases = shard_of(list(archive.cases), job.wildcards.scatteritem)
        window = Window(**job.params.window)
        inventory = inspect_cases(archive, cases, window, job.output.thumbnails)
    write_table(job.output.cases, inventory.cases)
    write_table(job.output.slices, inventory.slices)
    write_table(job.output.findings, inventory.findings)


if __name__ == "__main__":
    run(main, snakemake)
