"""Trainings on two devices, for tests: python -m tests.nn.several_devices FOLDER divide|resume.

Two virtual CPUs, which TensorFlow makes before it starts, stand where two GPUs would. `divide`
trains on one and on two devices; `resume` twice on two, the second time stopped by a signal within
an epoch and resumed.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mbhseg.errors import Stopped
from mbhseg.nn.checkpoint.state import StateFolder
from mbhseg.nn.training.fit import TrainOutputs
from mbhseg.nn.training.train import train
from tests.nn.conftest import NETWORK, SIZE, WINDOW, training, write_slices

TRAINING = {
    "epochs": 2,
    "batch": 4,
    "threads": 2,
    "loss": {"name": "cross_entropy"},
    "optimizer": {"name": "sgd", "learning_rate": 0.05, "clip_norm": None, "ema": 0.9},
    "schedule": {"name": "constant"},
    "sampling": {"slices_per_epoch": 16},
    "metrics": ["bleed_dice"],
    "previews": {"slices": 2},
}
UNEVEN = {"slices_per_epoch": 15}


class StopAt(keras.callbacks.Callback):
    """Sends this process the signal of a preemption after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def main(root: Path, what: str) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    slices = write_slices(root, {"train": 4, "valid": 2}, slices=4)

    def run(name: str, network: dict[str, Any], stop_at: int | None = None, **changes: Any) -> None:
        train(
            slices=slices,
            root=root,
            network={**NETWORK, **network},
            input={"size": SIZE, "windows": [WINDOW]},
            training=training(**(TRAINING | changes)),
            identity={"run": "toy-f0-s1", "experiment": "toy", "fold": 0, "seed": 1},
            outputs=TrainOutputs.within(root / name),
            state=StateFolder(root / f"state of {name}"),
            callbacks=[StopAt(stop_at)] if stop_at else [],
        )

    if what == "divide":
        run("one", {}, gpus=1)
        run("two", {}, gpus=2)
        return
    # the last batch of an epoch has three slices, which two devices cannot share
    network, changes = {"levels": 2, "dropout": 0.3}, {"gpus": 2, "sampling": UNEVEN}
    run("through", network, **changes)
    try:
        run("resumed", network, stop_at=6, **changes)
    except Stopped as stopped:
        print(stopped)
        run("resumed", network, **changes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
