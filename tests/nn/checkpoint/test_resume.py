"""A training that is stopped and resumed ends in the same files as one that ran through."""

import functools
import signal

import pytest

from mbhseg.errors import Stopped
from mbhseg.files import read_json, read_table
from mbhseg.nn.checkpoint.state import StateFolder, read_state, write_state
from mbhseg.nn.training import fit, save_callback

COSINE = {
    "epochs": 3,
    "batch": 3,
    "network": {"levels": 2, "filters": 4, "dropout": 0.3},
    "optimizer": {"learning_rate": 0.01, "ema": 0.9},
    "sampling": {"foreground": 0.5, "slices_per_epoch": 10},
    "augmentation": {"flip_left_right": 0.5, "affine": 0.7, "rotation_degrees": 10},
    "metrics": ["bleed_dice"],
}
PLATEAU = {
    "epochs": 8,
    "batch": 4,
    "network": {"levels": 2, "filters": 4, "dropout": 0.3, "normalization": "batch"},
    "monitor": "val_loss",
    "optimizer": {"name": "adam", "learning_rate": 0.1, "clip_norm": None},
    "schedule": {"name": "plateau", "patience": 1},
    "early_stopping": {"patience": 3},
    "previews": {"slices": 2, "every": 2},
}
RECIPES = {"cosine": COSINE, "plateau": PLATEAU}
STOPS = {  # (epoch, step), or the validation that comes first
    "cosine": [(0, 2), "validation", (1, 4)],
    "plateau": ["validation", (2, 1)],
}


def same_files(a, b) -> None:
    """Everything but run.json, which tells times, is the same to the bit."""
    for name in ("model", "history", "curves", "events"):
        assert getattr(a, name).read_bytes() == getattr(b, name).read_bytes(), name
    names = sorted(path.name for path in a.previews.iterdir())
    assert names == sorted(path.name for path in b.previews.iterdir())
    for name in names:
        assert (a.previews / name).read_bytes() == (b.previews / name).read_bytes(), name
    one, other = (read_json(outputs.run_json) for outputs in (a, b))
    for key in ("best", "ended_by", "data", "training", "parameters"):
        assert one[key] == other[key], key


@pytest.fixture(scope="module")
def through(train_toy):
    """A function that gives a recipe trained without a stop, which it is once."""
    return functools.cache(lambda name: train_toy(**RECIPES[name]))


def stop_at(monkeypatch, place: tuple[int, int] | str, signum: int) -> None:
    """Send this process a signal at (epoch, step) or in the first validation that comes."""
    if place == "validation":
        inner = fit.Validate.on_epoch_end

        def on_epoch_end(self, epoch, logs=None):
            signal.raise_signal(signum)
            inner(self, epoch, logs)

        monkeypatch.setattr(fit.Validate, "on_epoch_end", on_epoch_end)
        return
    inner = save_callback.Checkpoint.on_train_batch_end

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch + 1) == place:
            signal.raise_signal(signum)
        inner(self, batch, logs)

    monkeypatch.setattr(save_callback.Checkpoint, "on_train_batch_end", on_train_batch_end)


@pytest.mark.parametrize("name", ["cosine", pytest.param("plateau", marks=pytest.mark.slow)])
def test_stopped_and_resumed_again_and_again(name, through, train_toy, tmp_path, monkeypatch):
    state = StateFolder(tmp_path / "state")
    signals = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
    for place, signum in zip(STOPS[name], signals, strict=False):
        with monkeypatch.context() as patch:
            stop_at(patch, place, signum)
            with pytest.raises(Stopped) as stopped:
                train_toy(**RECIPES[name], state=state)
        assert str(stopped.value).startswith(f"stopped by {signum.name} at epoch ")
        assert "; state saved;" in str(stopped.value)
        assert stopped.value.status == 128 + signum
        if place != "validation":
            assert f"epoch {place[0] + 1}, step {place[1]};" in str(stopped.value)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    resumed = train_toy(**RECIPES[name], state=state)
    same_files(resumed, through(name))
    timings = read_json(resumed.run_json)["timings"]
    assert len(timings["epoch_seconds"]) == len(read_table(resumed.history))
    assert state.file.exists()  # the caller's to remove
    state.clear()
    assert not state.path.exists()


