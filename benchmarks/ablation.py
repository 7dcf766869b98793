"""What each part of the default recipe is worth on the phantom: the table of docs/recipe.md.

    python benchmarks/ablation.py [--quick] [--epochs 5] [--seeds 1] [NAME ...]

Every variant changes a few keys of the demo's recipe (config/demo.yaml) and trains for the same
number of epochs, two variants at a time with one thread each. Columns: seconds of the training,
then scores of the test patients: the mean over classes of the mean Dice of those who have the
class, Dice of any bleed, Dice of each class. The last line is
`ablation ratio <number>`: the default's macro Dice over that of `plain`, the seed's way of
training (cross-entropy, every slice once, no augmentation, no normalization).
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from _common import (
    TestPatients,
    data_set,
    in_own_process,
    machine,
    prepare_data,
    preset,
    train_recipe,
)

from mbhseg.classes import KEYS
from mbhseg.config import experiments

NO_AUGMENTATION = {"flip_left_right": 0, "affine": 0, "intensity": 0}
PLAIN = {
    "network": {"normalization": None, "background_prior": None},
    "training": {
        "loss": {"name": "cross_entropy"},
        "sampling": {"foreground": None},
        "augmentation": NO_AUGMENTATION,
    },
}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain": PLAIN,
    "loss cross_entropy": {"training": {"loss": {"name": "cross_entropy"}}},
    "loss dice": {"training": {"loss": {"name": "dice"}}},
    "loss generalized_dice": {"training": {"loss": {"name": "generalized_dice"}}},
    "deep supervision 1": {"training": {"deep_supervision": 1}},
    "deep supervision 2": {"training": {"deep_supervision": 2}},
    "ema .98": {"training": {"optimizer": {"ema": 0.98}}},
    "ema .99": {"training": {"optimizer": {"ema": 0.99}}},
    "ema .995": {"training": {"optimizer": {"ema": 0.995}}},
    "learning rate .001": {"training": {"optimizer": {"learning_rate": 0.001}}},
    "learning rate .004": {"training": {"optimizer": {"learning_rate": 0.004}}},
    "batch 2": {"training": {"batch": 2}},
    "batch 4": {"training": {"batch": 4}},
    "batch 4, ema .99": {"training": {"batch": 4, "optimizer": {"ema": 0.99}}},
    "batch 16": {"training": {"batch": 16}},
    "no normalization": {"network": {"normalization": None}},
    "batch normalization": {"network": {"normalization": "batch"}},
    "group normalization": {"network": {"normalization": "group"}},
    "filters 12": {"network": {"filters": 12}},
    "filters 24": {"network": {"filters": 24}},
    "levels 4": {"network": {"levels": 4}},
    "levels 6": {"network": {"levels": 6}},
    "kernel 5": {"network": {"kernel": 5}},
    "foreground null": {"training": {"sampling": {"foreground": None}}},
    "foreground .4": {"training": {"sampling": {"foreground": 0.4}}},
    "foreground .9": {"training": {"sampling": {"foreground": 0.9}}},
    "no augmentation": {"training": {"augmentation": NO_AUGMENTATION}},
    "flips alone": {"training": {"augmentation": {"affine": 0, "intensity": 0}}},
    "no dropout": {"network": {"dropout": 0}},
    "no background prior": {"network": {"background_prior": None}},
    "leaky_relu": {"network": {"activation": "leaky_relu"}},
    "float32": {"training": {"precision": "float32"}},
}


def run(folder: Path, name: str, seed: int, epochs: int) -> dict[str, Any]:
    """Train one variant and score the test patients."""
    from mbhseg.nn.network.saving import load_model

    config = preset("demo")
    recipe = experiments.merged({key: config[key] for key in experiments.RECIPE}, VARIANTS[name])
    recipe["training"] |= {"threads": 1, "epochs": epochs}
    size = config["slices"]["size"]
    with tempfile.TemporaryDirectory() as out:
        record = train_recipe(
            recipe,
            table=data_set(folder),
            root=folder / "results/phantom",
            size=size,
            windows=experiments.windows(config),
            out=Path(out),
            seed=seed,
            cache=folder / "cache",
        )
        scores = TestPatients(folder, size).scores(load_model(Path(out) / "model.keras"))
    return {
        "name": name,
        "seed": seed,
        "seconds": record["timings"]["total_seconds"],
        **scores,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[], help="variants; none: all")
    parser.add_argument("--quick", action="store_true", help="two variants, two epochs each")
    parser.add_argument("--epochs", type=int, default=5, help="of each training")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each variant")
    options = parser.parse_args()
    names = ["default", "plain"] if options.quick else options.names or list(VARIANTS)
    epochs = 2 if options.quick else options.epochs
    config = preset("demo")
    print(f"machine: {machine()}; {epochs} epochs each")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare_data(folder, {k: config[k] for k in ("build", "datasets", "slices", "split")})
        with ThreadPoolExecutor(2) as pool:
            jobs = [
                pool.submit(in_own_process, run, folder, name, seed, epochs)
                for name in names
                for seed in range(1, options.seeds + 1)
            ]
            rows = []
            for job in jobs:
                rows.append(job.result())
                print(line(rows[-1]), flush=True)
    means = pd.DataFrame(rows).groupby("name")["macro"].mean()
    if {"default", "plain"} <= set(means.index):
        print(f"ablation ratio {means['default'] / max(means['plain'], 1e-3):.2f}")


def line(row: dict[str, Any]) -> str:
    """One row of the table of docs/recipe.md."""
    scores = " | ".join(f"{row[key]:.3f}" for key in ("macro", "any", *KEYS))
    return f"| {row['name']} | {row['seconds']:.0f} | {scores} |"


if __name__ == "__main__":
    main()
