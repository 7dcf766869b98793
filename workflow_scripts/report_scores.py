"""Rule score_figures: a run's scores and its best, median and worst case in pictures."""

from typing import Any

from mbhseg import splits
from mbhseg.archive import Archive
from mbhseg.figures import cases, scores
from mbhseg.files import read_table
from mbhseg.job import run
from mbhseg.raters import Consensus


def main(job: Any) -> None:
    table, ceiling = read_table(job.input.cases), read_table(job.input.ceiling)
    name = job.wildcards.run
    scores.scores(table, ceiling, job.output.scores, f"{name}: Dice on the test cases")
    planes = splits.members(read_table(job.input.fold), "test")
    rule = Consensus(**job.params.consensus)
    with Archive(job.input.archive) as archive:
        panels = [
            cases.read_panel(archive, choice, job.input.predictions, rule, planes[choice.case])
            for choice in cases.choose_cases(table)
        ]
    title = f"{name}: test cases with a bleed, ranked by mean Dice over their classes"
    cases.overlay_panel(panels, job.output.overlays, title)


if __name__ == "__main__":
    run(main, snakemake)
