"""The model's Dice per class next to the raters' on the same cases, with n."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from mbhseg.classes import ANY, KEYS
from mbhseg.evaluation.agreement import CONSENSUS, WITHOUT
from mbhseg.figures.style import INK, MODEL, MUTED, RATER, dice_axis, save, sheet, spread, styled
from mbhseg.metrics.summary import case_means

_ROWS = (*KEYS, ANY)
_LANE = 0.27


class Lane(NamedTuple):
    """One line of marks: whose scores against whom, and their colour and marker."""

    label: str
    rows: pd.DataFrame
    colour: str
    marker: str
    filled: bool


def lanes(cases: pd.DataFrame, ceiling: pd.DataFrame) -> list[Lane]:
    """The three comparisons to read together, from cases.csv and ceiling.csv of a run.

    The model against the consensus; each rater against the consensus of the other raters, its
    fair counterpart; rater against rater.
    """
    reference = ceiling["reference"]
    others = reference.str.startswith(WITHOUT)
    among = ~others & (reference != CONSENSUS)
    model = cases[cases["reference"] == CONSENSUS]
    return [
        Lane("model against consensus", model, MODEL, "o", True),
        Lane("rater against the other raters' consensus", ceiling[others], RATER, "D", True),
        Lane("rater against rater", ceiling[among], RATER, "D", False),
    ]


def class_scores(rows: pd.DataFrame, key: str, present: bool) -> pd.Series:
    """Dice of each case for one class, averaged over the case's pairs; indexed by case.

    With `present`, only where the reference has the class; otherwise nnU-Net's convention: left
    out where both are empty, 0 where one is.
    """
    chosen = rows[rows["class"] == key]
    dice = chosen["dice"]
    if present:
        dice = dice.where(chosen["reference_voxels"] > 0)
    return case_means(dice, chosen["case"])


@styled
def scores(cases: pd.DataFrame, ceiling: pd.DataFrame, path: str | Path, title: str) -> None:
    """Draw Dice per class of model and raters, every case and the mean, in both conventions.

    `cases` and `ceiling` are the tables of a run's evaluation; without a case of two raters the
    raters' lanes say n = 0.
    """
    figure = sheet(10, 7.4)
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, lanes(cases, ceiling), True, "Where the reference has the class")
    _panel(right, lanes(cases, ceiling), False, "nnU-Net's convention: a false positive counts 0")
    left.set_yticks(range(len(_ROWS)), [*KEYS, "any bleed"])
    left.set_ylim(len(_ROWS) - 0.5, -0.5)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    save(figure, path)


def _panel(axes: Axes, shown: list[Lane], present: bool, title: str) -> None:
    for n, lane in enumerate(shown):
        size = 30 if lane.filled else 26
        for place, key in enumerate(_ROWS):
            y = place + (n - 1) * _LANE
            dice = class_scores(lane.rows, key, present)
            axes.scatter(
                dice, y + spread(len(dice), 0.08), s=7, color=lane.colour, alpha=0.3, linewidths=0
            )
            axes.text(1.03, y, f"n = {len(dice)}", va="center", fontsize=7, color=MUTED)
            if len(dice):
                face = lane.colour if lane.filled else "white"
                axes.scatter(
                    [dice.mean()],
                    [y],
                    s=size,
                    marker=lane.marker,
                    facecolors=face,
                    edgecolors=lane.colour,
                    linewidths=1.3,
                    zorder=3,
                )
        axes.scatter(
            [],
            [],
            s=size,
            marker=lane.marker,
            facecolors=lane.colour if lane.filled else "white",
            edgecolors=lane.colour,
            label=lane.label,
        )
    axes.scatter([], [], s=8, color=INK, alpha=0.4, linewidths=0, label="one case")
    for row in range(1, len(_ROWS)):
        axes.axhline(row - 0.5, color="#eef1f4", linewidth=1, zorder=0)
    dice_axis(axes, "x", "Dice per case; large marks are means over n cases")
    axes.set_xlim(-0.02, 1.16)
    axes.tick_params(axis="y", length=0, labelsize=10)
    axes.set_title(title)
