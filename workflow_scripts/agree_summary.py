"""Rule agreement: merge and summarise the shards' pairs."""

from typing import Any

from mbhseg.evaluation import agreement
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    agreement.summarise_shards(job.input.shards, job.output.pairs, job.output.summary)


if __name__ == "__main__":
    run(main, snakemake)
