"""Rule slice: the images of one shard."""

from pathlib import Path
from typing import Any

from mbhseg.files import write_table
from mbhseg.imaging.windows import Window
from mbhseg.prepare import slices
from mbhseg.prepare.shards import kept_planes
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    planes = kept_planes(
        Path(job.input.cases),
        Path(job.input.slices),
        job.params.keep,
        job.params.rater,
        job.wildcards.scatteritem,
    )
    windows = [Window(**window) for window in job.params.windows]
    manifest = slices.run(job.input.archive, planes, windows, job.params.size, job.output.images)
    write_table(job.output.manifest, manifest)


if __name__ == "__main__":
    run(main, snakemake)
