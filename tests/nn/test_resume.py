"""A training that is stopped and resumed ends in the same files as one that ran through."""

import signal

import pytest

from mbhseg.errors import Stopped
from mbhseg.files import read_json, read_table
from mbhseg.nn import resume, session
from mbhseg.nn.state import StateFolder

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
    """Each recipe trained without a stop."""
    return {name: train_toy(**recipe) for name, recipe in RECIPES.items()}


def stop_at(monkeypatch, place: tuple[int, int] | str, signum: int) -> None:
    """Send this process a signal at (epoch, step) or in the first validation that comes."""
    if place == "validation":
        inner = session.Validate.on_epoch_end

        def on_epoch_end(self, epoch, logs=None):
            signal.raise_signal(signum)
            inner(self, epoch, logs)

        monkeypatch.setattr(session.Validate, "on_epoch_end", on_epoch_end)
        return
    inner = resume.Checkpoint.on_train_batch_end

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch + 1) == place:
            signal.raise_signal(signum)
        inner(self, batch, logs)

    monkeypatch.setattr(resume.Checkpoint, "on_train_batch_end", on_train_batch_end)


@pytest.mark.parametrize("name", RECIPES)
def test_stopped_and_resumed_again_and_again(name, through, train_toy, tmp_path, monkeypatch):
    state = StateFolder(tmp_path / "state")
    places = [(0, 2), "validation", (1, 1), (1, 3), "validation", (2, 1)]
    signals = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1] * 2
    for place, signum in zip(places, signals, strict=True):
        with monkeypatch.context() as patch:
            stop_at(patch, place, signum)
            with pytest.raises(Stopped) as stopped:
                train_toy(**RECIPES[name], state=state)
        assert str(stopped.value).startswith(f"stopped by {signum.name} at epoch ")
        assert str(stopped.value).endswith("; state saved; run again to go on")
        assert stopped.value.status == 128 + signum
        if place != "validation":
            assert f"epoch {place[0] + 1}, step {place[1]};" in str(stopped.value)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    resumed = train_toy(**RECIPES[name], state=state)
    same_files(resumed, through[name])
    timings = read_json(resumed.run_json)["timings"]
    assert len(timings["epoch_seconds"]) == len(read_table(resumed.history))
    assert state.file.exists()  # the caller's to remove
    state.clear()
    assert not state.path.exists()
