"""Figures of the data set: numbers of images, class balance of the split, samples."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mbhseg.classes import ANY, KEYS
from mbhseg.config.run_names import SUBSETS
from mbhseg.errors import InputError
from mbhseg.figures.style import (
    MUTED,
    SUBSET_COLOURS,
    colour_legend,
    save,
    sheet,
    show,
    styled,
)
from mbhseg.imaging.png import read_image
from mbhseg.split.partition import ALL

NO_BLEED = "none"
_ROWS = (*KEYS, NO_BLEED)
GRID_COLUMNS = 4


def class_counts(dataset: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """Count slices and patients of the data set per subset and class of the consensus mask.

    `dataset` is dataset.tsv (subset, case, classes, ...), `split` the fold table (case, patient).
    Returns subset, class (EDH..SDH, any, none, all), slices, patients; every subset and class has
    a row, 0 if there are none. `none` counts slices without hemorrhage, and patients without any
    slice with hemorrhage.
    """
    patient = dict(zip(split["case"], split["patient"], strict=True))
    table = dataset.assign(patient=dataset["case"].map(patient))
    drawn = table["classes"].map(lambda text: set(text.split(",")) - {""})
    rows = []
    for subset in SUBSETS:
        inside = table["subset"] == subset
        bleeding = inside & drawn.map(bool)
        quiet = table["patient"][inside].nunique() - table["patient"][bleeding].nunique()
        for key in (*KEYS, ANY, ALL):
            held = drawn.map(lambda found, key=key: key in found)
            flag = {ANY: bleeding, ALL: inside}.get(key, inside & held)
            rows.append((subset, key, int(flag.sum()), table["patient"][flag].nunique()))
        rows.append((subset, NO_BLEED, int((inside & ~bleeding).sum()), quiet))
    return pd.DataFrame(rows, columns=["subset", "class", "slices", "patients"])


@styled
def statistics(dataset: pd.DataFrame, split: pd.DataFrame, path: str | Path) -> None:
    """Draw the number of images per subset, and of slices and patients per class and subset.

    Arguments as in `class_counts`; writes the PNG `path`. Subsets may be empty.
    """
    counts = class_counts(dataset, split)
    figure = sheet(10, 4.2)
    images, slices, patients = figure.subplots(1, 3, width_ratios=[0.8, 1.3, 1.3])
    totals = counts[counts["class"] == ALL].set_index("subset")["slices"]
    bars = images.bar(
        SUBSETS, [totals[s] for s in SUBSETS], color=[SUBSET_COLOURS[s] for s in SUBSETS], width=0.7
    )
    images.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=2)
    images.set(title="Images", ylabel="slices")
    images.margins(y=0.12)
    _class_bars(slices, counts, "slices", "Slices with the class")
    _class_bars(patients, counts, "patients", "Patients with the class")
    handles = [slices.containers[n] for n in range(len(SUBSETS))]
    figure.legend(handles, SUBSETS, loc="outside lower center", ncols=3)
    save(figure, path)


def _class_bars(axes: Axes, counts: pd.DataFrame, column: str, title: str) -> None:
    height = 0.26
    for n, subset in enumerate(SUBSETS):
        chosen = counts[counts["subset"] == subset].set_index("class")[column]
        bars = axes.barh(
            np.arange(len(_ROWS)) + (n - 1) * height,
            [chosen[key] for key in _ROWS],
            height,
            color=SUBSET_COLOURS[subset],
            label=subset,
        )
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2, color=MUTED)
    axes.set_yticks(range(len(_ROWS)), [*KEYS, "no bleed"])
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set(title=title, xlabel=column)


@styled
def split_balance(balances: Mapping[int, pd.DataFrame], path: str | Path) -> None:
    """Draw how common each class is among the patients of each subset, one dot per fold.

    `balances` has a table of `partition.balance` for each fold: subset, class, patients. Dots of a
    class that are close together mean balanced folds. The test set is the same in every fold and
    shown once. Raises ValueError without a fold.
    """
    if not balances:
        raise ValueError("no fold to draw")
    rows = (*KEYS, ANY)
    figure = sheet(7.5, 4.4)
    axes = figure.subplots()
    for n, subset in enumerate(SUBSETS):
        shown = list(balances.values())[: 1 if subset == "test" else None]
        xs, ys = [], []
        for fold, balance in enumerate(shown):
            chosen = balance[balance["subset"] == subset].set_index("class")["patients"]
            if chosen.empty or not chosen[ALL]:
                continue
            shift = (fold - (len(shown) - 1) / 2) * 0.16 / max(len(shown), 1)
            xs += [100 * chosen[key] / chosen[ALL] for key in rows]
            ys += [row + (n - 1) * 0.24 + shift for row in range(len(rows))]
        axes.scatter(
            xs, ys, s=34, color=SUBSET_COLOURS[subset], label=_balance_label(subset, balances)
        )
    axes.set_yticks(range(len(rows)), [*KEYS, "any bleed"])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for row in range(1, len(rows)):
        axes.axhline(row - 0.5, color="#eef1f4", linewidth=1, zorder=0)
    axes.set_xlim(-2, 102)
    axes.grid(axis="x")
    folds = len(balances)
    axes.set(
        title=f"Class balance of the split, {folds} fold{'s' if folds > 1 else ''}",
        xlabel="patients with the class, % of the subset's patients",
    )
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    save(figure, path)


def _balance_label(subset: str, balances: Mapping[int, pd.DataFrame]) -> str:
    sizes = {
        int(table.loc[(table["subset"] == subset) & (table["class"] == ALL), "patients"].sum())
        for table in balances.values()
    }
    low, high = min(sizes), max(sizes)
    size = f"{low}" if low == high else f"{low} to {high}"
    return f"{subset} (n = {size} patients)"


class Sample(NamedTuple):
    """A slice of the data set to show; PNG paths are relative to the data set's root."""

    case: str
    plane: int
    image: str
    mask: str
    classes: str


