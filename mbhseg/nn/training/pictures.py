"""Pictures of a training: curves, and previews of chosen slices after an epoch."""

import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mbhseg.classes import FOREGROUND, KEYS
from mbhseg.files import atomic_file
from mbhseg.imaging.masks import encode_rgb
from mbhseg.imaging.png import write_png
from mbhseg.nn.feed.store import SliceStore

Pixels = NDArray[np.uint8]
_GAP = 4  # pixels between panels
_FILMSTRIP_EPOCHS = 8


def draw_curves(history: pd.DataFrame, path: str | Path, title: str) -> None:
    """Draw loss, validation Dice and learning rate against the epoch; `history` as written."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, dice, rate = figure.subplots(1, 3)
    epoch = history["epoch"]
    marker = "o" if len(history) < 3 else None
    for column, label in (("loss", "training"), ("val_loss", "validation")):
        loss.plot(epoch, history[column], label=label, marker=marker)
    loss.set(title="Loss", ylabel="loss", yscale="log" if history["loss"].gt(0).all() else "linear")
    for c in FOREGROUND:
        colour = [value / 255 for value in c.safe_rgb]
        column = f"val_dice_{c.key}"
        dice.plot(epoch, history[column], color=colour, label=c.key, lw=1, marker=marker)
    dice.plot(epoch, history["val_dice"], color="black", label="mean", lw=2, marker=marker)
    dice.set(title="Validation Dice per case, class present", ylabel="Dice", ylim=(0, 1))
    rate.plot(epoch, history["learning_rate"], color="black", marker=marker)
    rate.set(title="Learning rate", ylabel="learning rate", yscale="log")
    for axes in (loss, dice, rate):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    loss.legend()
    dice.legend(ncols=2, fontsize="small")
    figure.suptitle(title)
    with atomic_file(path) as partial:
        figure.savefig(partial, dpi=80, metadata={"Software": None})


def choose_previews(store: SliceStore, indices: NDArray[np.int64], count: int) -> list[int]:
    """Up to `count` slices to preview: each class in turn, the slices with most classes first.

    A case is used twice only when there is no other; slices without a bleed are not chosen.
    """
    table = store.table.iloc[indices].assign(index=indices)
    table = table[table["classes"] != ""]
    table = table.assign(many=-table["classes"].str.count(","))
    table = table.sort_values(["many", "case", "slice"], kind="stable")
    chosen: list[int] = []
    cases: set[str] = set()
    for turn in range(count):
        left = table[~table["index"].isin(chosen)]
        key = KEYS[turn % len(KEYS)]
        holding = left[left["classes"].str.split(",").map(lambda keys, key=key: key in keys)]
        holding = left if holding.empty else holding
        if holding.empty:
            break
        fresh = holding[~holding["case"].isin(cases)]
        row = (holding if fresh.empty else fresh).iloc[0]
        chosen.append(int(row["index"]))
        cases.add(row["case"])
    return chosen


def preview(image: Pixels, reference: Pixels, predicted: Pixels) -> Pixels:
    """Image, reference and prediction side by side: [H, 3 W + gaps, 3] uint8."""
    return _beside([image, encode_rgb(reference), encode_rgb(predicted)])


class PreviewFolder:
    """Previews of chosen slices, one PNG per slice and epoch, and a filmstrip of them all.

    The filmstrip has one row per slice: image, reference, then predictions of some epochs. It is
    written again after every epoch. `state` holds all that is needed to write the folder again.
    """

    def __init__(self, folder: str | Path, store: SliceStore, chosen: Sequence[int]) -> None:
        self._folder, self._store = Path(folder), store
        self.chosen = list(chosen)
        self._predicted: dict[int, list[NDArray[np.uint8]]] = {}  # by epoch, packed
        self._folder.mkdir(parents=True, exist_ok=True)

    def state(self) -> dict[str, Any]:
        """The chosen slices and what was predicted for them, by epoch."""
        epochs = {str(epoch): packed for epoch, packed in self._predicted.items()}
        return {"chosen": self.chosen, "epochs": epochs}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state and write its pictures."""
        self.chosen = list(state["chosen"])
        self._predicted = {int(epoch): packed for epoch, packed in state["epochs"].items()}
        for epoch in self._predicted:
            for row in range(len(self.chosen)):
                self._write(epoch, row)
        self._write_filmstrip()

    def add(self, epoch: int, predicted: Mapping[int, Pixels]) -> None:
        """Write the previews of `epoch` (from 1); `predicted` holds labels by slice index."""
        self._predicted[epoch] = [_pack(predicted[index]) for index in self.chosen]
        for row in range(len(self.chosen)):
            self._write(epoch, row)
        self._write_filmstrip()

    def _labels(self, epoch: int, row: int) -> Pixels:
        data = zlib.decompress(self._predicted[epoch][row].tobytes())
        return np.frombuffer(data, np.uint8).reshape(self._store.labels.shape[1:])

    def _write(self, epoch: int, row: int) -> None:
        index = self.chosen[row]
        slice_ = self._store.table.iloc[index]
        name = f"{slice_['case']}_{int(slice_['slice']):03d}_epoch{epoch:03d}.png"
        image, labels = self._store.images[index], self._store.labels[index]
        write_png(self._folder / name, preview(image, labels, self._labels(epoch, row)))

    def _write_filmstrip(self) -> None:
        if not self.chosen or not self._predicted:
            return
        epochs = _spread(list(self._predicted), _FILMSTRIP_EPOCHS)
        rows = []
        for row, index in enumerate(self.chosen):
            image, labels = self._store.images[index], self._store.labels[index]
            masks = [labels, *(self._labels(epoch, row) for epoch in epochs)]
            rows.append(_beside([image, *(encode_rgb(mask) for mask in masks)]))
        strip = np.concatenate([row for r in rows for row in (r, _gap(_GAP, r.shape[1]))][:-1])
        names = ["image", "reference", *(f"epoch {epoch}" for epoch in epochs)]
        heading = _heading(names, self._store.images.shape[2] + _GAP, strip.shape[1])
        write_png(self._folder / "filmstrip.png", np.concatenate([heading, strip]))


def _pack(labels: Pixels) -> NDArray[np.uint8]:
    return np.frombuffer(zlib.compress(np.ascontiguousarray(labels).tobytes()), np.uint8)


def _beside(panels: Sequence[Pixels]) -> Pixels:
    gap = _gap(panels[0].shape[0], _GAP)
    parts = [part for panel in panels for part in (panel, gap)][:-1]
    return np.concatenate(parts, axis=1)


def _gap(rows: int, columns: int) -> Pixels:
    return np.full((rows, columns, 3), 255, np.uint8)


def _heading(names: Sequence[str], step: int, width: int) -> Pixels:
    band = _gap(18, width)
    for i, name in enumerate(names):
        place = (i * step + 2, 13)
        cv2.putText(band, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return band


def _spread(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of `values`, evenly spread, with the first and the last."""
    if len(values) <= count:
        return list(values)
    step = (len(values) - 1) / (count - 1)
    return [values[math.floor(i * step + 0.5)] for i in range(count)]
