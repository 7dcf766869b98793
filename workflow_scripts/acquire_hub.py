"""Rule fetch_hub: fetch a zip from the Hugging Face hub."""

from pathlib import Path
from typing import Any

from mbhseg.acquire.huggingface import from_hub
from mbhseg.acquire.staging import AcquireOutputs
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    out = AcquireOutputs(*map(Path, (job.output.archive, job.output.digest, job.output.source)))
    source = {"sha256": None, "limit_cases": None, **job.params.source}
    from_hub(**source, out=out)


if __name__ == "__main__":
    run(main, snakemake)