def choose_samples(dataset: pd.DataFrame, subset: str, n: int) -> list[Sample]:
    """Choose n slices that show all classes of a subset, from as many cases as possible.

    The classes take turns, the rarest first; a class's next slice is from the case shown least
    so far. Ties are broken by a digest of the name, so the choice depends on the table's content,
    not its order. Slices without hemorrhage are chosen last. If there are fewer than n slices, all
    are chosen. Sorted by case and slice.
    """
    rows = dataset.loc[dataset["subset"] == subset, ["case", "slice", "image", "mask", "classes"]]
    samples = [Sample(*row) for row in rows.itertuples(index=False)]
    left = {(sample.case, sample.plane): sample for sample in samples}
    frequency = {key: sum(key in s.classes.split(",") for s in left.values()) for key in KEYS}
    shown = dict.fromkeys(KEYS, 0)
    used: dict[str, int] = {}
    chosen: list[Sample] = []
    while left and len(chosen) < n:
        open_keys = [k for k in KEYS if any(k in s.classes.split(",") for s in left.values())]
        key = min(open_keys, key=lambda k: (shown[k], frequency[k], k), default=None)
        pool = [s for s in left.values() if key is None or key in s.classes.split(",")]
        pick = min(pool, key=lambda s: (used.get(s.case, 0), _digest(s.case, s.plane)))
        del left[pick.case, pick.plane]
        chosen.append(pick)
        used[pick.case] = used.get(pick.case, 0) + 1
        for drawn in pick.classes.split(","):
            if drawn in shown:
                shown[drawn] += 1
    return sorted(chosen)


def _digest(case: str, plane: int) -> str:
    return hashlib.sha256(f"{case}\0{plane}".encode()).hexdigest()


def sample_grid(
    dataset: pd.DataFrame,
    root: str | Path,
    subset: str,
    n: int,
    images_path: str | Path,
    masks_path: str | Path,
) -> None:
    """Draw n images of a subset, and their masks at the same places in a second figure.

    `dataset` is dataset.tsv, `root` the folder that its paths start from. Slices as
    `choose_samples` chooses them. Raises InputError if the subset is empty or a PNG unreadable.
    """
    samples = choose_samples(dataset, subset, n)
    if not samples:
        raise InputError(f"subset {subset}", "has no slice to show", "Assign it cases in the split")
    _grid(samples, [Path(root) / s.image for s in samples], f"Images, {subset}", images_path)
    _grid(samples, [Path(root) / s.mask for s in samples], f"Masks, {subset}", masks_path, True)


@styled
def _grid(
    samples: Sequence[Sample],
    files: Sequence[Path],
    title: str,
    path: str | Path,
    legend: bool = False,
) -> None:
    columns = min(GRID_COLUMNS, len(samples))
    rows = -(-len(samples) // columns)
    figure = sheet(2.4 * columns, 2.68 * rows + (0.75 if legend else 0.3))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, sample, file in zip(grid, samples, files, strict=False):
        show(axes, read_image(file))
        drawn = sample.classes.replace(",", ", ") or "no bleed"
        caption = f"{sample.case}\nslice {sample.plane}: {drawn}"
        axes.set_title(caption, fontsize=6, fontweight="normal", pad=3, parse_math=False)
    for axes in grid[len(samples) :]:
        axes.set_axis_off()
    if legend:
        colour_legend(figure)
    save(figure, path)
