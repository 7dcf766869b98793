"""Calibration of the probabilities: reliability curves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mbhseg.classes import ANY, KEYS
from mbhseg.figures.style import INK, MODEL, MUTED, note, save, sheet, styled

LABEL = "label"  # the likeliest class's probability, and whether that class is right
_TITLES = {LABEL: "likeliest label", ANY: "any bleed", **{key: key for key in KEYS}}


@styled
def reliability(calibration: Mapping[str, Any] | None, path: str | Path, title: str) -> None:
    """Draw how often voxels are of a class against the probability predicted for it.

    `calibration` is that of summary.json; None (no probabilities were kept) gives a figure that
    says so. Bars below each curve show the share of the voxels in each bin.
    """
    figure = sheet(10, 5.6)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False)
    if calibration is None:
        axes = figure.subplots()
        note(axes, "no probabilities were kept: see inference.probabilities in the config")
        axes.set_axis_off()
        save(figure, path)
        return
    grid = figure.add_gridspec(2, 5)
    _panel(figure.add_subplot(grid[:, :2]), calibration["classes"].get(LABEL), LABEL)
    for n, key in enumerate((*KEYS, ANY)):
        axes = figure.add_subplot(grid[n // 3, 2 + n % 3])
        _panel(axes, calibration["classes"].get(key), key)
    figure.supxlabel("predicted probability", fontsize=9)
    figure.supylabel("share of voxels that raters give the class", fontsize=9)
    save(figure, path)


def _panel(axes: Axes, found: Mapping[str, Any] | None, key: str) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    ticks = np.linspace(0, 1, 6 if key == LABEL else 3)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.set_title(_TITLES[key])
    if not found or not found["bins"]:
        note(axes, "no voxel")
        return
    low, high, n, probability, frequency = (
        np.array([b[name] for b in found["bins"]], np.float64)
        for name in ("low", "high", "n", "probability", "frequency")
    )
    width = high - low
    axes.bar(low, 0.25 * n / n.max(), width, align="edge", color="#dbe4ea", zorder=0)
    axes.plot(probability, frequency, color=MODEL, linewidth=1.3, marker="o", markersize=3.5)
    text = "ECE unknown" if found["ece"] is None else f"ECE {found['ece']:.3f}"
    if found["interval"] is not None:
        text += "\n[{:.3f}, {:.3f}]".format(*found["interval"])
    axes.text(0.04, 0.96, text, va="top", fontsize=8 if key == LABEL else 7, color=INK)
