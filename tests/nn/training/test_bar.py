"""What a person sees of a training: a bar on a terminal, sparse lines in a log."""

import io
import sys

import pytest

from mbhseg.nn.training import bar
from mbhseg.nn.training.bar import Progress

SCORES = {"loss": 0.4, "val_loss": 0.5, "val_dice": 0.625, "learning_rate": 0.001}


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def train(shown: Progress, first: tuple[int, int], epochs: int, steps: int) -> None:
    """Call the callback as fit does; steps before `first` are passed over and have no logs."""
    shown.on_train_begin()
    for epoch in range(first[0], epochs):
        shown.on_epoch_begin(epoch)
        for step in range(steps):
            shown.on_train_batch_end(step, {} if (epoch, step) < first else {"loss": 0.7})
        shown.on_epoch_end(epoch, SCORES)
    shown.close()


def test_a_bar_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(bar, "_BLINK_S", 0.0)
    train(Progress(3, 4, 10), (0, 0), 3, 4)
    text = terminal.getvalue()
    last = text.rsplit("\r", 1)[-1]
    for word in ("epoch 3/3", "12/12", "loss=0.4", "val_dice=0.625", "images/s="):
        assert word in last
    assert "loss=0.7" in text  # within an epoch
    assert "<" in last  # elapsed<left


def test_a_resumed_bar_begins_where_the_training_is(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    train(Progress(3, 4, 10, first=(1, 2)), (1, 2), 3, 4)
    first = terminal.getvalue().split("\r")[1]
    assert "epoch 2/3" in terminal.getvalue()
    assert " 6/12 " in first
    assert "12/12" in terminal.getvalue()


@pytest.mark.parametrize(("pause", "within"), [(60.0, 0), (0.0, 9)])
def test_lines_in_a_log_are_sparse(monkeypatch, capsys, pause, within):
    monkeypatch.setattr(bar, "_PAUSE_S", pause)
    train(Progress(2, 40, 400), (0, 0), 2, 40)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 * (within + 1)
    assert lines[-1].startswith("epoch 2/2  loss 0.4  val_loss 0.5  val_dice 0.625")
    assert lines[-1].endswith("images/s  ETA 0 s")
    if within:
        assert lines[0].startswith("epoch 1/2  step 4/40  loss 0.7  ")
