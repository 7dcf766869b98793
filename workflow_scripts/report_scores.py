"""Rule score_figures: a run's scores and its best, median and worst case in pictures."""

from typing import Any

from mbhseg import splits
from mbhseg.archive import Archive
from mbhseg.figures import calibration, cases, confusion, scatter, scores, volumes
from mbhseg.files import read_json, read_table
from mbhseg.job import run
from mbhseg.raters import Consensus


def main(job: Any) -> None:
    table, ceiling = read_table(job.input.cases), read_table(job.input.ceiling)
    name = job.wildcards.run
    summary, out = read_json(job.input.summary), job.output
    scores.scores(table, ceiling, out.scores, f"{name}: Dice on the test cases")
    scatter.scatter(table, ceiling, out.scatter, f"{name}: Dice case by case")
    volumes.bland_altman(table, ceiling, out.volumes, f"{name}: bleed volumes")
    calibration.reliability(summary.get("calibration"), out.calibration, f"{name}: reliability")
    confusion.confusion(summary["confusion"], out.confusion, f"{name}: classes, voxel by voxel")
    planes = splits.members(read_table(job.input.fold), "test")
    rule = Consensus(**job.params.consensus)
    with Archive(job.input.archive) as archive:
        panels = [
            cases.read_panel(archive, choice, job.input.predictions, rule, planes[choice.case])
            for choice in cases.choose_cases(table)
        ]
    title = f"{name}: test cases with a bleed, ranked by mean Dice over their classes"
    cases.overlay_panel(panels, out.overlays, title)


if __name__ == "__main__":
    run(main, snakemake)
