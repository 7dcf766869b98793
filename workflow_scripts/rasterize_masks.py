"""Rule rasterize: the masks of one shard."""

from pathlib import Path
from typing import Any

from mbhseg.files import write_table
from mbhseg.prepare import rasterize
from mbhseg.prepare.consensus import Consensus
from mbhseg.prepare.shards import kept_planes
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    consensus = Consensus(**job.params.consensus)
    planes = kept_planes(
        Path(job.input.cases),
        Path(job.input.slices),
        job.params.keep,
        consensus.rater,
        job.wildcards.scatteritem,
    )
    manifest = rasterize.run(
        job.input.archive,
        planes,
        consensus,
        job.params.size,
        job.params.rater_masks,
        job.output.masks,
    )
    write_table(job.output.manifest, manifest)


if __name__ == "__main__":
    run(main, snakemake)
