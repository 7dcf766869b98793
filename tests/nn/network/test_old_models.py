"""What the version before the library's rooms left: its configs, models and stopped trainings."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mbhseg.config import schema
from mbhseg.config.defaults import defaults
from mbhseg.config.experiments import recipe
from mbhseg.files import read_json, read_table, write_json
from mbhseg.inference.predictor import Predictor
from mbhseg.nn.checkpoint.state import StateFolder
from mbhseg.nn.network.models import FLEXUNET, up_to_date
from mbhseg.nn.training.fit import TrainOutputs
from mbhseg.nn.training.train import train
from mbhseg.provenance.verification import check_files
from tests.heads import probabilities
from tests.nn.conftest import SIZE, WINDOW, network, training

COMMIT = "4e3e5df4b4b31cec4f126ee4905e594dfbd04b1d"  # the last one with 36 modules in mbhseg/nn
OLD_PATH = "mbhseg.nn.flexunet.build"
SETTINGS = {
    "network": network(model=OLD_PATH, levels=2, filters=8, normalization="instance"),
    "training": training(epochs=6, batch=4, optimizer={"learning_rate": 0.01}, patch=[0.75, 0.625]),
    "input": {"size": SIZE, "windows": [WINDOW]},
    "identity": {"run": "toy-f0-s7", "experiment": "toy", "fold": 0, "seed": 7},
}

# run by the old code: a training that ends, one that is stopped, and a prediction
OLD = """
import json, os, signal, sys
from pathlib import Path
import keras
import numpy as np
from mbhseg.errors import Stopped
from mbhseg.files import manifest_of, write_table
from mbhseg.nn.inference import Predictor
from mbhseg.nn.session import TrainOutputs
from mbhseg.nn.state import StateFolder
from mbhseg.nn.training import train
from mbhseg.png import read_image
from tests.nn.conftest import write_slices

folder = Path(sys.argv[1])
settings = json.loads((folder / "settings.json").read_text())
slices = write_slices(folder / "data", {"train": 4, "valid": 2})
write_table(folder / "slices.csv", slices)
run = folder / "run"
train(slices=slices, root=folder / "data", outputs=TrainOutputs.within(run), **settings)
write_table(run / "manifest.tsv", manifest_of(run))

class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        os.kill(os.getpid(), signal.SIGTERM)

try:
    train(
        slices=slices,
        root=folder / "data",
        outputs=TrainOutputs.within(folder / "stopped"),
        state=StateFolder(folder / "state"),
        callbacks=[Stop()],
        **settings,
    )
except Stopped:
    print("stopped")

grey = np.stack([read_image(folder / "data" / name)[..., 0] for name in slices["image"][:5]], -1)
hu = np.rot90(grey, -1).astype(np.int16)  # as a scan has it
predictor = Predictor.load(run)
labels, shares = predictor.labels(hu), predictor.probabilities(hu)
np.savez(folder / "predicted.npz", hu=hu, labels=labels, shares=shares)
"""


@pytest.fixture(scope="module")
def left_behind(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the old code trained and predicted."""
    wanted = ["mbhseg", "workflow_scripts", "tests", "config"]
    try:
        archive = subprocess.run(
            ["git", "archive", COMMIT, *wanted], cwd=repo, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"commit {COMMIT[:7]} is not to be had here ({error})")
    code, folder = tmp_path_factory.mktemp("code"), tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(code, filter="data")
    write_json(folder / "settings.json", SETTINGS)
    done = subprocess.run(
        [sys.executable, "-c", OLD, str(folder)],
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["stopped"]), done.stderr
    return folder


@pytest.mark.slow
def test_an_old_model_predicts_the_same(left_behind):
    folder = left_behind / "run"
    assert read_json(folder / "run.json")["network"]["model"] == OLD_PATH
    predicted = np.load(left_behind / "predicted.npz")
    assert len(np.unique(predicted["labels"])) > 2
    predictor = Predictor.load(folder)
    np.testing.assert_array_equal(predictor.labels(predicted["hu"]), predicted["labels"])
    np.testing.assert_array_equal(probabilities(predictor, predicted["hu"]), predicted["shares"])


@pytest.mark.slow
def test_an_old_model_is_what_its_manifest_says(left_behind):
    listed = read_table(left_behind / "run/manifest.tsv")
    assert "model.keras" in set(listed["file"])
    pairs = list(zip(listed["file"], listed["sha256"], strict=True))
    checked = check_files(pairs, left_behind / "run")
    assert checked["status"].eq("ok").all()


@pytest.mark.slow
def test_an_old_stopped_training_is_refused_in_a_line(left_behind, caplog):
    outputs = TrainOutputs.within(left_behind / "again")
    train(
        slices=read_table(left_behind / "slices.csv"),
        root=left_behind / "data",
        outputs=outputs,
        state=StateFolder(left_behind / "state"),
        checkpoint_minutes=10,
        **SETTINGS,
    )
    (line,) = [text for text in caplog.messages if "is not used" in text]
    assert "state.zip" in line
    assert "other settings" in line
    assert read_json(outputs.run_json)["network"]["model"] == FLEXUNET


@pytest.mark.parametrize("place", ["network", "experiments"])
def test_the_old_path_in_a_config_is_flexunet(repo, place):
    config = defaults()
    node = config["network"]
    if place == "experiments":
        node = config["experiments"]["flexunet"] = {"network": {}}
        node = node["network"]
    node["model"] = OLD_PATH
    schema.check(config, repo / "config" / "schemas")
    chosen = recipe(config, "flexunet")["network"]
    assert chosen["model"] == OLD_PATH
    assert up_to_date(chosen) == defaults()["network"]
