"""Every case as a point: Dice against volume, and against the agreement of its raters."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from mbhseg.classes import ANY, CLASSES, KEYS
from mbhseg.evaluation.agreement import CONSENSUS
from mbhseg.figures.scores import Lane, class_scores, lanes
from mbhseg.figures.style import INK, MUTED, as_float, dice_axis, save, sheet, spread, styled

_ROWS = (*KEYS, ANY)
_NONE_ML = 0.01  # where the logarithmic axis shows volumes of 0
_LEAST_ML = 0.03
_MARKS = dict(zip(_ROWS, "os^vDP", strict=True))
_SAFE = {**{c.key: as_float(c.safe_rgb) for c in CLASSES}, ANY: as_float((27, 39, 49))}


def own_ceiling(cases: pd.DataFrame, ceiling: pd.DataFrame, key: str) -> pd.DataFrame:
    """Dice of each case against single raters: of the other raters (`raters`) and the `model`.

    Averaged over the pairs of a case, where the reference has the class. Cases without two
    raters, or without one of the values, are left out. Indexed by case.
    """
    model = cases[cases["reference"] != CONSENSUS]
    among = next(lane.rows for lane in lanes(cases, ceiling) if lane.label.endswith("rater"))
    both = {
        "raters": class_scores(among, key, True),
        "model": class_scores(model, key, True),
    }
    return pd.DataFrame(both).dropna()


@styled
def scatter(cases: pd.DataFrame, ceiling: pd.DataFrame, path: str | Path, title: str) -> None:
    """Draw the Dice of every case against the reference's volume per class, raters behind.

    At the right each case against its own ceiling: the model against single raters versus rater
    against rater; on the diagonal the model agrees with raters as they do with each other.
    """
    figure = sheet(12.5, 6)
    grid = figure.add_gridspec(2, 5)
    shown = lanes(cases, ceiling)[:2]
    for n, key in enumerate(_ROWS):
        axes = figure.add_subplot(grid[n // 3, n % 3])
        for lane in reversed(shown):
            _by_volume(axes, lane, key)
        dice_axis(axes, "y", "Dice" if n % 3 == 0 else "")
        axes.set_title("any bleed" if key == ANY else key)
        if n >= 3:
            axes.set_xlabel("volume in the reference, ml")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    _against_ceiling(figure.add_subplot(grid[:, 3:]), cases, ceiling)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False)
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    save(figure, path)


def _by_volume(axes: Axes, lane: Lane, key: str) -> None:
    rows = lane.rows[(lane.rows["class"] == key) & lane.rows["dice"].notna()]
    volume = rows["reference_ml"].to_numpy(float)
    x: NDArray[np.float64] = np.where(volume > 0, np.maximum(volume, _LEAST_ML), _NONE_ML)
    nothing = volume == 0
    x[nothing] *= 1 + spread(int(nothing.sum()), 0.3)  # so that they do not overlap
    model = lane.filled and lane.marker == "o"
    axes.scatter(
        x,
        rows["dice"],
        s=16 if model else 9,
        marker=lane.marker,
        color=lane.colour,
        alpha=0.8 if model else 0.35,
        linewidths=0,
        label=lane.label,
    )
    axes.set_xscale("log")
    axes.set_xlim(_NONE_ML / 2, 300)
    axes.axvline(_NONE_ML * 1.7, color="#c9d1d8", linewidth=1)
    axes.xaxis.set_major_locator(FixedLocator([_NONE_ML, 0.1, 1, 10, 100]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "none" if value == _NONE_ML else f"{value:g}")
    )


def _against_ceiling(axes: Axes, cases: pd.DataFrame, ceiling: pd.DataFrame) -> None:
    for key in _ROWS:
        points = own_ceiling(cases, ceiling, key)
        axes.scatter(
            points["raters"],
            points["model"],
            s=30,
            marker=_MARKS[key],
            color=_SAFE[key],
            edgecolors=INK,
            linewidths=0.5,
            alpha=0.9,
            label=f"{'any bleed' if key == ANY else key}, n = {len(points)}",
        )
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axes.text(0.03, 0.97, "model agrees more", fontsize=8, color=MUTED, va="top")
    axes.text(0.97, 0.03, "raters agree more", fontsize=8, color=MUTED, ha="right")
    dice_axis(axes, "x", "rater against rater, mean Dice of the case")
    dice_axis(axes, "y", "model against single raters, mean Dice of the case")
    axes.grid(axis="both")
    axes.set_aspect("equal")
    axes.set_title("Each case against its own ceiling")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize=7.5, ncols=3)
