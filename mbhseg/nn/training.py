"""Train one network on one fold with one seed: from PNG slices to a model folder."""

import contextlib
import dataclasses
import logging
import math
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd

from mbhseg import __version__
from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.files import write_json
from mbhseg.nn import device
from mbhseg.nn.callbacks import (
    EpochTimes,
    KeepBest,
    TimeBudget,
    Validate,
    WriteHistory,
    direction,
)
from mbhseg.nn.feed import TrainingFeed
from mbhseg.nn.losses import METRICS, Loss, make_loss
from mbhseg.nn.models import build_model, copy_weights, summary_text
from mbhseg.nn.optimizers import learning_rate_reducer, make_optimizer
from mbhseg.nn.pictures import PreviewFolder, choose_previews
from mbhseg.nn.progress import Progress
from mbhseg.nn.recipe import TrainingRecipe
from mbhseg.nn.saving import load_model, save_model
from mbhseg.nn.store import CHANNELS, SliceStore, content_hash, open_store
from mbhseg.nn.supervision import with_heads
from mbhseg.windows import Window

log = logging.getLogger(__name__)


class TrainOutputs(NamedTuple):
    """Where a training writes: files, and the folder of previews."""

    model: Path
    history: Path
    curves: Path
    run_json: Path
    previews: Path


def train(
    *,
    slices: pd.DataFrame,
    root: str | Path,
    network: Mapping[str, Any],
    training: Mapping[str, Any],
    input: Mapping[str, Any],
    identity: Mapping[str, Any],
    outputs: TrainOutputs,
    cache: str | Path | None = None,
    probe: Mapping[str, Any] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    raters: pd.DataFrame | None = None,
) -> None:
    """Train and write the outputs; the saved weights are those of the best epoch.

    slices: columns subset (train, valid; others are left aside), case, slice, image, mask (PNG
        paths below `root`), classes (as in `IPH,SAH`), and if known image_sha256, mask_sha256.
    network, training: the objects of the config; see config/schemas/recipe.schema.yaml.
    input: size (edge in pixels) and windows (name, level, width in HU, one a channel or one for
        all three).
    identity: run, experiment, fold, seed.
    cache: folder for the decoded slices, which other trainings on them then share; None decodes
        into a temporary folder that goes away with the training.
    raters: the raters' own masks, as annotations.tsv lists them; needed where `training.targets` is
        not the consensus.
    probe: what `mbhseg.nn.probe` measured, kept in run.json.
    callbacks: called after the training's own, for watching.

    Raises InputError if a subset is empty, a PNG does not fit, or the recipe contradicts itself.
    """
    began = time.perf_counter()
    recipe = TrainingRecipe.from_config(training)
    size, windows = int(input["size"]), channel_windows(input["windows"])
    used = slices[slices["subset"].isin(["train", "valid"])].reset_index(drop=True)
    for subset in ("train", "valid"):
        if not (used["subset"] == subset).any():
            raise InputError(
                f"subset {subset} of {identity['run']}", "has no slices", "Give it cases in split"
            )

    if recipe.targets == "consensus":
        raters = None
    elif raters is None:
        raise InputError("training.targets", f"{recipe.targets} needs the raters' own masks", "")

    device.configure(threads=recipe.threads, deterministic=recipe.deterministic)
    device.check(require_gpu=recipe.require_gpu)
    seed = int(identity["seed"])
    keras.utils.set_random_seed(seed)  # for networks whose layers have no seeds of their own
    precision = device.dtype_policy(recipe.precision)
    model = build_model(
        network, size=size, channels=CHANNELS, classes=len(CLASSES), dtype=precision, seed=seed
    )
    if recipe.start_from is not None:
        copy_weights(load_model(recipe.start_from), model, recipe.start_from)
    if recipe.summary:
        log.info("network of %s\n%s", identity["run"], summary_text(model))
    with _folder(cache) as folder:
        store = open_store(used, root, size, folder, recipe.threads, raters)
        found = _Session(model, recipe, store, windows, seed, outputs, identity["run"]).run(
            callbacks
        )
    save_model(model, outputs.model)
    run = {
        **{key: identity[key] for key in ("run", "experiment", "fold", "seed")},
        "input": {"size": size, "windows": [window._asdict() for window in windows]},
        "classes": [c.key for c in CLASSES],
        "network": dict(network),
        "training": dataclasses.asdict(recipe),
        "parameters": model.count_params(),
        "best": found.best,
        "data": {
            "manifest_sha256": content_hash(used, root, raters),
            "train_slices": len(store.subset("train")),
            "valid_slices": len(store.subset("valid")),
        },
        "versions": _versions(),
        "device": {**device.describe(), "precision": precision, "threads": recipe.threads},
        "probe": dict(probe) if probe is not None else None,
        "timings": {**found.timings, "total_seconds": time.perf_counter() - began},
    }
    write_json(outputs.run_json, run)


