"""Going on exactly where a training stopped: what is saved, when, and how it is put back."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np

from mbhseg.nn.checkpoint.interrupt import Interrupt
from mbhseg.nn.checkpoint.state import StateFolder, Tree
from mbhseg.nn.training.callbacks import EpochTimes, Logs

_SHARE = 0.05  # of the time, at most, goes into saves at the ends of epochs
_COUNTERS = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}


@runtime_checkable
class Part(Protocol):
    """Something with a state of its own: numbers, words, lists, dicts and arrays."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Be as the part was whose state this is."""


class Attributes:
    """Attributes of an object as a part, such as the counters of Keras' own callbacks."""

    def __init__(self, owner: Any, names: Sequence[str]) -> None:
        self._owner, self._names = owner, names

    def state(self) -> dict[str, Any]:
        """The attributes by name."""
        return {name: getattr(self._owner, name) for name in self._names}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the attributes."""
        for name in self._names:
            setattr(self._owner, name, state[name])


def parts_of(callbacks: Iterable[keras.callbacks.Callback]) -> dict[str, Part]:
    """The callbacks that have a state, by the name of their class."""
    parts: dict[str, Part] = {}
    for callback in callbacks:
        if isinstance(callback, Part):
            parts[type(callback).__name__] = callback
        elif type(callback) in _COUNTERS:
            parts[type(callback).__name__] = Attributes(callback, _COUNTERS[type(callback)])
    return parts


class Ledger:
    """Where a training's state is kept, and what an earlier process has left there.

    Without a folder nothing is kept. `minutes` is how often to save within an epoch, `saved` what
    was left, until `forget`; `costs` says what the saves of this process took.
    """

    def __init__(
        self, folder: StateFolder | None, fingerprint: Mapping[str, str], minutes: float
    ) -> None:
        self._folder, self._fingerprint, self.minutes = folder, fingerprint, minutes
        self.saved = None if folder is None else folder.load(fingerprint)
        self._settled: Tree = {}
        self._earlier = 0.0 if self.saved is None else float(self.saved["seconds"])
        self._began = time.monotonic()
        self.costs = {"saves": 0, "seconds": 0.0, "bytes": 0}

    @property
    def position(self) -> tuple[int, int]:
        """Epoch, from 0, and step in it that come next."""
        return (self.saved["epoch"], self.saved["step"]) if self.saved else (0, 0)

    @property
    def keeps(self) -> bool:
        """Whether there is a folder to keep a state in."""
        return self._folder is not None

    @property
    def stop_asked(self) -> bool:
        """Whether the user has put a stop file into the folder."""
        return self._folder is not None and self._folder.stop_file.exists()

    def settle(self, choose: Callable[[], Tree]) -> Tree:
        """What `choose` gives at the first start, whatever it would give when resumed."""
        self._settled = self.saved["settled"] if self.saved else choose()
        return self._settled

    def seconds(self) -> float:
        """Seconds of the training so far, over all processes that worked on it."""
        return self._earlier + time.monotonic() - self._began

    def write(self, tree: Tree) -> float:
        """Keep the state; seconds that it took."""
        if self._folder is None:
            return 0.0
        began = time.monotonic()
        common = {"settled": self._settled, "seconds": self.seconds()}
        self.costs["bytes"] = self._folder.save(self._fingerprint, {**common, **tree})
        seconds = time.monotonic() - began
        self.costs["saves"] += 1
        self.costs["seconds"] += seconds
        return seconds

    def forget(self) -> None:
        """Let go of what was left: its arrays are large."""
        self.saved = None


class Checkpoint(keras.callbacks.Callback):
    """Saves the training after every so many minutes and when an epoch begins; puts it back.

    It must come after the callbacks that change weights when an epoch begins. A save at an
    epoch's begin is left out if saves would take more than a twentieth of the time; the interval
    holds all the same.
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
        if (self.epoch, batch) < self._first:  # passed over
            return
        self.step = batch + 1
        self._interrupt.check()
        if self._since() > self._interval:
            self.save()

    def save(self) -> None:
        """Save the training as it stands between two steps."""
        variables = {name: list(group) for name, group in self._variables().items()}
        self._write({"variables": variables})

    def finish(self, ended_by: str) -> None:
        """Save that no epoch is left, so that only the outputs have to be made."""
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
            "metrics": self.model.metrics_variables,  # so that an epoch's mean loss goes on
        }

    def _restore(self, saved: Tree) -> None:
        for name, group in self._variables().items():
            for variable, value in zip(group, saved["variables"][name], strict=True):
                variable.assign(np.asarray(value))
        restore_parts(self._parts, saved)


def restore_parts(parts: Mapping[str, Part], saved: Tree) -> None:
    """Give each part the state that was saved of it."""
    for name, part in parts.items():
        part.restore(saved["parts"][name])
