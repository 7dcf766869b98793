"""The whole run, killed at random moments as on a node that is lost: the same files."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.workspace import Workspace, assert_same_results, engine_command

KILLS, SEED = 10, 25
DELAY = 3.0  # seconds, the most that a kill waits after the job that it follows
LAST = 9  # jobs at the end, `all` too, that no kill waits for, so that none finds the run over


def moments(jobs: int) -> list[tuple[int, float]]:
    """Jobs that are done at each kill, growing, and the seconds after the last of them."""
    draw = random.Random(SEED)
    return [(n, draw.uniform(0, DELAY)) for n in sorted(draw.sample(range(jobs - LAST), KILLS))]


def begin(workspace: Workspace, log: Path) -> subprocess.Popen:
    """The engine and its jobs, in a process group of their own."""
    with open(log, "w") as stream:
        return subprocess.Popen(
            engine_command(),
            cwd=workspace.root,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait(engine: subprocess.Popen, log: Path, jobs: int) -> None:
    """Until the engine runs jobs and has finished so many."""
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
    """Each kill takes the engine and its jobs; the same command, once unlocked, goes on."""
    workspace, log = Workspace(tmp_path / "killed"), tmp_path / "engine.log"
    # Not what the finished one has benchmarks of: other tests may have made more in it.
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
