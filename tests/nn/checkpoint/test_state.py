"""The state file: what goes in comes out, to the bit, or is refused."""

import contextlib
import random
import re
import signal
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest

from mbhseg.errors import InputError
from mbhseg.nn.checkpoint.state import StateError, StateFolder, read_state, write_state

TREE = {
    "epoch": 3,
    "loss": 0.1 + 0.2,
    "nothing": None,
    "nan": float("nan"),
    "worst": -float("inf"),
    "yes": True,
    "name": "plateau",
    "rows": [{"epoch": 1, "loss": np.float32(0.1)}, {}],
    "arrays": [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.uint32)],
    "empty": np.zeros((0, 2), np.int64),
}
PRINT = {"settings": "a", "data": "b"}


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b or (a != a and b != b)


def test_round_trip(tmp_path):
    path = tmp_path / "state.zip"
    write_state(path, TREE)
    assert same(TREE, read_state(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.zip"]
    variable = keras.Variable(np.full((2, 2), 0.3, np.float32))
    write_state(path, {"variables": [variable]})
    np.testing.assert_array_equal(read_state(path)["variables"][0], variable.numpy())


def test_damage_is_noticed_wherever_it_is(tmp_path):
    path = tmp_path / "state.zip"
    write_state(path, TREE)
    whole = path.read_bytes()
    rng = random.Random(1)
    for _ in range(60):  # cut short
        path.write_bytes(whole[: rng.randrange(len(whole))])
        with pytest.raises(StateError):
            read_state(path)
    for place in rng.sample(range(len(whole)), 200):  # one bit turned over
        turned = bytes([whole[place] ^ 1 << rng.randrange(8)])
        path.write_bytes(whole[:place] + turned + whole[place + 1 :])
        # a zip's headers hold dates and the like, which matter to nobody
        with contextlib.suppress(StateError):
            assert same(TREE, read_state(path)), place


def test_nothing_in_it_is_run(tmp_path):
    path = tmp_path / "state.zip"
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("tree.json", '{"a": {"__array__": 0}}')
        with target.open("0.npy", "w") as member:
            np.lib.format.write_array(member, np.array([{"any": "object"}]), allow_pickle=True)
    with pytest.raises(StateError):
        read_state(path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "it is damaged"),
        (lambda path: path.write_bytes(b""), "it is damaged"),
        (lambda path: write_state(path, {"epoch": 1}), "it holds no training"),
        (
            lambda path: write_state(path, {"fingerprint": PRINT | {"data": "c"}}),
            "it is of a training with other data",
        ),
        (
            lambda path: write_state(path, {"fingerprint": {}}),
            "it is of a training with other settings, data",
        ),
    ],
)
def test_a_state_of_no_use_is_refused_in_a_line_and_removed(tmp_path, caplog, spoil, reason):
    folder = StateFolder(tmp_path)
    folder.save(PRINT, TREE)
    assert same(TREE, {k: v for k, v in folder.load(PRINT).items() if k != "fingerprint"})
    spoil(folder.file)
    caplog.clear()
    assert folder.load(PRINT) is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{folder.file} is not used: {reason}")
    assert "starts from scratch" in line
    assert "\n" not in line
    assert not folder.file.exists()
    assert folder.load(PRINT) is None


def test_a_folder_that_cannot_be_made_is_a_line(tmp_path):
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        StateFolder(place / "below").save(PRINT, TREE)


HOLDER = """
import signal, sys, time
from mbhseg.nn.checkpoint.state import StateFolder
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[2] == "done":
    signal.signal(signal.SIGTERM, lambda *_: StateFolder(sys.argv[1]).clear() or sys.exit())
with StateFolder(sys.argv[1]).held():
    print("held", flush=True)
    time.sleep(600)
"""


def hold(folder, repo, manner="") -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), manner],
        cwd=repo,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_process_left_over_is_asked_to_end(tmp_path, repo, caplog):
    other = hold(tmp_path, repo)
    with StateFolder(tmp_path).held():
        assert other.wait(timeout=60) == -signal.SIGTERM
        assert re.search(rf"process {other.pid}\b.*this run", caplog.text)
    with StateFolder(tmp_path).held():  # nothing is left of the lock
        pass


def test_a_process_left_over_may_finish_meanwhile(tmp_path, repo):
    other = hold(tmp_path / "state", repo, "done")  # it clears the folder and ends
    with StateFolder(tmp_path / "state").held():
        assert other.wait(timeout=60) == 0
        StateFolder(tmp_path / "state").save(PRINT, TREE)


def test_a_process_that_does_not_end_is_named(tmp_path, repo, monkeypatch):
    other = hold(tmp_path, repo, "deaf")
    monkeypatch.setattr("mbhseg.nn.checkpoint.state._PATIENCE_S", 0.5)
    try:
        with pytest.raises(InputError, match=rf"process {other.pid} on .*training this run"):
            StateFolder(tmp_path).held().__enter__()
        (tmp_path / "lock").write_text("12 elsewhere.example\n")
        with pytest.raises(InputError, match=r"process 12 on elsewhere\.example.*training"):
            StateFolder(tmp_path).held().__enter__()
    finally:
        other.kill()
        other.wait()


def test_a_folder_cleared_by_its_holder_is_made_again(tmp_path, repo):
    folder = StateFolder(tmp_path / "state")
    with folder.held():
        folder.clear()
        assert not folder.path.exists()
    with folder.held():
        folder.save(PRINT, TREE)
        assert folder.load(PRINT) is not None
