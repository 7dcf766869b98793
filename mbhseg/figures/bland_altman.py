"""Volumes of model and raters against the reference: Bland-Altman plots."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from mbhseg.classes import ANY, KEYS
from mbhseg.figures.scores import Lane, lanes
from mbhseg.figures.style import INK, MUTED, note, save, sheet, styled
from mbhseg.metrics.volume import volume_agreement

_ROWS = (*KEYS, ANY)
_LINEAR_ML = 1.0  # volumes axis: linear up to here, logarithmic above


def differences(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """Mean and difference (candidate - reference) of volumes in ml, one row per scored pair.

    Pairs in which neither side has the class are left out. Columns mean_ml, difference_ml,
    both (whether both sides have the class).
    """
    chosen = rows[(rows["class"] == key) & (rows["status"] != "absent")]
    reference, candidate = chosen["reference_ml"], chosen["candidate_ml"]
    return pd.DataFrame(
        {
            "mean_ml": (reference + candidate) / 2,
            "difference_ml": candidate - reference,
            "both": chosen["status"] == "both",
        }
    )


@styled
def bland_altman(cases: pd.DataFrame, ceiling: pd.DataFrame, path: str | Path, title: str) -> None:
    """Draw volume differences against mean volumes per class, with bias and limits of agreement.

    `cases` and `ceiling` are the tables of a run's evaluation: the model against the consensus
    as points and lines, each rater against the consensus of the others as points and a band.
    """
    shown = lanes(cases, ceiling)[:2]
    figure = sheet(10, 6.6)
    for n, (axes, key) in enumerate(zip(figure.subplots(2, 3).ravel(), _ROWS, strict=True)):
        _panel(axes, shown, key)
        axes.set_title("any bleed" if key == ANY else key)
        if n >= 3:
            axes.set_xlabel("mean of both volumes, ml")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False)
    figure.supylabel("candidate minus reference, ml", fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    save(figure, path)


def _panel(axes: Axes, shown: list[Lane], key: str) -> None:
    texts = []
    for n, lane in enumerate(shown):
        rows = lane.rows[(lane.rows["class"] == key) & (lane.rows["status"] != "absent")]
        points = differences(lane.rows, key)
        agreed = volume_agreement(rows["reference_ml"], rows["candidate_ml"])
        bias, low, high = (agreed[k] for k in ("bias_ml", "loa_low_ml", "loa_high_ml"))
        human = n == 1
        both = points["both"].to_numpy(bool)
        x, y = points["mean_ml"].to_numpy(float), points["difference_ml"].to_numpy(float)
        style: dict[str, Any] = {"s": 14, "alpha": 0.75, "marker": lane.marker, "zorder": 3 - n}
        if human:
            style |= {"s": 7, "alpha": 0.35}
            axes.axhspan(low, high, color=lane.colour, alpha=0.1, linewidth=0, zorder=0)
        else:
            axes.axhline(bias, color=lane.colour, linewidth=1.3, zorder=2)
            for limit in (low, high):
                axes.axhline(limit, color=lane.colour, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
        axes.scatter(x[both], y[both], color=lane.colour, linewidths=0, label=lane.label, **style)
        axes.scatter(
            x[~both],
            y[~both],
            facecolors="none",
            edgecolors=lane.colour,
            linewidths=0.8,
            label=None if human else "only one side has the class",
            **style,
        )
        who = "raters" if human else "model"
        limits = "" if np.isnan(low) else f", limits {low:+.1f} to {high:+.1f}"
        texts.append(
            f"{who}: bias {bias:+.1f} ml{limits}, n = {agreed['n']}" if agreed["n"] else ""
        )
    axes.axhline(0, color=INK, linewidth=0.8, zorder=1)
    axes.set_xscale("symlog", linthresh=_LINEAR_ML, linscale=0.5)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.grid(axis="y")
    axes.margins(y=0.25)
    if any(texts):
        axes.text(
            0.02,
            0.98,
            "\n".join(filter(None, texts)),
            transform=axes.transAxes,
            va="top",
            fontsize=7,
            color=MUTED,
            linespacing=1.5,
        )
    else:
        note(axes, "no case has the class")
