"""Several devices divide a batch and learn what one learns; two CPUs stand where two GPUs would."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mbhseg.errors import InputError
from mbhseg.files import read_json, read_table
from mbhseg.nn import device
from mbhseg.nn.network.saving import load_model


def on_two_devices(repo: Path, folder: Path, what: str) -> str:
    """Run `several_devices` in a process that has two devices from its start; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.nn.several_devices", str(folder), what],
        capture_output=True,
        text=True,
        cwd=repo,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def weights(folder: Path) -> np.ndarray:
    return np.concatenate([w.ravel() for w in load_model(folder / "model.keras").get_weights()])


@pytest.mark.slow
def test_two_devices_learn_what_one_learns(repo, tmp_path):
    on_two_devices(repo, tmp_path, "divide")
    one, two = (read_table(tmp_path / name / "history.csv") for name in ("one", "two"))
    assert one["loss"].iloc[1] < one["loss"].iloc[0] / 1.5
    pooled = ["bleed_dice"]  # each device pools its own part of a batch
    np.testing.assert_allclose(two[pooled], one[pooled], rtol=0.01)
    # sums of another order, nothing else
    np.testing.assert_allclose(
        two.drop(columns=pooled).to_numpy(float),
        one.drop(columns=pooled).to_numpy(float),
        rtol=1e-4,
    )
    found, expected = (weights(tmp_path / name) for name in ("two", "one"))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert read_json(tmp_path / "two/run.json")["training"]["gpus"] == 2


@pytest.mark.slow
def test_a_training_on_two_devices_is_resumed_to_the_same_weights(repo, tmp_path):
    said = on_two_devices(repo, tmp_path, "resume")
    assert "stopped by SIGTERM at epoch 2, step 3" in said
    found, expected = (weights(tmp_path / name) for name in ("resumed", "through"))
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(found, expected)
    histories = [tmp_path / name / "history.csv" for name in ("resumed", "through")]
    assert histories[0].read_bytes() == histories[1].read_bytes()


def test_more_gpus_than_there_are_is_told():
    with pytest.raises(InputError, match=r"^training\.gpus: .*\b9\b.*\b0\b"):
        device.scope(9)
