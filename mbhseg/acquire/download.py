"""Downloads that survive a kill: a later process resumes where an earlier one stopped.

A download is a data file and a journal beside it. The journal's first line says what is being
fetched; every other line gives where a piece ends in the data file and the piece's CRC-32, written
after the piece. So every piece in the journal is on the disk, and one that a crash, a full disk or
a bad sector damaged is found and fetched anew. Why not `hf_hub_download`: docs/decisions/0007.
"""

import collections
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

from mbhseg.acquire.hub import Hub, RemoteFile
from mbhseg.errors import InputError, disk_errors
from mbhseg.files import atomic_file
from mbhseg.runtime.progress import byte_progress

_log = logging.getLogger(__name__)
_CONNECTIONS = 4
_PIECE_MIN, _PIECE_MAX = 1 << 14, 1 << 23
# Requests grow with what this process has fetched. A kill loses the requests in flight, at most
# a sixteenth (_CONNECTIONS shares) of what the process has fetched, also early on.
_SHARE = 64
_FREE_SPACE = "Free some space and run again; the download resumes"


class Span(NamedTuple):
    """Bytes `start` to `end` (exclusive) of a remote file."""

    start: int
    end: int


class Download:
    """The local side: `path`, its journal, and how many bytes are `done`.

    `about` describes what is fetched; a download of anything else starts over. Only one process
    at a time can have it open.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self.journal, self.about = path, journal_of(path), about
        self.done = 0
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        with disk_errors(self.path, _FREE_SPACE), contextlib.ExitStack() as stack:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._data = stack.enter_context(_open(self.path))
            _lock(self._data.fileno(), self.path)
            self._recover()
            self._lines = stack.enter_context(_open(self.journal))
            self._lines.seek(0, os.SEEK_END)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def sha256(self) -> str:
        """Hex sha256 of the bytes that are done."""
        return self._digest.hexdigest()

    def append(self, piece: bytes) -> None:
        """Append the next piece to the file, then its line to the journal."""
        with disk_errors(self.path, _FREE_SPACE):
            _write(self._data, piece)
            self._digest.update(piece)
            self.done += len(piece)
            _write(self._lines, _line([self.done, zlib.crc32(piece)]))

    def sync(self) -> None:
        """Flush the file to the disk."""
        with disk_errors(self.path, _FREE_SPACE):
            os.fsync(self._data.fileno())

    def discard(self) -> None:
        """Delete the file and its journal."""
        self.path.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    def _recover(self) -> None:
        """Keep the pieces that match the journal, up to the first bad one."""
        about, pieces = _read_journal(self.journal)
        good = [_line(self.about)]
        for end, crc in pieces if _content(about) == _content(self.about) else []:
            piece = self._data.read(max(end - self.done, 0))
            if not piece or len(piece) != end - self.done or zlib.crc32(piece) != crc:
                _log.warning("%s: bad from byte %d on, fetched anew", self.path, self.done)
                break
            self._digest.update(piece)
            self.done = end
            good.append(_line([end, crc]))
        self._data.truncate(self.done)
        self._data.seek(self.done)
        for left in self.path.parent.glob(f".partial-*-{self.journal.name}"):
            left.unlink()  # left by a process that was killed here
        with atomic_file(self.journal) as partial:
            partial.write_bytes(b"".join(good))


def journal_of(path: Path) -> Path:
    """Where the journal of a download lies."""
    return path.with_name(path.name + ".journal")


def about_complete(path: Path) -> dict[str, Any] | None:
    """`about` of the download at `path`, if its journal says that it is complete."""
    about, ends = _read_journal(journal_of(path))
    if about is None or not path.is_file():
        return None
    done = ends[-1][0] if ends else 0
    return about if done == about.get("total") == path.stat().st_size else None


@contextlib.contextmanager
def download(
    hub: Hub, remote: RemoteFile, path: Path, spans: Sequence[Span] | None = None
) -> Iterator[Download]:
    """Fetch the remote file, or `spans` of it one after the other, into `path`; resume if begun.

    Yields the complete download, open. Raises InputError if the hub refuses or the disk is full;
    what was fetched stays for the next attempt.
    """
    spans = [Span(0, remote.size)] if spans is None else spans
    total = sum(span.end - span.start for span in spans)
    about = {**remote._asdict(), "spans": [list(span) for span in spans], "total": total}
    with Download(path, about) as local:
        if local.done < total:
            _demand_room(path, total - local.done)
            hub.demand_ranges(remote)
            with byte_progress(total, f"Fetching {remote.filename}", local.done) as meter:
                pieces = _pieces(hub, remote, _requests(spans, local.done))
                with contextlib.closing(pieces):
                    for piece in pieces:
                        local.append(piece)
                        meter.update(len(piece))
            local.sync()
        yield local


def _requests(spans: Iterable[Span], done: int) -> Iterator[Span]:
    """The requests that follow `done` bytes of `spans`: small pieces first, then larger ones."""
    asked = 0
    for start, end in spans:
        skipped = min(done, end - start)
        done -= skipped
        first = start + skipped
        while first < end:
            last = min(first + min(max(asked // _SHARE, _PIECE_MIN), _PIECE_MAX), end)
            yield Span(first, last)
            asked += last - first
            first = last


def _pieces(hub: Hub, remote: RemoteFile, spans: Iterator[Span]) -> Generator[bytes, None, None]:
    """The bytes of `spans` in order; few requests in flight at a time, at first only one."""
    pending: collections.deque[Future[bytes]] = collections.deque()
    pool = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="fetch")
    try:
        for n, span in enumerate(spans):
            pending.append(pool.submit(hub.read, remote, *span))
            if len(pending) >= min(1 + n // 4, _CONNECTIONS):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _content(about: dict[str, Any] | None) -> dict[str, Any]:
    """What determines the bytes; another commit with the same file is equivalent."""
    return {key: about[key] for key in about if key not in ("revision", "commit")} if about else {}


def _line(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode() + b"\n"


def _read_journal(path: Path) -> tuple[dict[str, Any] | None, list[tuple[int, int]]]:
    """The journal's header and pieces; a line that was cut short ends it."""
    about, ends = None, []
    try:
        for line in path.read_bytes().splitlines(keepends=True):
            value = json.loads(line) if line.endswith(b"\n") else None
            if about is None and isinstance(value, dict):
                about = value
            elif about is not None and isinstance(value, list):
                end, crc = value
                ends.append((int(end), int(crc)))
            else:
                break
    except (OSError, ValueError, TypeError):
        pass
    return about, ends


def _open(path: Path) -> Any:
    """Open for reading and writing without a buffer, so that a killed process loses nothing."""
    return open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)


def _write(stream: Any, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            path, "another process is fetching it", "Wait for that one, or end it"
        ) from error
    except OSError:
        pass  # a file system without locks


def _demand_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise InputError(
            path,
            f"needs {_size(needed)} more, and the disk has {_size(free)} left",
            _FREE_SPACE,
        )


def _size(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
