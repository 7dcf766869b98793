"""Rule link_archive: a zip of this machine."""

from typing import Any

from mbhseg import acquire
from mbhseg.job import run


def main(job: Any) -> None:
    out = acquire.AcquireOutputs(job.output.archive, job.output.digest, job.output.source)
    acquire.from_archive(job.input.archive, job.params.sha256, out)


if __name__ == "__main__":
    run(main, snakemake)
