"""Rule agree: score the raters of one shard against each other."""

from typing import Any

from mbhseg.evaluation import agreement
from mbhseg.files import read_table
from mbhseg.prepare.shards import shard_of
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    cases = shard_of(sorted(read_table(job.input.cases)["case"]), job.wildcards.scatteritem)
    agreement.run(job.input.archive, cases, job.output.pairs, job.params.consensus)


if __name__ == "__main__":
    run(main, snakemake)
