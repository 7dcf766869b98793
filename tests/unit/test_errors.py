"""Errors in one line."""

import errno
import os

import pytest

from mbhseg.errors import InputError, disk_errors, reason


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/some/where"), "No such file"),
        (OSError("no links here"), "no links here"),
        (ValueError("first line\n  and a second"), "first line"),
        (ValueError("  \n  two   words "), "two words"),
        (EOFError(), "EOFError"),
    ],
)
def test_a_reason_is_one_line(error: Exception, text: str) -> None:
    assert reason(error).startswith(text)
    assert "\n" not in reason(error)


@pytest.mark.parametrize(
    ("code", "remedy"), [(errno.ENOSPC, "Free some space"), (errno.EACCES, "permissions")]
)
def test_what_the_disk_refuses_names_the_file(code: int, remedy: str) -> None:
    with (
        pytest.raises(InputError, match=rf"a\.png: .*{os.strerror(code)}.*{remedy}"),
        disk_errors("a.png"),
    ):
        raise OSError(code, os.strerror(code))
