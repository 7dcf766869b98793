"""Rule fetch_hub: a zip from the Hugging Face hub."""

from typing import Any

from mbhseg import acquire
from mbhseg.job import run


def main(job: Any) -> None:
    out = acquire.AcquireOutputs(job.output.archive, job.output.digest, job.output.source)
    acquire.from_hub(**job.params.source, out=out)


if __name__ == "__main__":
    run(main, snakemake)
