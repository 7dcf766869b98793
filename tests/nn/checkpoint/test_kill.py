"""Processes that are killed at random moments, by SIGTERM and SIGKILL, and started again."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mbhseg.files import read_json, read_table

KILLS = 10


def start(repo: Path, folder: Path, name: str) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.nn.resumable", str(folder), name],
        cwd=repo,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def digests(folder: Path) -> dict[str, str]:
    """sha256 by file, but for run.json, which tells times."""
    table = read_table(folder / "manifest.tsv")
    found = dict(zip(table["file"], table["sha256"], strict=True))
    del found["run.json"]
    return found


def until_it_trains(process: subprocess.Popen, folder: Path) -> None:
    """Wait until the process has saved once, or has ended."""
    file = folder / "state/state.zip"
    before = file.stat().st_mtime_ns if file.exists() else 0
    while process.poll() is None:
        if file.exists() and file.stat().st_mtime_ns != before:
            return
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cosine", "plateau"])
def test_ten_kills_change_no_bit(name, repo, tmp_path):
    through = start(repo, tmp_path / "through", name)
    rng = random.Random(f"kills of {name}")
    folder = tmp_path / "killed"
    # half of each; some come while the program is still being loaded, or the state read
    signals = [signal.SIGTERM, signal.SIGKILL] * (KILLS // 2)
    rng.shuffle(signals)
    stopped = []
    for number, signum in enumerate(signals):
        process = start(repo, folder, name)
        if number in (3, 6):
            time.sleep(rng.uniform(0, 6))
        else:
            until_it_trains(process, folder)
            time.sleep(rng.uniform(0, 0.7))
        assert process.poll() is None, "it was too quick to be killed ten times"
        process.send_signal(signum)
        said, _ = process.communicate()
        if signum == signal.SIGTERM and process.returncode != -signal.SIGTERM:
            assert process.returncode == 128 + signal.SIGTERM
            assert said.startswith("stopped by SIGTERM at epoch ")
            assert len(said.splitlines()) == 1
            stopped.append(said)
        else:
            assert process.returncode == -signum
        # Snakemake removes the outputs of a job that failed
        shutil.rmtree(folder / "run", ignore_errors=True)
    assert len(stopped) >= 3
    last = start(repo, folder, name)
    assert last.wait() == 0
    assert through.wait() == 0
    assert digests(folder) == digests(tmp_path / "through")
    runs = [read_json(place / "run/run.json") for place in (folder, tmp_path / "through")]
    assert runs[0]["best"] == runs[1]["best"]
    assert runs[0]["ended_by"] == runs[1]["ended_by"]
    if name == "plateau":
        assert runs[0]["ended_by"] == "early stopping"
        rates = read_table(folder / "run/history.csv")["learning_rate"]
        assert rates.nunique() > 1
    assert not (folder / "state").exists()
