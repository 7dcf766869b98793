"""Rule score_figures: figures of a run's scores and of its best, median and worst case."""

from typing import Any

from mbhseg.figures import bland_altman, calibration, confusion, examples, scatter, scores
from mbhseg.files import read_json, read_table
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.prepare.consensus import Consensus
from mbhseg.runtime.job import run
from mbhseg.split import partition


def main(job: Any) -> None:
    table, ceiling = read_table(job.input.cases), read_table(job.input.ceiling)
    name = job.wildcards.run
    summary, out = read_json(job.input.summary), job.output
    scores.scores(table, ceiling, out.scores, f"{name}: Dice on the test cases")
    scatter.scatter(table, ceiling, out.scatter, f"{name}: Dice case by case")
    bland_altman.bland_altman(table, ceiling, out.volumes, f"{name}: bleed volumes")
    calibration.reliability(summary.get("calibration"), out.calibration, f"{name}: reliability")
    confusion.confusion(summary["confusion"], out.confusion, f"{name}: classes, voxel by voxel")
    planes = partition.members(read_table(job.input.fold), "test")
    rule, window = Consensus(**job.params.consensus), Window(**job.params.window)
    with Archive(job.input.archive) as archive:
        panels = [
            examples.read_panel(
                archive, choice, job.input.predictions, rule, window, planes[choice.case]
            )
            for choice in examples.choose_cases(table)
        ]
    title = f"{name}: test cases with a bleed, ranked by mean Dice over their classes"
    examples.overlay_panel(panels, out.overlays, title)


if __name__ == "__main__":
    run(main, snakemake)
