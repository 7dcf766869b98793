"""A training killed under Snakemake: the same command resumes it, to the same bits."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from mbhseg.files import read_json, sha256
from tests.workspace import TINY, Workspace, engine_command

RUN = "results/tiny/models/flexunet-f0-s1"
STATE = "results/tiny/state/flexunet-f0-s1"
LOG = "results/logs/tiny/train/flexunet-f0-s1.log"


@pytest.fixture(scope="module")
def longer(tmp_path_factory) -> Path:
    """The tiny config with a training of almost a minute, saved every tenth of a second."""
    config = yaml.safe_load(TINY.read_text())
    config["checkpoint"] = {"minutes": 0.1 / 60}
    config["training"] |= {"epochs": 32, "optimizer": {"ema": 0.9}}
    config["training"] |= {"batch": 2, "sampling": {"slices_per_epoch": 120}}
    config["network"] |= {"filters": 8, "dropout": 0.2}
    path = tmp_path_factory.mktemp("config") / "longer.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def begin(workspace: Workspace, config: Path) -> subprocess.Popen:
    return subprocess.Popen(
        engine_command(f"{RUN}/model.keras", config=config),
        cwd=workspace.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def training_process(workspace: Workspace, engine: subprocess.Popen) -> int:
    """The process that trains, once it has saved a state of its own."""
    state = workspace.root / STATE
    file = state / "state.zip"
    before = file.stat().st_mtime_ns if file.exists() else 0
    while engine.poll() is None:
        if file.exists() and file.stat().st_mtime_ns != before:
            return int((state / "lock").read_text().split()[0])
        time.sleep(0.02)
    pytest.fail(f"Snakemake ended before the training was killed:\n{engine.communicate()[0]}")


@pytest.mark.slow
def test_a_killed_training_goes_on_with_the_same_command(tmp_path, longer):
    through, killed = Workspace(tmp_path / "through"), Workspace(tmp_path / "killed")
    through.snakemake(f"{RUN}/model.keras", config=longer)
    assert not (through.root / STATE).exists()

    for signum in (signal.SIGTERM, signal.SIGKILL):
        engine = begin(killed, longer)
        os.kill(training_process(killed, engine), signum)
        said, _ = engine.communicate()
        assert engine.returncode == 1, said
        if signum == signal.SIGTERM:
            assert "stopped by SIGTERM at epoch" in (killed.root / LOG).read_text()
            assert "state saved; run again" in said  # Snakemake shows the log
        assert not (killed.root / RUN / "model.keras").exists()
        assert (killed.root / STATE / "state.zip").exists()

    # Snakemake itself is killed: its training continues and yields to the next one
    engine = begin(killed, longer)
    trainer = training_process(killed, engine)
    engine.kill()
    engine.wait()
    killed.snakemake("--unlock", config=longer)
    killed.snakemake(f"{RUN}/model.keras", config=longer)
    assert f"process {trainer} is still training this run" in (killed.root / LOG).read_text()

    for name in ("model.keras", "history.csv", "curves.png", "events.out.tfevents"):
        assert sha256(killed.root / RUN / name) == sha256(through.root / RUN / name), name
    pictures = sorted((through.root / RUN / "previews").iterdir())
    for picture in (path for path in pictures if not path.name.startswith(".")):
        assert sha256(killed.root / RUN / "previews" / picture.name) == sha256(picture)
    run, other = (read_json(place.root / RUN / "run.json") for place in (killed, through))
    assert run["best"] == other["best"]
    assert not (killed.root / STATE).exists()
    assert "Nothing to be done" in killed.snakemake(f"{RUN}/model.keras", config=longer)
