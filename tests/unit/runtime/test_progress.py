"""Progress reports: a bar on a terminal, sparse lines in a log."""

import os
import pty
import subprocess
import sys
import time

import pytest

from mbhseg.runtime import progress as module
from mbhseg.runtime.progress import byte_progress, progress


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines without the pause between them, so that a test need not wait."""
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)


def test_passes_the_items_on_and_ends_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(iter("abc"), total=3, label="Slicing", unit="cases")) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Slicing: 100 %, 3 of 3 cases, ")
    assert err.count("\n") == 1
    assert "\r" not in err


def test_a_log_gets_few_lines(hurried: None, capsys: pytest.CaptureFixture[str]) -> None:
    with byte_progress(40_000_000, "Fetching", done=10_000_000) as meter:
        for _ in range(300):
            meter.update(100_000)
            time.sleep(0.004)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 10
    assert lines[-1].startswith("Fetching: 100 %, 40.0M of 40.0M B, ")
    assert "B/s" in lines[-1]


def test_nothing_to_do_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress([], label="Slicing")) == []
    assert capsys.readouterr().err == ""


def test_without_a_total_it_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(progress(iter(range(7)), label="Reading", unit="files"))) == 7
    assert capsys.readouterr().err.startswith("Reading: 7 files, ")


def test_a_terminal_gets_a_bar() -> None:
    leader, follower = pty.openpty()
    code = "from mbhseg.runtime.progress import progress; list(progress(range(9), label='Slicing'))"
    subprocess.run(
        [sys.executable, "-c", code],
        stderr=follower,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(follower)
    text = os.read(leader, 65536).decode()
    os.close(leader)
    assert "\r" in text
    assert "9/9" in text
