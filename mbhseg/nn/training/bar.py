"""The progress of a training: a bar on a terminal, a line now and then in a log."""

import sys
import time
from typing import Any

import keras
from tqdm import tqdm

from mbhseg.runtime.durations import duration

_SCORES = ("loss", "val_loss", "val_dice", "learning_rate")
_BLINK_S = 0.5  # least time between updates of the loss, as reading it waits for the device
_STEP = 0.1  # within an epoch, a log gets a line per tenth of it,
_PAUSE_S = 60.0  # and at most one in this time

Logs = dict[str, Any] | None


class Progress(keras.callbacks.Callback):
    """Loss, validation scores, images per second and the time left, on standard error.

    Must come after the callbacks that put validation scores into the logs. Speed and time left
    are of the steps that this process does, from `first` (epoch, step) on; the time left includes
    everything else that an epoch does.
    """

    def __init__(
        self, epochs: int, steps: int, slices_per_epoch: int, first: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        self._epochs, self._steps, self._slices = epochs, steps, slices_per_epoch
        self._first = first
        self._bar: tqdm[Any] | None = None
        self._scores: dict[str, str] = {}
        self._epoch = self._done = self._done_in_epoch = 0
        self._began = self._epoch_began = self._shown = 0.0
        self._shown_step = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        self._began = self._shown = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch, self._done_in_epoch, self._shown_step = epoch, 0, 0
        self._epoch_began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if (self._epoch, batch) < self._first:
            return
        logs = logs or {}
        self._done += 1
        self._done_in_epoch += 1
        at = self._epoch * self._steps + batch + 1
        if sys.stderr.isatty():
            self._move_bar(at, logs)
        elif batch + 1 < self._steps:
            step = batch + 1 - self._shown_step >= _STEP * self._steps
            if step and time.monotonic() - self._shown >= _PAUSE_S:
                self._shown_step = batch + 1
                self._print(at, f"step {batch + 1}/{self._steps}  loss {float(logs['loss']):.4g}")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        self._scores = {name: f"{logs[name]:.4g}" for name in _SCORES if name in logs}
        if self._bar is not None:
            self._bar.set_postfix(self._scores | {"images/s": f"{self._speed():.1f}"})
            return
        text = "  ".join(f"{name} {value}" for name, value in self._scores.items())
        self._print((epoch + 1) * self._steps, text)

    def close(self) -> None:
        """End the bar and leave it on the terminal."""
        if self._bar is not None:
            self._bar.close()

    def _speed(self) -> float:
        """Images per second in this epoch."""
        images = self._slices / self._steps * self._done_in_epoch
        return images / (time.monotonic() - self._epoch_began)

    def _move_bar(self, at: int, logs: dict[str, Any]) -> None:
        if self._bar is None:
            total = self._epochs * self._steps
            # no smoothing: the average includes the validation at the end of each epoch
            self._bar = tqdm(
                total=total, initial=at - 1, unit="step", dynamic_ncols=True, smoothing=0
            )
        self._bar.set_description(f"epoch {self._epoch + 1}/{self._epochs}", refresh=False)
        self._bar.update(at - self._bar.n)
        if time.monotonic() - self._shown >= _BLINK_S:
            self._shown = time.monotonic()
            now = {"loss": f"{float(logs['loss']):.4g}", "images/s": f"{self._speed():.1f}"}
            self._bar.set_postfix(self._scores | now)

    def _print(self, at: int, text: str) -> None:
        self._shown = time.monotonic()
        left = (self._shown - self._began) / max(1, self._done) * (self._epochs * self._steps - at)
        line = f"epoch {self._epoch + 1}/{self._epochs}  {text}  {self._speed():.1f} images/s"
        print(f"{line}  ETA {duration(left)}", file=sys.stderr, flush=True)
