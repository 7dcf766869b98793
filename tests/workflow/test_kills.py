"""The whole run, killed at random moments like on a lost node, makes the same files."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.workspace import Workspace, assert_same_results, engine_command

KILLS, SEED = 10, 25
DELAY = 3.0  # seconds, the longest wait of a kill after the job that it follows
LAST = 9  # jobs at the end, `all` included, that no kill waits for, so that the run is never over


def moments(jobs: int) -> list[tuple[int, float]]:
    """Number of finished jobs at each kill, increasing, and the seconds after the last of them."""
    draw = random.Random(SEED)
    return [(n, draw.uniform(0, DELAY)) for n in sorted(draw.sample(range(jobs - LAST), KILLS))]


def begin(workspace: Workspace, log: Path) -> subprocess.Popen:
    """Snakemake and its jobs, in a process group of their own."""
    with open(log, "w") as stream:
        return subprocess.Popen(
            engine_command(),
            cwd=workspace.root,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait(engine: subprocess.Popen, log: Path, jobs: int) -> None:
    """Wait until Snakemake runs jobs and has finished that many."""
    while True:
        text = log.read_text()
        if "Select jobs to execute" in text and finished_jobs(log) >= jobs:
            return
        assert engine.poll() is None, text
        time.sleep(0.05)


def finished_jobs(log: Path) -> int:
    return log.read_text().count("Finished jobid: ")


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(finished, tmp_path):
    """Each kill ends Snakemake and its jobs; the same command, after --unlock, continues."""
    workspace, log = Workspace(tmp_path / "killed"), tmp_path / "engine.log"
    # Not counted by the finished one's benchmarks: other tests may have made more in it.
    jobs = sum(workspace.planned().values())
    done = 0
    for wanted, delay in moments(jobs):
        engine = begin(workspace, log)
        try:
            wait(engine, log, wanted - done)
            time.sleep(delay)
            assert engine.poll() is None, log.read_text()
        finally:
            os.killpg(engine.pid, signal.SIGKILL)
            engine.wait()
        done += finished_jobs(log)
        workspace.snakemake("--unlock")
    workspace.snakemake()
    assert_same_results(finished, workspace.root)
    assert "Nothing to be done" in workspace.snakemake()
