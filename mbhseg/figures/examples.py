"""Pictures of the best, the median and the worst case: image, reference, prediction."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.classes import KEYS
from mbhseg.evaluation.agreement import CONSENSUS
from mbhseg.figures.style import colour_legend, save, sheet, show, styled
from mbhseg.imaging.display import to_display
from mbhseg.imaging.nifti import image_array, load_labels
from mbhseg.imaging.overlays import overlay, to_rgb
from mbhseg.imaging.windows import Window, to_grey
from mbhseg.inspect.archive import Archive
from mbhseg.predictions.writing import case_file
from mbhseg.prepare.annotations import read_raters
from mbhseg.prepare.consensus import Consensus, consensus


class Choice(NamedTuple):
    """A case to show: its rank, and its mean Dice over the n_classes that the reference has."""

    rank: str
    case: str
    dice: float
    n_classes: int


class CasePanel(NamedTuple):
    """One row of pictures in display orientation: grey, reference, prediction, uint8 [H, W]."""

    choice: Choice
    plane: int
    grey: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]


def rank_cases(cases: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice per case over the classes present in the consensus, the best first.

    `cases` is a run's cases.csv. Returns case, dice, n_classes; a missed class scores 0, a case
    without hemorrhage has no rank and is left out. Equal means are sorted by name.
    """
    present = cases[
        (cases["reference"] == CONSENSUS)
        & cases["class"].isin(KEYS)
        & (cases["reference_voxels"] > 0)
    ]
    means = present.groupby("case", sort=True)["dice"].agg(["mean", "size"]).reset_index()
    means.columns = pd.Index(["case", "dice", "n_classes"])
    return means.sort_values("dice", ascending=False, kind="stable", ignore_index=True)


def choose_cases(cases: pd.DataFrame) -> list[Choice]:
    """The best, the median and the worst case by `rank_cases`; fewer if there are fewer.

    The median of an even number is the better of the two in the middle.
    """
    ranked = rank_cases(cases)
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    chosen: dict[int, str] = {}
    for rank in ("best", "worst", "median"):
        if len(ranked):
            chosen.setdefault(places[rank], rank)
    return [
        Choice(
            chosen[place],
            str(ranked["case"][place]),
            float(ranked["dice"][place]),
            int(ranked["n_classes"][place]),
        )
        for place in sorted(chosen)
    ]


def informative_plane(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    planes: Sequence[int] | None = None,
) -> int:
    """The most informative slice of two label volumes [x, y, z]: its index along z.

    Each class in the reference has the same weight: a slice's worth is the sum over these classes
    of the share of the class's voxels (of either volume) in it. Classes that only the prediction
    has are weighted by their share of all labelled voxels, so that a speck does not decide.
    `planes` limits the choice. Ties give the first; without hemorrhage, the middle slice.
    """
    allowed = np.arange(reference.shape[2]) if planes is None else np.sort(np.asarray(planes))
    worth = np.zeros(reference.shape[2])
    drawn = max(int(((reference | prediction) > 0).sum()), 1)
    for label in range(1, len(KEYS) + 1):
        held = reference == label
        voxels = (held | (prediction == label)).sum(axis=(0, 1))
        worth += voxels / (max(int(voxels.sum()), 1) if held.any() else drawn)
    if not worth[allowed].any():
        return int(allowed[len(allowed) // 2])
    return int(allowed[np.argmax(worth[allowed])])


def read_panel(
    archive: Archive,
    choice: Choice,
    predictions: str | Path,
    rule: Consensus,
    window: Window,
    planes: Sequence[int] | None = None,
) -> CasePanel:
    """Read the most informative slice of a case: scan and consensus from the archive.

    `predictions` is the folder of `<case>.nii.gz`, `window` shows the CT; `planes` limits the
    choice to scored slices.
    Raises InputError if the archive or the folder does not hold the case.
    """
    scan = archive.scan(choice.case)
    rated = read_raters(archive, choice.case, scan)
    reference = consensus(rated.labels, *rule, where=choice.case)
    prediction = load_labels(Path(predictions) / case_file(choice.case))[0]
    plane = informative_plane(reference, prediction, planes)
    grey = to_grey(image_array(scan)[:, :, plane], window)
    shown = (to_display(volume[:, :, plane]) for volume in (reference, prediction))
    return CasePanel(choice, plane, to_display(grey), *shown)


@styled
def overlay_panel(panels: Sequence[CasePanel], path: str | Path, title: str) -> None:
    """Draw rows of image, image with reference, image with prediction.

    Without a panel (no case has hemorrhage) the figure says so.
    """
    figure = sheet(9, 3.15 * max(len(panels), 1) + 1.0)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False)
    if not panels:
        axes = figure.subplots()
        axes.text(0.5, 0.5, "no case with a bleed", ha="center", va="center")
        axes.set_axis_off()
        save(figure, path)
        return
    grid = figure.subplots(len(panels), 3, squeeze=False)
    for row, panel in zip(grid, panels, strict=True):
        grey, reference, prediction = map(_enlarged, panel[2:])
        pictures = to_rgb(grey), overlay(grey, reference), overlay(grey, prediction)
        for axes, picture in zip(row, pictures, strict=True):
            show(axes, picture)
        choice = panel.choice
        classes = "class" if choice.n_classes == 1 else "classes"
        row[0].set_title(
            f"{choice.rank}: Dice {choice.dice:.2f} over {choice.n_classes} {classes}",
            fontsize=9,
            pad=4,
        )
        row[0].set_xlabel(f"{choice.case}, slice {panel.plane}", fontsize=7, parse_math=False)
        row[1].set_title("reference (consensus)", fontsize=9, fontweight="normal", pad=4)
        row[2].set_title("prediction", fontsize=9, fontweight="normal", pad=4)
    colour_legend(figure)
    save(figure, path)


def _enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with whole pixels repeated up to about 400 a side, so that outlines are thin."""
    factor = -(-400 // max(image.shape))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)