def channel_windows(windows: list[Mapping[str, Any]]) -> tuple[Window, ...]:
    """One window a channel of the images; a single window stands for all three."""
    named = tuple(Window(w["name"], float(w["level"]), float(w["width"])) for w in windows)
    return named * CHANNELS if len(named) == 1 else named


class _Found(NamedTuple):
    best: dict[str, float]
    timings: dict[str, Any]


class _Session:
    """One call of fit: what it needs, in the order in which it is made."""

    def __init__(
        self,
        model: keras.Model,
        recipe: TrainingRecipe,
        store: SliceStore,
        windows: tuple[Window, ...],
        seed: int,
        outputs: TrainOutputs,
        title: str,
    ) -> None:
        self._recipe, self._store, self._outputs, self._title = recipe, store, outputs, title
        self._feed = TrainingFeed(
            store,
            store.subset("train"),
            batch=recipe.batch,
            sampling=recipe.sampling,
            augmentation=recipe.augmentation,
            windows=windows,
            seed=seed,
            targets=recipe.targets,
        )
        self._loss: Loss = make_loss(
            recipe.loss.name,
            class_weights=recipe.loss.class_weights,
            dice_weight=recipe.loss.dice_weight,
            gamma=recipe.loss.gamma,
            alpha=recipe.loss.alpha,
            beta=recipe.loss.beta,
        )
        # a second model on the same layers is compiled, so that the one that is saved
        # carries neither optimizer nor loss, nor auxiliary heads
        self._trainer = with_heads(model, recipe.deep_supervision, seed)
        self._trainer.compile(
            optimizer=make_optimizer(
                recipe.optimizer,
                recipe.schedule,
                steps_per_epoch=self._feed.steps_per_epoch,
                epochs=recipe.epochs,
            ),
            loss=self._loss,
            metrics=[METRICS[name] for name in recipe.metrics],
            jit_compile=False,  # XLA measured slower on CPUs, and compiles anew for a last batch
        )

    def run(self, watching: Sequence[keras.callbacks.Callback] = ()) -> _Found:
        recipe, valid = self._recipe, self._store.subset("valid")
        chosen = choose_previews(self._store, valid, recipe.previews.slices)
        previews = PreviewFolder(self._outputs.previews, self._store, chosen)
        mode = direction(recipe.monitor)
        times, best = EpochTimes(), KeepBest(recipe.monitor)
        progress = Progress(recipe.epochs, self._feed.steps_per_epoch, self._feed.slices_per_epoch)
        # every callback sees in the logs what those before it have put there
        callbacks: list[keras.callbacks.Callback] = [times]
        if recipe.optimizer.ema is not None:
            callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
        callbacks += [
            Validate(self._loss, self._store, valid, recipe.batch, previews, recipe.previews.every),
            best,
            WriteHistory(self._outputs.history, self._outputs.curves, self._title),
            progress,
            *learning_rate_reducer(recipe.schedule, recipe.monitor, mode),
        ]
        if recipe.early_stopping.patience is not None:
            callbacks.append(
                keras.callbacks.EarlyStopping(
                    monitor=recipe.monitor, mode=mode, patience=recipe.early_stopping.patience
                )
            )
        if recipe.time_budget_minutes is not None:
            callbacks.append(TimeBudget(recipe.time_budget_minutes))
        callbacks += watching
        try:
            self._trainer.fit(
                iter(self._feed),
                epochs=recipe.epochs,
                steps_per_epoch=self._feed.steps_per_epoch,
                callbacks=callbacks,
                shuffle=False,  # the feed has its own order
                verbose=0,
            )
        finally:
            self._feed.close()
        best.restore()
        previews.write_filmstrip()
        return _Found(best.best, self._timings(times))

    def _timings(self, times: EpochTimes) -> dict[str, Any]:
        seconds = math.fsum(times.training)
        drawn = self._feed.slices_per_epoch * len(times.training)
        # the first epoch holds the compilation, so the median epoch tells the speed
        typical = float(np.median(times.training))
        return {
            "training_seconds": seconds,
            "validation_seconds": math.fsum(times.after),
            "data_wait_seconds": self._feed.seconds_waited,
            "images": drawn,
            "images_per_second": self._feed.slices_per_epoch / typical,
            "epoch_seconds": times.training,
        }


@contextlib.contextmanager
def _folder(cache: str | Path | None) -> Iterator[Path]:
    if cache is not None:
        yield Path(cache)
        return
    with tempfile.TemporaryDirectory(prefix="mbhseg-") as folder:
        yield Path(folder)


def _versions() -> dict[str, str]:
    packages = ("keras", "tensorflow", "numpy", "opencv-python-headless")
    return {
        "mbhseg": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
