"""Toy slices: bright discs on noise, the class told by the disc's grey value."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
import pytest

from mbhseg.classes import CLASSES, KEYS
from mbhseg.config.defaults import defaults
from mbhseg.config.experiments import merged
from mbhseg.files import sha256
from mbhseg.imaging.masks import encode_rgb, read_mask
from mbhseg.imaging.png import write_png
from mbhseg.nn import device
from mbhseg.nn.checkpoint.state import StateFolder
from mbhseg.nn.network import flexunet
from mbhseg.nn.recipe import AugmentationRecipe, SamplingRecipe, TrainingRecipe
from mbhseg.nn.training.fit import TrainOutputs
from mbhseg.nn.training.losses import Loss, make_loss
from mbhseg.nn.training.train import train
from mbhseg.prepare.dataset import ANNOTATION_COLUMNS
from mbhseg.prepare.rasterize import classes_in

WINDOW = {"name": "seed", "level": 127.5, "width": 255.0}
SIZE = 32

# as `train` does it: threads can be set once a process
device.configure(threads=2, deterministic=True)


def toy_slice(rng: np.random.Generator, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 [size, size, 3] and labels uint8 [size, size] with one or two discs."""
    grey = rng.normal(60, 5, (size, size))
    labels = np.zeros((size, size), np.uint8)
    rows, columns = np.mgrid[:size, :size]
    for label in rng.permutation(np.arange(1, 6))[: rng.integers(1, 3)]:
        row, column = rng.uniform(size * 0.2, size * 0.8, 2)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < (size * rng.uniform(0.12, 0.2)) ** 2
        grey[disc] = 80 + 30 * label + rng.normal(0, 5, int(disc.sum()))
        labels[disc] = label
    image = np.clip(grey, 0, 255).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=-1), labels


def write_slices(
    root: Path, cases: dict[str, int], slices: int = 3, size: int = SIZE, seed: int = 0
) -> pd.DataFrame:
    """Write toy PNGs below `root`; `cases` gives the number of cases of each subset."""
    rng = np.random.default_rng(seed)
    rows = []
    for subset, count in cases.items():
        for number in range(count):
            case = f"ID_{subset.encode().hex()[:8]}_ID_{number:010x}"
            for plane in range(slices):
                image, labels = toy_slice(rng, size)
                name = f"{case}_{plane:03d}.png"
                paths = [f"dataset/{subset}/{kind}/{name}" for kind in ("images", "masks")]
                write_png(root / paths[0], image)
                write_png(root / paths[1], encode_rgb(labels))
                drawn = ",".join(KEYS[v - 1] for v in np.unique(labels) if v)
                rows.append((subset, case, plane, *paths, drawn))
    return pd.DataFrame(rows, columns=["subset", "case", "slice", "image", "mask", "classes"])


def write_raters(root: Path, slices: pd.DataFrame) -> pd.DataFrame:
    """Write the masks of two raters a slice, of the third case one: shifted copies of the mask.

    Rater 1 has shifted it down by 2, rater 3 right by 3 pixels, and the SAH is SDH for rater 3.
    """
    rows = []
    for row in slices.itertuples():
        labels = read_mask(root / row.mask)
        drawn = {1: np.roll(labels, 2, axis=0), 3: np.roll(labels, 3, axis=1)}
        drawn[3][drawn[3] == 4] = 5
        if row.case == slices["case"].unique()[2]:
            del drawn[1]
        for rater, mask in drawn.items():
            path = f"annotations/rater{rater}/{Path(row.mask).name}"
            write_png(root / path, encode_rgb(mask))
            rows.append(
                (row.case, row.slice, f"rater{rater}", path, classes_in(mask), sha256(root / path))
            )
    return pd.DataFrame(rows, columns=list(ANNOTATION_COLUMNS))


