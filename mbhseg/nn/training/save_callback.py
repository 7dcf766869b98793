"""The callback that saves a training's state, and restores it."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mbhseg.nn.checkpoint.interrupt import Interrupt
from mbhseg.nn.checkpoint.resume import Ledger, Part
from mbhseg.nn.checkpoint.state import Tree
from mbhseg.nn.training.callbacks import EpochTimes, Logs

_SHARE = 0.05  # most of the time that saves between epochs may take


class Checkpoint(keras.callbacks.Callback):
    """Saves the training every few minutes and when an epoch begins; restores it at the start.

    Must come after the callbacks that change weights when an epoch begins. The save at the start
    of an epoch is skipped if saves would take more than a twentieth of the time; those of the
    interval are not.
    """

    def __init__(
        self,
        ledger: Ledger,
        parts: Mapping[str, Part],
        times: EpochTimes,
        interrupt: Interrupt,
    ) -> None:
        super().__init__()
        self._ledger, self._parts, self._interval = ledger, parts, ledger.minutes * 60
        self._times, self._interrupt = times, interrupt
        self.epoch, self.step = self._first = ledger.position
        self._saved_at, self._cost = time.monotonic(), 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch
        if epoch == self._first[0]:
            if self._ledger.saved is not None:
                self._restore(self._ledger.saved)
                self._ledger.forget()
            return
        self.step = 0
        if self._since() > min(self._interval, self._cost / _SHARE):
            self.save()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if (self.epoch, batch) < self._first:  # skipped
            return
        self.step = batch + 1
        self._interrupt.check()
        if self._since() > self._interval:
            self.save()

    def save(self) -> None:
        """Save the training between two steps."""
        variables = {name: list(group) for name, group in self._variables().items()}
        self._write({"variables": variables})

    def finish(self, ended_by: str) -> None:
        """Save that no epoch is left and only the outputs have to be written."""
        self._write({"ended_by": ended_by})

    def _since(self) -> float:
        return time.monotonic() - self._saved_at

    def _write(self, tree: Tree) -> None:
        parts = {name: part.state() for name, part in self._parts.items()}
        self._cost = self._ledger.write(
            {"epoch": self.epoch, "step": self.step, "parts": parts, **tree}
        )
        self._saved_at = time.monotonic()
        self._times.leave_out(self._cost)

    def _variables(self) -> dict[str, Sequence[Any]]:
        return {
            "model": self.model.variables,  # the states of seed generators among them
            "optimizer": self.model.optimizer.variables,
            "metrics": self.model.metrics_variables,  # so that an epoch's mean loss continues
        }

    def _restore(self, saved: Tree) -> None:
        for name, group in self._variables().items():
            for variable, value in zip(group, saved["variables"][name], strict=True):
                variable.assign(np.asarray(value))
        restore_parts(self._parts, saved)


def restore_parts(parts: Mapping[str, Part], saved: Tree) -> None:
    """Give each part its saved state."""
    for name, part in parts.items():
        part.restore(saved["parts"][name])
