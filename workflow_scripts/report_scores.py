"""Rule score_figures: a run's scores and its best, median and worst case in pictures."""

from typing import Any

from mbhseg.figures.draw import draw_run

from mbhseg.job import run


def main(job: Any) -> None:
    draw_run(
        run=job.wildcards.run,
        subset="test",
        archive=job.input.archive,
        fold=job.input.fold,
        predictions=job.input.predictions,
        consensus=job.params.consensus,
        case_scores=job.input.cases,
        ceiling=job.input.ceiling,
        scores_figure=job.output.scores,
        overlays_figure=job.output.overlays,
    )


if __name__ == "__main__":
    run(main, snakemake)
