"""Rule score_pool: scores of the pooled predictions."""

from typing import Any

from mbhseg.evaluation import run_summary
from mbhseg.evaluation.cross_validation import SUBSET
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    run_summary.evaluate_run(
        archive_path=job.input.archive,
        split_table=job.input.table,
        subset=SUBSET,
        predictions=job.input.predictions,
        run_name=job.params.name,
        out_folder=job.params.folder,
        consensus=job.params.consensus,
        processes=job.threads,
    )


if __name__ == "__main__":
    run(main, snakemake)
