"""What happens after an epoch, in the order in which `training.train` lists it."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.files import write_table
from mbhseg.nn.pictures import PreviewFolder, draw_curves
from mbhseg.nn.store import SliceStore
from mbhseg.nn.validation import validate

log = logging.getLogger(__name__)
Logs = dict[str, float] | None


def direction(monitor: str) -> str:
    """ "min" for losses, "max" for every other score."""
    return "min" if monitor.endswith("loss") else "max"


class Validate(keras.callbacks.Callback):
    """Put validation scores and the learning rate into the logs, for all callbacks after it."""

    def __init__(
        self,
        loss: Callable[[Any, Any], Any],
        store: SliceStore,
        indices: NDArray[np.int64],
        batch: int,
        previews: PreviewFolder,
        preview_every: int,
    ) -> None:
        super().__init__()
        self._loss, self._store, self._indices, self._batch = loss, store, indices, batch
        self._previews, self._every = previews, preview_every

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        last = epoch + 1 == self.params["epochs"]
        draw = last or epoch % self._every == 0
        keep = self._previews.chosen if draw else []
        found = validate(self.model, self._loss, self._store, self._indices, self._batch, keep)
        assert logs is not None  # Keras passes the epoch's logs
        logs |= found.scores
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        if draw:
            self._previews.add(epoch + 1, found.kept)


class KeepBest(keras.callbacks.Callback):
    """Remember the weights of the epoch with the best monitor; `restore` puts them back.

    A NaN is never better. If every epoch's is NaN, the last weights stay.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self._monitor, self._sign = monitor, -1.0 if direction(monitor) == "min" else 1.0
        self._value = -math.inf
        self._weights: list[NDArray[Any]] | None = None
        self.best: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        value = self._sign * logs[self._monitor]
        if value > self._value:
            self._value, self._weights = value, self.model.get_weights()
            self.best = {"epoch": epoch + 1, **logs}
        elif self._weights is None:
            self.best = {"epoch": epoch + 1, **logs}

    def restore(self) -> None:
        """Put the best weights back into the model."""
        if self._weights is None:
            log.warning("%s was never a number: the last epoch's weights are kept", self._monitor)
        else:
            self.model.set_weights(self._weights)


class WriteHistory(keras.callbacks.Callback):
    """Renew history.csv and curves.png: one row an epoch, epoch counted from 1.

    No times in it, so that equal trainings write equal files.
    """

    def __init__(self, table: Path, curves: Path, title: str) -> None:
        super().__init__()
        self._table, self._curves, self._title = table, curves, title
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.rows.append({"epoch": epoch + 1, **(logs or {})})
        history = pd.DataFrame(self.rows)
        write_table(self._table, history)
        draw_curves(history, self._curves, self._title)


class TimeBudget(keras.callbacks.Callback):
    """Stop after the epoch in which the training's wall-clock passes `minutes`."""

    def __init__(self, minutes: float) -> None:
        super().__init__()
        self._seconds = minutes * 60
        self._began = 0.0

    def on_train_begin(self, logs: Logs = None) -> None:
        self._began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if time.monotonic() - self._began > self._seconds:
            log.info("the time budget is spent after epoch %d", epoch + 1)
            self.model.stop_training = True


class EpochTimes(keras.callbacks.Callback):
    """Seconds of each epoch, split into training and everything after it."""

    def __init__(self) -> None:
        super().__init__()
        self.training: list[float] = []
        self.after: list[float] = []
        self._began = self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        now = time.perf_counter()
        if self._trained:
            self.after.append(now - self._trained)
        self._began = now

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._trained = time.perf_counter()
        self.training.append(self._trained - self._began)

    def on_train_end(self, logs: Logs = None) -> None:
        self.after.append(time.perf_counter() - self._trained)
