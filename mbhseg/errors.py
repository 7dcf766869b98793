"""Errors that tell the user which file, what is wrong, and what to do."""

import contextlib
import errno
import signal
from collections.abc import Iterator
from pathlib import Path


class InputError(Exception):
    """Bad input from outside: its text is one line, shown without a traceback.

    `where` names the file or config key, `problem` what is wrong, `remedy` what to do.
    """

    def __init__(self, where: str | Path, problem: str, remedy: str) -> None:
        self.where, self.problem, self.remedy = str(where), problem, remedy
        super().__init__(f"{where}: {problem}. {remedy}".replace("\n", " "))

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str, str]]:
        return InputError, (self.where, self.problem, self.remedy)  # passes between processes


def reason(error: BaseException) -> str:
    """Why something failed, in one line, for the problem of an InputError.

    What the operating system says, else the first line of the error's text, else its type.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return " ".join(lines[0].split()) if lines else type(error).__name__


class Stopped(Exception):
    """A signal ended a job early, and the job can be resumed; its text is one line.

    `place` says how far the job came, `status` is the exit status that a shell would give.
    """

    def __init__(self, signum: int, place: str, saved: bool = True) -> None:
        self.status = 128 + signum
        kept = "state saved; run again to resume" if saved else "nothing saved"
        super().__init__(f"stopped by {signal.Signals(signum).name} at {place}; {kept}")


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def disk_errors(path: str | Path, no_room: str = "Free some space and run again") -> Iterator[None]:
    """Turn an OSError of the file system while `path` is written into InputError."""
    try:
        yield
    except OSError as error:
        remedy = no_room if error.errno in _NO_ROOM else "Check the folder and its permissions"
        raise InputError(path, f"cannot be written ({reason(error)})", remedy) from error