@pytest.fixture(scope="session")
def toy_raters(toy: tuple[pd.DataFrame, Path]) -> pd.DataFrame:
    """The raters' own masks of the toy data set, as annotations.tsv lists them."""
    return write_raters(toy[1], toy[0])


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    """The manifest of a toy data set and the folder that its paths are relative to."""
    root = tmp_path_factory.mktemp("toy")
    return write_slices(root, {"train": 4, "valid": 2, "test": 1}), root


# the defaults without what a test would have to ask for: no patches, augmentation or sampling
PLAIN_NETWORK: dict[str, Any] = {
    "normalization": None,
    "max_filters": None,
    "input_scale": 1.0,
    "background_prior": None,
}
PLAIN_TRAINING: dict[str, Any] = {
    "epochs": 10,
    "patch": None,
    "optimizer": {"learning_rate": 0.001},
    "early_stopping": {"patience": None},
    "sampling": {"foreground": None},
    "augmentation": {
        name: 8 if name == "elastic_points" else 0
        for name in defaults()["training"]["augmentation"]
    },
    "previews": {"slices": 4},
    "precision": "float32",
    "threads": 2,
}


def network(**changes: Any) -> dict[str, Any]:
    """A whole `network` object: the plain defaults with a test's changes."""
    return defaults()["network"] | PLAIN_NETWORK | changes


def training(**changes: Any) -> dict[str, Any]:
    """A whole `training` object: the plain defaults with a test's changes of single keys."""
    return merged(merged(defaults()["training"], PLAIN_TRAINING), changes)


def recipe(**changes: Any) -> TrainingRecipe:
    """The plain recipe with a test's changes of single keys."""
    return TrainingRecipe.from_config(training(**changes))


def loss_of(name: str, **changes: Any) -> Loss:
    """The loss of that name; keywords change its settings."""
    return make_loss(recipe(loss={"name": name, **changes}).loss)


def sampling_of(**changes: Any) -> SamplingRecipe:
    """Every slice once, but for the changes."""
    return recipe(sampling=changes).sampling


def augmentation_of(**changes: Any) -> AugmentationRecipe:
    """No augmentation, but for the changes."""
    return recipe(augmentation=changes).augmentation


def build(**changes: Any) -> Any:
    """A FlexUNet with the plain settings and a test's changes; `size` is needed."""
    settings = network()
    del settings["model"], settings["options"]
    common = {"channels": 3, "classes": len(CLASSES)}
    return flexunet.build(**(settings | common | changes))


# one level: a step is compiled in a second, where most of a short training's time goes
NETWORK: dict[str, Any] = network(levels=1, filters=8, input_scale=1 / 255)
TRAINING: dict[str, Any] = {
    "epochs": 2,
    "batch": 4,
    "optimizer": {"learning_rate": 0.01},
    "previews": {"slices": 2},
}


TrainToy = Callable[..., TrainOutputs]


@pytest.fixture(scope="session")
def train_toy(toy: tuple[pd.DataFrame, Path], tmp_path_factory: pytest.TempPathFactory) -> TrainToy:
    """Train on the toy slices; keywords replace keys of TRAINING, `seed` the seed."""

    def run(
        *,
        seed: int = 7,
        network: dict[str, Any] | None = None,
        raters: pd.DataFrame | None = None,
        state: StateFolder | None = None,
        checkpoint_minutes: float = 10.0,
        code: str = "",
        **changes: Any,
    ) -> TrainOutputs:
        folder = tmp_path_factory.mktemp("run")
        outputs = TrainOutputs.within(folder)
        train(
            slices=toy[0],
            root=toy[1],
            network=NETWORK | (network or {}),
            training=training(**(TRAINING | changes)),
            input={"size": SIZE, "windows": [WINDOW]},
            identity={"run": f"toy-f0-s{seed}", "experiment": "toy", "fold": 0, "seed": seed},
            outputs=outputs,
            raters=raters,
            state=state,
            checkpoint_minutes=checkpoint_minutes,
            code=code,
        )
        return outputs

    return run
