"""Rule evaluate: scores of the test predictions, the raters and the best HU threshold."""

from typing import Any

from mbhseg.evaluation import run_summary
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    run_summary.evaluate_run(
        archive_path=job.input.archive,
        split_table=job.input.fold,
        subset="test",
        predictions=job.input.predictions,
        run_name=job.wildcards.run,
        out_folder=job.params.folder,
        consensus=job.params.consensus,
        postprocessing=job.input.get("postprocessing") or None,
        processes=job.threads,
    )


if __name__ == "__main__":
    run(main, snakemake)
