"""Rule link_archive: link a zip of this machine."""

from pathlib import Path
from typing import Any

from mbhseg.acquire.local import from_archive
from mbhseg.acquire.staging import AcquireOutputs
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    out = AcquireOutputs(*map(Path, (job.output.archive, job.output.digest, job.output.source)))
    from_archive(job.input.archive, job.params.sha256, out)


if __name__ == "__main__":
    run(main, snakemake)
