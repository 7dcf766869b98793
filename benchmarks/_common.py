"""What the training benchmarks share: presets, processes of their own, and the seed's way."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the package is not installed
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import pandas as pd
import yaml

import mbhseg.nn  # noqa: F401 (it sets up TensorFlow, which must not have been imported before)
from mbhseg.classes import CLASSES
from mbhseg.config import experiments
from mbhseg.config.defaults import defaults
from mbhseg.files import read_table, write_json
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.metrics.pairs import CaseLabels, Pair, PairScores
from mbhseg.metrics.summary import score_table, summarise
from mbhseg.prepare.dataset import in_fold

ROOT = Path(__file__).resolve().parent.parent
N_CLASSES = 6
CORES = len(os.sched_getaffinity(0))


def preset(name: str = "config") -> dict[str, Any]:
    """The configuration of `config/<name>.yaml`, laid over the default as the engine does."""
    over = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    merged: dict[str, Any] = experiments.merged(defaults(), over)
    return merged


def in_own_process(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """The result of a call in a fresh process: TensorFlow fixes its threads when it starts."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        return pool.submit(function, *args, **options).result()


def machine() -> str:
    """The processor and the load on it, to be printed beside every figure."""
    from mbhseg.nn import device

    return f"{device.describe()['name']}, {CORES} cores, load {os.getloadavg()[0]:.1f}"


def seed_process() -> None:
    """Make this process compute as the seed's does: one thread within and between operations."""
    from mbhseg.nn import device

    device.configure(threads=1, deterministic=False)


def seed_model(size: int) -> Any:
    """The seed's network with its optimizer, loss and metric, as config/seed.yaml has them."""
    import keras

    from mbhseg.nn.network.models import build_model
    from mbhseg.nn.training.losses import METRICS

    recipe = experiments.recipe(preset("seed"), "seed")
    network, training = recipe["network"], recipe["training"]
    optimizer = training["optimizer"]
    model = build_model(network, size=size, channels=3, classes=N_CLASSES, seed=137)
    model.compile(
        optimizer=keras.optimizers.Adam(
            optimizer["learning_rate"], clipvalue=optimizer["clip_value"]
        ),
        loss="categorical_crossentropy",
        metrics=[METRICS["dice_coef_multiclass"]],
    )
    return model


def first_scan(archive: Path) -> np.ndarray:
    """HU [x, y, z] of the first scan of an archive."""
    with Archive(archive) as opened:
        scan = next(iter(opened.cases.values()))
        return np.asarray(opened.nifti(scan.image).dataobj)


def write_model(
    folder: Path,
    model: Any,
    images: np.ndarray,
    window: Window,
    patch: dict[str, int] | None,
) -> None:
    """A model as a training leaves it in `folder`, with the ranges that `images` give it."""
    from mbhseg.nn.network.saving import save_model
    from mbhseg.nn.openvino import observed

    save_model(model, folder / "model.keras")
    described = {"size": images.shape[1], "windows": [window._asdict()], "patch": patch}
    ranges = observed(model, [images], CORES)
    run = {"input": described, "classes": [c.key for c in CLASSES], "ranges": ranges}
    write_json(folder / "run.json", run)


def seed_arrays(store: Any) -> tuple[Any, Any]:
    """Images float32 and one-hot masks float32 [N, H, W, 6], in memory, as the seed has them."""
    every = np.arange(len(store))
    images, labels = store.images[every], store.labels[every]
    return images.astype(np.float32), np.eye(N_CLASSES, dtype=np.float32)[labels]


def prepare_data(folder: Path, config: dict[str, Any], *words: str, cores: int = 2) -> str:
    """Run the workflow's target `data` in `folder`, with `config` laid over the default.

    `words` are more of the engine's options. Returns what it printed; if it fails, that is the
    RuntimeError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "benchmark.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "data", "--cores", str(cores), *words]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout + done.stderr


def data_set(folder: Path, fold: int = 0) -> pd.DataFrame:
    """The slices that `prepare_data` made, with their subset; paths lie below results/phantom."""
    place = folder / "results/phantom"
    return in_fold(read_table(place / "dataset.tsv"), read_table(place / f"split/fold{fold}.tsv"))


class TestPatients:
    """The test patients of the data in a folder, and how well a model segments them."""

    def __init__(self, folder: Path, size: int) -> None:
        from mbhseg.nn.feed.store import open_store

        table = data_set(folder)
        tested = table[table["subset"] == "test"]
        self._store = open_store(tested, folder / "results/phantom", size, folder / "cache")

    def scores(self, model: Any) -> dict[str, float]:
        """Mean Dice of the patients who have the class, of each class, any bleed, and `macro`."""
        rows = []
        for case, part in self._store.table.groupby("case"):
            rows_of = part.index.to_numpy()
            images, labels = self._store.images[rows_of], self._store.labels[rows_of]
            predicted = np.concatenate(
                [model.predict_on_batch(images[i : i + 8]) for i in range(0, len(images), 8)]
            ).argmax(axis=-1)
            volumes = {
                "reference": np.asfortranarray(labels.transpose(1, 2, 0)),
                "model": np.asfortranarray(predicted.astype(np.uint8).transpose(1, 2, 0)),
            }
            pairs = PairScores(CaseLabels(str(case), str(case), volumes, np.eye(4)))
            rows += pairs.rows([Pair("model", "reference")])
        summary = summarise(score_table(rows))
        classes = {key: found["dice_present"] for key, found in summary["classes"].items()}
        return {"macro": summary["macro"]["dice_present"], **classes}


def train_recipe(
    recipe: dict[str, Any],
    *,
    table: pd.DataFrame,
    root: Path,
    size: int,
    windows: list[dict[str, Any]],
    out: Path,
    seed: int = 137,
    cache: Path | None = None,
    callbacks: Sequence[Any] = (),
) -> dict[str, Any]:
    """Train `recipe` (network, training) into the folder `out`, to its last epoch; its run.json."""
    from mbhseg.files import read_json
    from mbhseg.nn.training.fit import TrainOutputs
    from mbhseg.nn.training.train import train

    changes = {"early_stopping": {"patience": None}, "previews": {"slices": 0}}
    train(
        slices=table,
        root=root,
        network=recipe["network"],
        training=experiments.merged(recipe["training"], changes),
        input={"size": size, "windows": windows},
        identity={"run": f"r-f0-s{seed}", "experiment": "r", "fold": 0, "seed": seed},
        outputs=TrainOutputs.within(out),
        cache=cache,
        callbacks=callbacks,
    )
    run: dict[str, Any] = read_json(out / "run.json")
    return run
