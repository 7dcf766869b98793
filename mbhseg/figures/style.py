"""The style of every figure, and how figures are written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from mbhseg.classes import FOREGROUND, RGB
from mbhseg.files import atomic_file

INK, MUTED, GRID = "#1b2731", "#5a6975", "#dde3e8"
MODEL, RATER = "#0b5c8a", "#b4530a"
SUBSET_COLOURS = {"train": "#2c4a66", "valid": "#8db3d3", "test": "#dd8a33"}
DPI = 160

_RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures look the same everywhere
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

Drawing = ParamSpec("Drawing")


def styled(draw: Callable[Drawing, None]) -> Callable[Drawing, None]:
    """Run a drawing function in the project's style, whatever the user's matplotlib settings."""

    def inner(*args: Drawing.args, **kwargs: Drawing.kwargs) -> None:
        with matplotlib.style.context(["default", _RC]):
            draw(*args, **kwargs)

    inner.__doc__, inner.__name__ = draw.__doc__, draw.__name__
    return inner


def sheet(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, drawn by Agg, without pyplot's global state."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG without date and version, completely or not at all."""
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})


def dice_axis(axes: Axes, axis: str = "x", label: str = "Dice") -> None:
    """Scale an axis for Dice: always the whole range 0 to 1."""
    getattr(axes, f"set_{axis}lim")(-0.02, 1.02)
    getattr(axes, f"set_{axis}ticks")(np.linspace(0, 1, 6))
    getattr(axes, f"set_{axis}label")(label)
    axes.grid(axis="x" if axis == "x" else "y")


def spread(n: int, half_width: float) -> NDArray[np.float64]:
    """Offsets within +-half_width that keep n points of a strip apart; not random.

    They follow the golden ratio, so that points next to each other in order are far apart.
    """
    fractions = (np.arange(n, dtype=np.float64) * 0.6180339887498949 + 0.5) % 1.0
    return half_width * (2.0 * fractions - 1.0)


def as_float(rgb: RGB) -> tuple[float, float, float]:
    """A colour as matplotlib wants it, 0 to 1."""
    return rgb[0] / 255, rgb[1] / 255, rgb[2] / 255


def class_handles() -> list[Patch]:
    """Legend entries of the colour code of masks."""
    return [
        Patch(facecolor=as_float(c.rgb), edgecolor=MUTED, linewidth=0.6, label=f"{c.key} {c.name}")
        for c in FOREGROUND
    ]


def colour_legend(figure: Figure) -> None:
    """Put the colour code of masks below a figure."""
    figure.legend(
        handles=class_handles(), loc="outside lower center", ncols=3, fontsize=8, handlelength=1.2
    )


def show(axes: Axes, image: NDArray[np.uint8], **options: Any) -> None:
    """Show a grey or RGB image, 0 black and 255 white, without ticks."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased", **options)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def note(axes: Axes, text: str) -> None:
    """Write in the middle of an axis why it is empty."""
    axes.text(
        0.5,
        0.5,
        text,
        ha="center",
        va="center",
        fontsize=8,
        color=INK,
        transform=axes.transAxes,
        bbox={"facecolor": "white", "edgecolor": "none"},
    )
