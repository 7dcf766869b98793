"""Rule dataset: images and masks in the folders of their subsets."""

from pathlib import Path
from typing import Any

from mbhseg.files import read_table
from mbhseg.prepare import dataset
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    image_shards = zip(job.input.images, map(read_table, job.input.image_manifests), strict=True)
    mask_shards = zip(job.input.masks, map(read_table, job.input.mask_manifests), strict=True)
    dataset.assemble(
        read_table(job.input.fold),
        dataset.index_shards(image_shards),
        dataset.index_shards(mask_shards, under="consensus"),
        root=Path(job.output.table).parent,
        out_dir=job.output.dataset,
        out_table=job.output.table,
    )


if __name__ == "__main__":
    run(main, snakemake)
