"""The state of a training: one file outside the outputs, atomic, checked, of this training only.

The file is a zip: `tree.json` holds numbers, words and the structure, and each array is a `.npy`
beside it. Every member has a checksum and nothing in it is code. It is written under another name,
flushed to the disk and renamed, so that a kill or a power cut leaves the previous one.
"""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mbhseg.errors import InputError, disk_errors, reason
from mbhseg.files import atomic_file

log = logging.getLogger(__name__)

Tree = dict[str, Any]
_ARRAY = "__array__"  # what stands in tree.json for an array: its number
_BROKEN = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, struct.error)
_PATIENCE_S = 300.0  # how long to wait for another process that trains the same run to end


class StateError(Exception):
    """A state file that cannot be used; the text says why."""


def write_state(path: str | Path, tree: Tree) -> None:
    """Write a tree of dicts (str keys), lists, numbers, booleans, None, str and arrays.

    An array is anything with a shape that NumPy can convert, such as a Keras variable; one is
    converted at a time, so that the whole need not fit in memory twice.
    """
    arrays: list[Any] = []
    text = json.dumps(_without_arrays(tree, arrays))
    with atomic_file(path) as partial, open(partial, "wb") as stream:
        with zipfile.ZipFile(stream, "w") as target:
            target.writestr("tree.json", text)
            for number, array in enumerate(arrays):
                with target.open(f"{number}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())


def read_state(path: str | Path) -> Tree:
    """Read what `write_state` wrote; StateError if it is not that, to the last bit."""
    try:
        with zipfile.ZipFile(path) as source:
            damaged = source.testzip()  # all checksums before anything is believed
            if damaged is not None:
                raise StateError(f"{damaged} in it is damaged")
            tree = json.loads(source.read("tree.json"))
            found = _with_arrays(tree, source)
    except (zipfile.BadZipFile, zlib.error, *_BROKEN) as error:
        raise StateError(f"it is damaged ({reason(error)})") from error
    if not isinstance(found, dict):
        raise StateError("it holds no training")
    return found


def _without_arrays(tree: Any, arrays: list[Any]) -> Any:
    if isinstance(tree, Mapping):
        return {str(key): _without_arrays(value, arrays) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_arrays(value, arrays) for value in tree]
    if isinstance(tree, np.generic):
        return tree.item()
    if hasattr(tree, "shape"):
        arrays.append(tree)
        return {_ARRAY: len(arrays) - 1}
    return tree


def _with_arrays(tree: Any, source: zipfile.ZipFile) -> Any:
    if isinstance(tree, dict):
        if set(tree) == {_ARRAY}:
            with source.open(f"{tree[_ARRAY]}.npy") as member:
                return np.lib.format.read_array(member, allow_pickle=False)
        return {key: _with_arrays(value, source) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_with_arrays(value, source) for value in tree]
    return tree


class StateFolder:
    """The folder of one run's state: the state itself, a lock, and the user's stop file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def file(self) -> Path:
        return self.path / "state.zip"

    @property
    def stop_file(self) -> Path:
        """Where a user puts an empty file to end the training after the current epoch."""
        return self.path / "STOP"

    def load(self, fingerprint: Mapping[str, str]) -> Tree | None:
        """The state that a training of this fingerprint left here; None to start from scratch.

        A state that is damaged or of another training is removed, with a line in the log.
        """
        if not self.file.exists():
            return None
        try:
            tree = read_state(self.file)
            _compare(tree.get("fingerprint"), fingerprint)
        except StateError as error:
            log.warning("%s is not used: %s. The training starts from scratch", self.file, error)
            self.file.unlink()
            return None
        return tree

    def save(self, fingerprint: Mapping[str, str], tree: Tree) -> int:
        """Replace the state by this one; returns its size in bytes."""
        with disk_errors(self.path):
            write_state(self.file, {"fingerprint": dict(fingerprint), **tree})
        return self.file.stat().st_size

    def clear(self) -> None:
        """Remove the folder; call it when the outputs of the training are complete."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _opened(self, lock: Path) -> TextIO:
        """The lock's file, in a folder that another process may remove at any time."""
        while True:
            with disk_errors(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                return open(lock, "a+")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let no other process train this run meanwhile.

        One on this machine that does has lost the Snakemake that started it: it is asked to save
        and end, so that this one can resume. Raises InputError if it does not end, or if it runs on
        another machine.
        """
        lock = self.path / "lock"
        asked, deadline = False, time.monotonic() + _PATIENCE_S
        while True:
            with self._opened(lock) as stream:
                if _locked(stream.fileno()):
                    if not _same_file(lock, stream.fileno()):
                        continue  # its last holder has removed it
                    stream.truncate(0)
                    stream.write(f"{os.getpid()} {socket.gethostname()}\n")
                    stream.flush()
                    yield
                    return
                stream.seek(0)
                process, _, host = stream.read().strip().partition(" ")
            here = host == socket.gethostname() and process.isdigit()
            if (host and not here) or time.monotonic() > deadline:
                raise InputError(
                    self.path,
                    f"process {process} on {host} is training this run",
                    "Wait for it or end it, then run again",
                )
            if here and not asked:
                asked = True
                log.warning("process %s is still training this run and is asked to end", process)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGTERM)
            time.sleep(0.2)


def _compare(found: Any, wanted: Mapping[str, str]) -> None:
    if not isinstance(found, dict):
        raise StateError("it holds no training")
    other = [key for key, value in wanted.items() if found.get(key) != value]
    if other:
        raise StateError(f"it is of a training with other {', '.join(other)}")


def _locked(descriptor: int) -> bool:
    """Take the lock; False if another process holds it, True where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems have none
        log.warning("the state's folder cannot be locked (%s)", reason(error))
    return True


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
