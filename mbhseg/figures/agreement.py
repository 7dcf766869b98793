"""Inter-rater agreement: Dice between the raters of one case, the ceiling for a model."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from mbhseg.classes import ANY, KEYS
from mbhseg.evaluation.agreement import CONSENSUS, WITHOUT
from mbhseg.figures.style import INK, RATER, dice_axis, save, sheet, spread, styled
from mbhseg.metrics.summary import case_means

_LABELS = {**{key: key for key in KEYS}, ANY: "any bleed"}
_PLACES = {**{key: float(n) for n, key in enumerate(KEYS)}, ANY: len(KEYS) + 0.25}
_HALF_BOX = 0.29


def rater_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows of agreement/pairs.csv that compare two raters, each pair once.

    The same two raters in the other direction have the same Dice and are left out, as are rows
    against a consensus, and classes that neither rater annotated.
    """
    references = pairs["reference"]
    among = (references != CONSENSUS) & ~references.str.startswith(WITHOUT)
    return pairs[among & (pairs["candidate"] < references) & pairs["dice"].notna()]


@styled
def agreement(pairs: pd.DataFrame, path: str | Path) -> None:
    """Draw rater-against-rater Dice per class: every pair, a box, and the mean over cases.

    `pairs` is agreement/pairs.csv. Where only one rater annotated the class, the pair scores 0 and
    its mark is hollow. A class without any pair says so; the table may be empty.
    """
    shown = rater_pairs(pairs)
    figure = sheet(8.5, 4.6)
    axes = figure.subplots()
    ticks = []
    for key, place in _PLACES.items():
        rows = shown[shown["class"] == key].sort_values(["dice", "case", "candidate", "reference"])
        n_pairs, n_cases = len(rows), rows["case"].nunique()
        ticks.append(f"{_LABELS[key]}\n{_of(n_pairs, 'pair')}\n{_of(n_cases, 'case')}")
        if len(rows):
            _strip(axes, place, rows)
        else:
            axes.text(place, 0.5, "no pair", ha="center", va="center", fontsize=8, color=INK)
    axes.set_xticks(list(_PLACES.values()), ticks)
    axes.set_xlim(-0.5, _PLACES[ANY] + 0.65)
    axes.tick_params(axis="x", length=0)
    axes.axvline(_PLACES[ANY] - 0.5, color="#c9d1d8", linewidth=1)
    dice_axis(axes, "y", "Dice of two raters on one case")
    axes.set_title("Rater against rater")
    _label_marks(axes)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    save(figure, path)


def _of(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _strip(axes: Axes, place: float, rows: pd.DataFrame) -> None:
    dice = rows["dice"].to_numpy(float)
    both = (rows["status"] == "both").to_numpy()
    x = place + spread(len(dice), 0.24)
    alpha = 0.55 if len(dice) < 100 else 0.3
    axes.boxplot(
        dice,
        positions=[place],
        widths=2 * _HALF_BOX,
        showfliers=False,
        whis=(5, 95),
        medianprops={"color": INK, "linewidth": 1.6},
        boxprops={"color": "#93a1ac"},
        whiskerprops={"color": "#93a1ac"},
        capprops={"color": "#93a1ac"},
        zorder=3,
    )
    axes.scatter(x[both], dice[both], s=9, color=RATER, alpha=alpha, linewidths=0, zorder=2)
    axes.scatter(
        x[~both], dice[~both], s=11, facecolors="none", edgecolors=RATER, linewidths=0.7, zorder=2
    )
    mean = float(case_means(rows["dice"], rows["case"]).mean())
    axes.scatter([place], [mean], marker="D", s=34, color=INK, zorder=4)
    axes.annotate(
        f"{mean:.2f}", (place + _HALF_BOX + 0.03, mean), va="center", fontsize=8, fontweight="bold"
    )


def _label_marks(axes: Axes) -> None:
    nothing: list[float] = []
    axes.scatter(nothing, nothing, s=16, color=RATER, label="pair of raters")
    axes.scatter(
        nothing,
        nothing,
        s=16,
        facecolors="none",
        edgecolors=RATER,
        label="only one drew the class",
    )
    axes.scatter(nothing, nothing, marker="D", s=30, color=INK, label="mean over cases")
    axes.plot(nothing, nothing, color=INK, linewidth=1.6, label="median; box 25-75 %, bars 5-95 %")
