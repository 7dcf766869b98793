"""Resuming a training exactly where it stopped: what is saved, when, and how it is restored."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import keras

from mbhseg.nn.checkpoint.state import StateFolder, Tree

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
        """Become as the part was when its state was taken."""


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
    """Where a training's state is kept, and what an earlier process left there.

    Without a folder nothing is kept. `minutes` is how often to save within an epoch, `saved` what
    was left, until `forget`; `costs` is what the saves of this process took.
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
        """The next epoch, from 0, and the next step in it."""
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
        """What `choose` gave at the first start, also after a resume."""
        self._settled = self.saved["settled"] if self.saved else choose()
        return self._settled

    def seconds(self) -> float:
        """Seconds of the training so far, over all processes that worked on it."""
        return self._earlier + time.monotonic() - self._began

    def write(self, tree: Tree) -> float:
        """Keep the state; returns the seconds that it took."""
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
        """Drop what was left: its arrays are large."""
        self.saved = None