@pytest.mark.slow
def test_saved_within_the_epoch_and_resumed_from_there(through, train_toy, tmp_path, monkeypatch):
    """What a kill leaves: the last save, which is a few steps old."""
    state = StateFolder(tmp_path / "state")
    saves = []
    inner = StateFolder.save

    def save(self, fingerprint, tree):
        size = inner(self, fingerprint, tree)
        saves.append((tree["epoch"], tree["step"], self.file.read_bytes()))
        return size

    with monkeypatch.context() as patch:
        patch.setattr(StateFolder, "save", save)
        train_toy(**COSINE, state=state, checkpoint_minutes=1e-9)
    steps = [(epoch, step) for epoch, step, _ in saves]
    assert steps[:5] == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]
    for epoch, step, data in (saves[2], saves[-1]):
        state.file.write_bytes(data)
        resumed = train_toy(**COSINE, state=state)
        same_files(resumed, through("cosine"))
        assert state.file.read_bytes() != data or (epoch, step) == steps[-1]


def test_costs_are_told(train_toy, tmp_path):
    outputs = train_toy(
        epochs=2,
        state=StateFolder(tmp_path / "state"),
        checkpoint_minutes=1e-9,
        previews={"slices": 0},
    )
    costs = read_json(outputs.run_json)["timings"]["state"]
    assert costs["saves"] == 2 * 3 + 1 + 1  # every step, the second epoch's begin, the end
    assert costs["seconds"] > 0
    assert costs["bytes"] > 1000


def test_other_code_or_settings_start_from_scratch(train_toy, tmp_path, monkeypatch, caplog):
    state = StateFolder(tmp_path / "state")
    short = {"epochs": 2, "previews": {"slices": 0}}
    with monkeypatch.context() as patch:
        stop_at(patch, (1, 1), signal.SIGTERM)
        with pytest.raises(Stopped):
            train_toy(**short, state=state, code="one")
    kept = state.file.read_bytes()
    caplog.clear()
    train_toy(**short, state=state, code="two", optimizer={"learning_rate": 0.02})
    assert "of a training with other settings, code." in caplog.text
    state.file.write_bytes(kept)  # what decides nothing may change
    caplog.clear()
    harmless = {"time_budget_minutes": 60}
    old_path = {"model": "mbhseg.nn.flexunet.build"}
    train_toy(**short, state=state, code="one", network=old_path, **harmless)
    assert "not used" not in caplog.text


def test_the_time_budget_counts_what_was_spent_before(train_toy, tmp_path, monkeypatch):
    state = StateFolder(tmp_path / "state")
    settings = {"epochs": 50, "previews": {"slices": 0}, "state": state}
    with monkeypatch.context() as patch:
        stop_at(patch, (1, 1), signal.SIGTERM)
        with pytest.raises(Stopped):
            train_toy(**settings, time_budget_minutes=60)
    tree = read_state(state.file)
    assert 0 < tree["seconds"] < 600
    write_state(state.file, tree | {"seconds": 3601.0})
    outputs = train_toy(**settings, time_budget_minutes=60)
    assert len(read_table(outputs.history)) == 2
    run = read_json(outputs.run_json)
    assert run["ended_by"] == "time budget"
    assert run["timings"]["total_seconds"] > 3601


def test_a_stop_file_ends_the_training_after_the_epoch(train_toy, tmp_path):
    state = StateFolder(tmp_path / "state")
    state.path.mkdir()
    state.stop_file.touch()
    outputs = train_toy(epochs=50, previews={"slices": 1}, state=state)
    assert len(read_table(outputs.history)) == 1
    run = read_json(outputs.run_json)
    assert run["ended_by"] == "stop file"
    assert run["best"]["epoch"] == 1
    assert all(path.exists() for path in outputs)
