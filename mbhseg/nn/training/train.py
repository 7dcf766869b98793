"""Train one network on one fold with one seed: from PNG slices to a model folder."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from mbhseg import __version__
from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.files import sha256, write_json
from mbhseg.imaging.windows import Window
from mbhseg.nn import device
from mbhseg.nn.checkpoint.resume import Ledger
from mbhseg.nn.checkpoint.state import StateFolder
from mbhseg.nn.feed.loader import batches
from mbhseg.nn.feed.store import CHANNELS, SliceStore, content_hash, open_store
from mbhseg.nn.network.models import build_model, copy_weights, up_to_date
from mbhseg.nn.network.saving import load_model, save_model
from mbhseg.nn.openvino import UnknownLayer, observed
from mbhseg.nn.patches import Patch, Pixels, seen
from mbhseg.nn.recipe import TrainingRecipe
from mbhseg.nn.training.fit import Fit, TrainOutputs
from mbhseg.provenance.environment import git_state, versions

log = logging.getLogger(__name__)

# settings that change no result: a stopped training is resumed though they differ
_HARMLESS = ("time_budget_minutes", "require_gpu")
_RANGED = 64  # about as many slices give the ranges of the layers
_PACKAGES = ("keras", "tensorflow", "numpy", "opencv-python-headless")


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
    state: StateFolder | None = None,
    code: str = "",
    checkpoint_minutes: float = 10.0,
) -> None:
    """Train and write the outputs; the saved weights are those of the best epoch.

    slices: columns subset (train, valid; others are ignored), case, slice, image, mask (PNG
        paths below `root`), classes (as in `IPH,SAH`), and if known image_sha256, mask_sha256.
    network, training: the objects of the config; see config/schemas/recipe.schema.yaml.
    input: size (edge in pixels) and windows (name, level, width in HU, one per channel or one for
        all three).
    identity: run, experiment, fold, seed.
    cache: folder for the decoded slices, which other trainings on them share; None decodes into a
        temporary folder that is removed after the training.
    raters: the raters' own masks, as annotations.tsv lists them; needed unless `training.targets`
        is the consensus.
    probe: what `mbhseg.nn.training.probe` measured, kept in run.json.
    callbacks: called after the training's own.
    state: where the training is saved and resumed from, to the same outputs bit for bit; the
        caller clears it when its own outputs are complete. None saves nothing.
    code: digest of the code; a state of another digest is not used.
    checkpoint_minutes: how often the state is saved within an epoch.

    Raises InputError if a subset is empty, a PNG does not fit, or the recipe contradicts itself;
    Stopped after SIGTERM, SIGINT or SIGUSR1, with the state saved if there is a `state`.
    """
    recipe, network = TrainingRecipe.from_config(training), up_to_date(network)
    size, windows = int(input["size"]), channel_windows(input["windows"])
    patch = Patch.of(recipe.patch, size, network)
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
    data = content_hash(used, root, raters)
    start = Path(recipe.start_from) if recipe.start_from is not None else None
    started_from = sha256(start) if start is not None and start.is_file() else None
    fingerprint = {
        "settings": _digest(_decisive(recipe), network, input, identity, started_from),
        "data": _digest(data, used[["subset", "case", "slice", "classes"]].to_csv()),
        "code": code,
        "versions": _digest(versions(_PACKAGES)),
    }
    ledger = Ledger(state, fingerprint, checkpoint_minutes)
    seed = int(identity["seed"])
    keras.utils.set_random_seed(seed)  # for networks whose layers have no seeds of their own
    settled = ledger.settle(lambda: _settle(recipe))
    with device.scope(recipe.gpus):
        model = build_model(
            network,
            size=size if patch is None else None,
            channels=CHANNELS,
            classes=len(CLASSES),
            dtype=settled["precision"],
            seed=seed,
        )
    if recipe.start_from is not None:
        copy_weights(load_model(recipe.start_from), model, recipe.start_from)
    with _folder(cache) as folder:
        store = open_store(used, root, size, folder, recipe.threads, raters)
        fit = Fit(model, recipe, store, windows, patch, seed, outputs, identity["run"], ledger)
        fitted = fit.run(callbacks)
        ranges = _ranges(model, store, patch)
    save_model(model, outputs.model)
    run = {
        **{key: identity[key] for key in ("run", "experiment", "fold", "seed")},
        "input": {
            "size": size,
            "windows": [window._asdict() for window in windows],
            "patch": patch._asdict() if patch is not None else None,
        },
        "classes": [c.key for c in CLASSES],
        "network": network,
        "training": dataclasses.asdict(recipe),
        "parameters": model.count_params(),
        "ranges": ranges,
        "best": fitted.best,
        "ended_by": fitted.ended_by,
        "data": {
            "manifest_sha256": data,
            "train_slices": len(store.subset("train")),
            "valid_slices": len(store.subset("valid")),
        },
        "versions": {"mbhseg": __version__, **versions(_PACKAGES)},
        "git": git_state(),
        "device": {
            **device.describe(),
            "precision": settled["precision"],
            "threads": recipe.threads,
        },
        "probe": dict(probe) if probe is not None else None,
        "timings": {**fitted.timings, "total_seconds": ledger.seconds()},
    }
    write_json(outputs.run_json, run)


def _ranges(
    model: keras.Model, store: SliceStore, patch: Patch | None
) -> dict[str, list[float]] | None:
    """The layers' ranges over some validation slices, for quantization; None if there are none."""
    valid = store.subset("valid")
    some = valid[:: max(1, len(valid) // _RANGED)]

    def images() -> Iterator[Pixels]:
        for _, (planes, _) in batches(store, some, 8):
            yield planes[:, *seen(planes, patch)]

    try:
        ranges = observed(model, images(), device.threads())
    except (UnknownLayer, RuntimeError) as error:  # not worth losing a training
        log.info("this network cannot be quantized: %s", error)
        return None
    # a training that diverged has no finite ranges
    return ranges if np.isfinite(list(ranges.values())).all() else None


def channel_windows(windows: list[Mapping[str, Any]]) -> tuple[Window, ...]:
    """One window per channel of the images; a single window is used for all three."""
    named = tuple(Window(w["name"], float(w["level"]), float(w["width"])) for w in windows)
    return named * CHANNELS if len(named) == 1 else named


def _settle(recipe: TrainingRecipe) -> dict[str, Any]:
    """What the machine decides when a training starts; kept when it is resumed elsewhere."""
    return {"precision": device.dtype_policy(recipe.precision)}


def _decisive(recipe: TrainingRecipe) -> dict[str, Any]:
    """The recipe's settings that change results."""
    settings = dataclasses.asdict(recipe)
    return {key: value for key, value in settings.items() if key not in _HARMLESS}


def _digest(*values: Any) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _folder(cache: str | Path | None) -> Iterator[Path]:
    if cache is not None:
        yield Path(cache)
        return
    with tempfile.TemporaryDirectory(prefix="mbhseg-") as folder:
        yield Path(folder)
