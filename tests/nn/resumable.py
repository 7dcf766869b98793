"""A training in a process of its own, which tests kill: python -m tests.nn.resumable FOLDER NAME.

It trains on toy slices with the recipe of that name, saves its state every tenth of a second, and
removes the state when its outputs are complete, as the rule's script does.
"""

import sys
from pathlib import Path

from mbhseg.errors import Stopped
from mbhseg.files import manifest_of, write_table
from mbhseg.nn.checkpoint.state import StateFolder
from mbhseg.nn.training.fit import TrainOutputs
from mbhseg.nn.training.train import train
from tests.nn.conftest import SIZE, WINDOW, network, training, write_slices

COSINE = {
    "epochs": 12,
    "patch": [0.75, 0.625],
    "batch": 2,
    "optimizer": {"learning_rate": 0.01, "ema": 0.95},
    "sampling": {"foreground": 0.5, "slices_per_epoch": 60},
    "augmentation": {"flip_left_right": 0.5, "affine": 0.7, "rotation_degrees": 10},
    "metrics": ["bleed_dice"],
    "previews": {"slices": 2, "every": 3},
}
PLATEAU = {
    "epochs": 60,
    "batch": 2,
    "monitor": "val_loss",
    "optimizer": {"name": "adam", "learning_rate": 0.02, "clip_norm": None},
    "schedule": {"name": "plateau", "patience": 1, "factor": 0.6},
    "early_stopping": {"patience": 4},
    "sampling": {"slices_per_epoch": 60},
    "previews": {"slices": 2, "every": 2},
}
RECIPES = {"cosine": COSINE, "plateau": PLATEAU}
NETWORK = {"levels": 3, "filters": 8, "dropout": 0.2, "input_scale": 1 / 255}


def main(folder: Path, name: str) -> None:
    root = folder / "data"
    slices = write_slices(root, {"train": 8, "valid": 2}, slices=4)
    state = StateFolder(folder / "state")
    with state.held():
        outputs = TrainOutputs.within(folder / "run")
        train(
            slices=slices,
            root=root,
            network=network(**NETWORK),
            training=training(**RECIPES[name]),
            input={"size": SIZE, "windows": [WINDOW]},
            identity={"run": f"{name}-f0-s7", "experiment": name, "fold": 0, "seed": 7},
            outputs=outputs,
            state=state,
            checkpoint_minutes=0.1 / 60,
        )
        write_table(folder / "manifest.tsv", manifest_of(folder / "run"))
        state.clear()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except Stopped as stop:
        print(stop, flush=True)
        sys.exit(stop.status)
