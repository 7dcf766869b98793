"""Rule compare: all runs and other systems compared."""

from typing import Any

from mbhseg.evaluation import compare_runs
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    compare_runs.run(
        dict(zip(job.params.runs, job.input.cases, strict=True)),
        dict(zip(job.params.runs, job.input.processed, strict=True)),
        out_runs=job.output.runs,
        out_experiments=job.output.experiments,
        out_differences=job.output.differences,
    )


if __name__ == "__main__":
    run(main, snakemake)
