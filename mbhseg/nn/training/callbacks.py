"""What happens after an epoch, in the order in which `fit.Fit` lists it."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.files import write_table
from mbhseg.nn.feed.store import SliceStore
from mbhseg.nn.patches import Patch
from mbhseg.nn.training.pictures import PreviewFolder, draw_curves
from mbhseg.nn.training.validation import validate

log = logging.getLogger(__name__)
Logs = dict[str, float] | None


def direction(monitor: str) -> str:
    """ "min" for losses, "max" for every other score."""
    return "min" if monitor.endswith("loss") else "max"


def _number(value: Any) -> float:
    """The value of a scalar variable, which may lie on several devices."""
    return float(keras.ops.convert_to_numpy(value))


class AverageWeights(keras.callbacks.Callback):
    """Between epochs, the model holds the moving average of its weights.

    Keras' SwapEMAWeights swaps by adding and subtracting, which leaves a rounding error in the
    weights: a resumed training would differ by it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._raw: list[NDArray[Any]] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        weights = self.model.trainable_variables
        self._raw = [np.array(weight.numpy()) for weight in weights]
        self.model.optimizer.finalize_variable_values(weights)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.put_back()

    def put_back(self) -> None:
        """Give the model the optimizer's weights again, if it holds the average."""
        if self._raw is not None:
            for weight, value in zip(self.model.trainable_variables, self._raw, strict=True):
                weight.assign(value)
            self._raw = None


class Validate(keras.callbacks.Callback):
    """Put validation scores and the learning rate into the logs, for all callbacks after it.

    `each` is called before every batch and may stop the validation by raising.
    """

    def __init__(
        self,
        loss: Callable[[Any, Any], Any],
        store: SliceStore,
        indices: NDArray[np.int64],
        batch: int,
        previews: PreviewFolder,
        preview_every: int,
        patch: Patch | None,
        each: Callable[[], None],
    ) -> None:
        super().__init__()
        self._loss, self._store, self._indices, self._batch = loss, store, indices, batch
        self._previews, self._every = previews, preview_every
        self._patch, self._each = patch, each

    def state(self) -> dict[str, Any]:
        """The previews so far."""
        return self._previews.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state and write its previews."""
        self._previews.restore(state)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        last = epoch + 1 == self.params["epochs"]
        draw = last or epoch % self._every == 0
        keep = self._previews.chosen if draw else []
        found = validate(
            self.model,
            self._loss,
            self._store,
            self._indices,
            self._batch,
            self._patch,
            keep,
            self._each,
        )
        assert logs is not None  # Keras passes the epoch's logs
        logs |= found.scores
        logs["learning_rate"] = _number(self.model.optimizer.learning_rate)
        if draw:
            self._previews.add(epoch + 1, found.kept)


class KeepBest(keras.callbacks.Callback):
    """Remember the weights of the epoch with the best monitor; `put_back` gives them back.

    A NaN is never better. If the monitor of every epoch is NaN, the last weights stay.
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

    def state(self) -> dict[str, Any]:
        """The best epoch so far, its monitor and its weights."""
        return {"best": self.best, "value": self._value, "weights": self._weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state."""
        self.best, self._value = state["best"], state["value"]
        self._weights = state["weights"]

    def put_back(self, model: keras.Model) -> None:
        """Give the model the best weights."""
        if self._weights is None:
            log.warning(
                "%s was NaN after every epoch: the last epoch's weights are kept", self._monitor
            )
        else:
            model.set_weights(self._weights)


class WriteHistory(keras.callbacks.Callback):
    """Write history.csv and curves.png again: one row per epoch, epochs counted from 1.

    They hold no times, so that equal trainings write equal files. The curves take a second to
    draw, so they are drawn when the last ones are `seconds` old, and at the end.
    """

    def __init__(self, table: Path, curves: Path, title: str, seconds: float = 60.0) -> None:
        super().__init__()
        self._table, self._curves, self._title = table, curves, title
        self._seconds, self._drawn = seconds, -math.inf
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        scores = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, **scores})
        self._write()

    def on_train_end(self, logs: Logs = None) -> None:
        self._draw()

    def state(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state and write its files."""
        self.rows = list(state["rows"])
        self._write()

    def _write(self) -> None:
        if self.rows:
            write_table(self._table, pd.DataFrame(self.rows))
            if time.monotonic() - self._drawn >= self._seconds:
                self._draw()

    def _draw(self) -> None:
        if self.rows:
            draw_curves(pd.DataFrame(self.rows), self._curves, self._title)
            self._drawn = time.monotonic()


class StopWhen(keras.callbacks.Callback):
    """Stop after the epoch at whose end the condition holds."""

    def __init__(self, condition: Callable[[], bool], reason: str) -> None:
        super().__init__()
        self._condition, self._reason, self.held = condition, reason, False

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self._condition():
            log.info("the training ends after epoch %d: %s", epoch + 1, self._reason)
            self.model.stop_training = self.held = True


class EpochTimes(keras.callbacks.Callback):
    """Seconds of each epoch, split into training and everything after it.

    Neither includes the time passed to `leave_out`; an interrupted epoch is the sum of its parts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.training: list[float] = []
        self.after: list[float] = []
        self._began = self._trained = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        now = time.perf_counter()
        if self._trained:
            self.after.append(now - self._trained)
        self._began, self._trained = now, 0.0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._trained = time.perf_counter()
        self.training.append(self._trained - self._began)

    def on_train_end(self, logs: Logs = None) -> None:
        if self._trained:
            self.after.append(time.perf_counter() - self._trained)
            self._trained = 0.0

    def leave_out(self, seconds: float) -> None:
        """Do not count the last `seconds`."""
        self._began += seconds

    def state(self) -> dict[str, Any]:
        """The epochs so far; for an unfinished one, the seconds of its training."""
        if self._trained:  # the validation is not over, and a resumed training repeats it
            *training, begun = self.training
        else:
            training, begun = self.training, time.perf_counter() - self._began
        return {"training": list(training), "after": list(self.after), "begun": begun}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state, at the start of its epoch."""
        self.training, self.after = list(state["training"]), list(state["after"])
        self._began = time.perf_counter() - state["begun"]
