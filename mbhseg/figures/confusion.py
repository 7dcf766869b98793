"""Which classes are confused, voxel by voxel."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from mbhseg.classes import CLASSES, KEYS
from mbhseg.figures.style import INK, MUTED, save, sheet, styled

_NAMES = ("no bleed", *KEYS)


def shares(confusion: ArrayLike) -> NDArray[np.float64]:
    """Each row of a confusion matrix [6, 6] as shares of its sum; NaN for a row without voxels.

    The background row counts only false positives, as nearly all of it is background; its first
    cell is NaN.
    """
    counts = np.array(confusion, np.float64)
    counts[0, 0] = 0
    with np.errstate(invalid="ignore"):
        rows = counts / counts.sum(axis=1, keepdims=True)
    rows[0, 0] = np.nan
    return rows


@styled
def confusion(matrix: ArrayLike, path: str | Path, title: str) -> None:
    """Draw voxel counts [6, 6], consensus label by predicted label, as shares per row."""
    counts = np.asarray(matrix, np.int64)
    figure = sheet(6.6, 5.4)
    axes = figure.subplots()
    _cells(axes, shares(counts))
    voxels = [int(counts[0, 1:].sum()), *counts[1:].sum(axis=1).tolist()]
    axes.set_yticks(
        range(len(CLASSES)),
        [f"{name}\n{n:,} voxels" for name, n in zip(_NAMES, voxels, strict=True)],
    )
    axes.set_xticks(range(len(CLASSES)), _NAMES)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xlabel("prediction, % of the voxels of a row")
    axes.set_ylabel("consensus")
    axes.axhline(0.5, color=INK, linewidth=1.2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False)
    save(figure, path)


def _cells(axes: Axes, table: NDArray[np.float64]) -> None:
    axes.imshow(np.ma.masked_invalid(table), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(table.shape):
        value = table[row, column]
        known = not np.isnan(value)
        axes.text(
            column,
            row,
            f"{100 * value:.1f}" if known else "–",
            ha="center",
            va="center",
            fontweight="bold" if row == column else "normal",
            color="white" if known and value > 0.55 else (INK if known else MUTED),
        )
    for spine in axes.spines.values():
        spine.set_visible(False)
