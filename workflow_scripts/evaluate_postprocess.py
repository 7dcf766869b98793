"""Rule postprocess: post-processing chosen on the validation cases."""

from typing import Any

from mbhseg.evaluation import choose_postprocess
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    choose_postprocess.run(
        archive_path=job.input.archive,
        split_table=job.input.fold,
        subset="valid",
        predictions=job.input.predictions,
        out_json=job.output.chosen,
        consensus_rule=job.params.consensus,
        min_ml=job.params.min_ml,
        reconcile=job.params.reconcile,
    )


if __name__ == "__main__":
    run(main, snakemake)
