"""Rule model_card: the model card of a run."""

from typing import Any

from mbhseg.report.card import write_card
from mbhseg.runtime.job import run


def main(job: Any) -> None:
    write_card(
        job.output.card,
        job.wildcards.dataset,
        run_json=job.input.run,
        summary_json=job.input.summary,
        cases_tsv=job.input.cases,
        source_json=job.input.source,
        trained_on=job.params.trained_on,
    )


if __name__ == "__main__":
    run(main, snakemake)
