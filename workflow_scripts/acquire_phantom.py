"""Rule make_phantom: generate the data set."""

from pathlib import Path
from typing import Any

from mbhseg.acquire.generated import from_phantom
from mbhseg.acquire.staging import AcquireOutputs
from mbhseg.phantom import PhantomSpec
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    out = AcquireOutputs(*map(Path, (job.output.archive, job.output.digest, job.output.source)))
    from_phantom(PhantomSpec(**job.params.spec), out, job.threads)


if __name__ == "__main__":
    run(main, snakemake)
