"""Rule figures: the data set in pictures."""

from typing import Any

from mbhseg.figures.draw import draw_dataset

from mbhseg.job import run


def main(job: Any) -> None:
    draw_dataset(
        table=job.input.table,
        folds=job.input.folds,
        first_fold=job.params.first_fold,
        inventory_cases=job.input.cases,
        inventory_slices=job.input.slices,
        pairs=job.input.pairs,
        statistics=job.output.statistics,
        balance=job.output.balance,
        sample_images=job.output.images,
        sample_masks=job.output.masks,
        agreement_figure=job.output.agreement,
    )


if __name__ == "__main__":
    run(main, snakemake)
