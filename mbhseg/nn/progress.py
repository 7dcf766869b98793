"""What a person sees of a training: a bar on a terminal, a line an epoch elsewhere."""

import sys
import time
from typing import Any

import keras
from tqdm import tqdm


class Progress(keras.callbacks.Callback):
    """Loss, validation scores, images a second and the time left, on standard error.

    Must come after the callbacks that put validation scores into the logs.
    """

    def __init__(self, epochs: int, steps: int, slices_per_epoch: int) -> None:
        super().__init__()
        self._epochs, self._steps, self._slices = epochs, steps, slices_per_epoch
        self._bar: tqdm[Any] | None = None
        self._began = self._epoch_began = 0.0
        self._done = 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._began = time.perf_counter()
        if sys.stderr.isatty():
            self._bar = tqdm(total=self._epochs * self._steps, unit="step", dynamic_ncols=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch_began = time.perf_counter()
        if self._bar is not None:
            self._bar.update(epoch * self._steps - self._bar.n)
            self._bar.set_description(f"epoch {epoch + 1}/{self._epochs}")

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if self._bar is not None:
            self._bar.update()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        self._done += 1
        now = time.perf_counter()
        speed = self._slices / (now - self._epoch_began)
        left = (now - self._began) / self._done * (self._epochs - epoch - 1)
        scores = {
            name: f"{logs[name]:.4g}"
            for name in ("loss", "val_loss", "val_dice", "learning_rate")
            if name in logs
        }
        if self._bar is not None:
            self._bar.set_postfix(scores | {"images/s": f"{speed:.1f}"})
            return
        text = "  ".join(f"{name} {value}" for name, value in scores.items())
        line = f"epoch {epoch + 1}/{self._epochs}  {text}  {speed:.1f} images/s  ETA {clock(left)}"
        print(line, file=sys.stderr, flush=True)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self._bar is not None:
            self._bar.close()


def clock(seconds: float) -> str:
    """A duration as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
