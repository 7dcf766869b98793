"""Rule export_images: the reference project's zip of images and masks."""

from pathlib import Path
from typing import Any

from mbhseg.files import read_table
from mbhseg.prepare.export import image_mask_zip
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    root = Path(job.input.table).parent
    image_mask_zip(read_table(job.input.table), root, job.output.archive, top=job.wildcards.dataset)


if __name__ == "__main__":
    run(main, snakemake)
