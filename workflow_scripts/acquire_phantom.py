"""Rule make_phantom: generate the data set."""

from typing import Any

from mbhseg import acquire
from mbhseg.job import run
from mbhseg.phantom import PhantomSpec


def main(job: Any) -> None:
    out = acquire.AcquireOutputs(job.output.archive, job.output.digest, job.output.source)
    acquire.from_phantom(PhantomSpec(**job.params.spec), out)


if __name__ == "__main__":
    run(main, snakemake)
