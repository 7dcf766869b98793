"""Progress with rate and remaining time: a bar on a terminal, a few lines in a log."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_STEP = 0.1  # a log gets a line when another tenth is done,
_PATIENCE_S = 30.0  # or after this long without one,
_PAUSE_S = 2.0  # but never sooner than this after the last
_LINE = "{desc}: {percentage:3.0f} %, {n_fmt} of {total_fmt} {unit}, {rate_fmt}, {remaining} left"
_LINE_OPEN = "{desc}: {n_fmt} {unit}, {rate_fmt}, {elapsed}"  # where the total is unknown


def progress(
    iterable: Iterable[Item], total: int | None = None, label: str = "", unit: str = "items"
) -> Iterator[Item]:
    """Yield the items and report progress.

    `total` defaults to `len(iterable)` where it has one; `unit` is a plural such as "cases".
    Reports go to stderr: a bar on a terminal, else a line now and then and one at the end.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with _meter(total, label, unit) as meter:
        for item in iterable:
            yield item
            meter.update()


def byte_progress(total: int, label: str = "", done: int = 0) -> "tqdm[Any]":
    """A meter of `total` bytes, `done` of them from an earlier attempt; call `update(n)` for more.

    Use it in a `with` statement. The rate counts this attempt's bytes only.
    """
    return _meter(total, label, "B", initial=done, unit_scale=True, unit_divisor=1000)


def _meter(total: int | None, label: str, unit: str, **options: Any) -> "tqdm[Any]":
    options |= {"total": total, "desc": label, "file": sys.stderr}
    if sys.stderr.isatty():
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        options |= {"dynamic_ncols": True} if columns else {"ncols": 80, "nrows": 24}  # unknown: 0
        return tqdm(unit=unit if unit == "B" else f" {unit}", **options)
    return _LogMeter(unit=unit, **options)


class _LogMeter(tqdm):
    """tqdm's bookkeeping, printed as lines of their own instead of a bar redrawn in place."""

    def __init__(self, **options: Any) -> None:
        self._printed_at, self._printed_n = time.monotonic(), options.get("initial", 0)
        form = _LINE_OPEN if options["total"] is None else _LINE
        options |= {"bar_format": form, "mininterval": 0.5, "maxinterval": 0.5, "leave": False}
        super().__init__(**options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print a line if it is time for one; tqdm calls this at every refresh."""
        if msg is not None:  # tqdm wants to clear its bar; a log has none
            return
        waited = time.monotonic() - self._printed_at
        step = self.n - self._printed_n >= _STEP * self.total if self.total else False
        if waited >= _PATIENCE_S or (step and waited >= _PAUSE_S):
            self._print()

    def close(self) -> None:
        """Print the last line, with the total."""
        if not self.disable and self.n > self._printed_n:
            self._print()
        super().close()

    def _print(self) -> None:
        self._printed_at, self._printed_n = time.monotonic(), self.n
        print(str(self).strip(), file=self.fp, flush=True)
