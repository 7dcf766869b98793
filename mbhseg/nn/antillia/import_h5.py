"""Import of the reference project's weights: from a Keras 2 file into our network, or not at all.

The numbers in the names of a file's layers depend on the models that its process built before, so
layers are paired by order, kind and shape.
"""

import itertools
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from mbhseg import __version__
from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.files import sha256, write_json
from mbhseg.nn.antillia.keras2 import REMEDY, SavedLayer, SavedModel, open_saved
from mbhseg.nn.network.models import FLEXUNET, build_model, up_to_date
from mbhseg.nn.network.saving import save_model
from mbhseg.provenance.environment import versions

log = logging.getLogger(__name__)

CHANNELS = 3  # of the images
# what the shapes of weights do not show, and a whole model's configuration does
_CHECKED = ("activation", "dilation_rate", "strides", "padding", "data_format", "epsilon")
_SAME_ACTIVATION = {"swish": "silu"}
_GREY_TO_UNIT = 1 / 255


def import_weights(
    path: str | Path,
    network: Mapping[str, Any],
    *,
    size: int,
    channels: int = CHANNELS,
    classes: int = len(CLASSES),
    dtype: str = "float32",
) -> keras.Model:
    """Build the network that `network` describes and give it the weights of a reference file.

    path: a `.h5` file of Keras 2, a whole model or weights alone.
    network: the config's `network` object; it must state the settings of the file's training,
        with `input_scale` 1 for its `input_normalize = False` and 1/255 for True.
    size: edge of the square input; weights fit any size that the levels divide.

    Returns the model, [batch, size, size, channels] grey 0..255 to probabilities [batch, size,
    size, classes] float32. Raises InputError, naming the first layer that does not fit, what was
    found and expected, and the keys to set.
    """
    with open_saved(path) as saved:
        model = build_model(network, size=size, channels=channels, classes=classes, dtype=dtype)
        pairs = list(_paired(saved, model, network, classes))
        _check_settings(saved, model, pairs, _advice(saved, network, classes))
        for found, layer in pairs:
            for weight in layer.weights:
                weight.assign(saved.values(found, weight.name))
        return model


def import_run(
    path: str | Path,
    *,
    network: Mapping[str, Any],
    input: Mapping[str, Any],
    identity: Mapping[str, Any],
    model: str | Path,
    run_json: str | Path,
) -> None:
    """Write a model file and its run.json from a reference file, as a training does.

    input: size (edge in pixels) and windows (name, level, width in HU, one per channel or one for
        all). identity: run, experiment, fold, seed.
    The record's `imported` names the file; what only a training has is empty.
    Raises InputError as `import_weights`.
    """
    began = time.perf_counter()
    size = int(input["size"])
    windows = [
        {"name": w["name"], "level": float(w["level"]), "width": float(w["width"])}
        for w in input["windows"]
    ]
    built = import_weights(path, network, size=size)
    with open_saved(path) as saved:
        source = {"layout": saved.layout, "keras_version": saved.keras_version}
    save_model(built, model)
    record = {
        **{key: identity[key] for key in ("run", "experiment", "fold", "seed")},
        "input": {"size": size, "windows": windows * (CHANNELS if len(windows) == 1 else 1)},
        "classes": [c.key for c in CLASSES],
        "network": up_to_date(network),
        "imported": {"file": Path(path).name, "sha256": sha256(path), **source},
        "parameters": built.count_params(),
        **{key: {} for key in ("training", "best", "data", "device")},
        "versions": {
            "mbhseg": __version__,
            **versions(("keras", "tensorflow", "numpy", "h5py")),
        },
        "timings": {"total_seconds": time.perf_counter() - began},
    }
    write_json(run_json, record)


def settings_of(saved: SavedModel) -> dict[str, Any]:
    """The `network` settings that a file shows; empty if it is no U-Net of convolutions.

    Levels, filters, kernel, normalization and input_scale follow from the layers; activation and
    dilation are known for a whole model only. Dropout has no weights to show it.
    """
    convolutions = [
        layer
        for layer in saved.weighted
        if layer.kind == "Conv2D" and len(layer.shapes.get("kernel", ())) == 4
    ]
    if not convolutions:
        return {}
    kinds = [layer.kind for layer in saved.layers]
    first, levels = convolutions[0], kinds.count("Conv2DTranspose") + 1
    kernel, _, _, filters = first.shapes["kernel"]
    widest = max(layer.shapes["kernel"][3] for layer in convolutions)
    found: dict[str, Any] = {
        "levels": levels,
        "filters": filters,
        "kernel": kernel,
        "max_filters": None if widest == filters * 2 ** (levels - 1) else widest,
        "normalization": "batch" if "BatchNormalization" in kinds else None,
        "input_scale": _input_scale(saved),
    }
    if first.config:
        found["activation"] = _plain(first.config.get("activation"))
        found["dilation"] = _plain(first.config.get("dilation_rate", (1, 1)))[0]
    return found


def _paired(
    saved: SavedModel, model: keras.Model, network: Mapping[str, Any], classes: int
) -> Iterator[tuple[SavedLayer, keras.Layer]]:
    """Layers of the file with the network's, in order; InputError at the first that differ."""
    wanted = [layer for layer in model.layers if layer.weights]
    for found, layer in itertools.zip_longest(saved.weighted, wanted):
        if layer is None:
            problem = f"layer {found.name}, {_text(found.kind, found.shapes)}, is one too many"
        else:
            kind = type(layer).__name__
            shapes = {weight.name: tuple(weight.shape) for weight in layer.weights}
            here = f"the network's {layer.name} is {_text(kind, shapes)}"
            if found is not None and found.kind in ("", kind) and found.shapes == shapes:
                yield found, layer
                continue
            theirs = found and f"layer {found.name} is {_text(found.kind, found.shapes)}"
            problem = f"{theirs or 'the file ends'}, where {here}"
        raise InputError(saved.path, problem, _advice(saved, network, classes))


def _text(kind: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    return f"{kind} with {listed}" if kind else listed


def _check_settings(
    saved: SavedModel,
    model: keras.Model,
    pairs: list[tuple[SavedLayer, keras.Layer]],
    advice: str,
) -> None:
    """Refuse a file whose shapes fit and whose settings would compute something else."""
    rescaling = [x.scale for x in model.layers if isinstance(x, keras.layers.Rescaling)]
    theirs, ours = _input_scale(saved), math.prod(rescaling)
    if not math.isclose(theirs, ours, rel_tol=1e-6):
        problem = f"its network scales grey values by {theirs:.6g}, ours by {ours:.6g}"
        raise InputError(saved.path, problem, advice)
    if saved.layout == "weights":
        log.info("%s is weights alone: activation and dilation are the config's", saved.path)
    for found, layer in pairs:
        settings = layer.get_config()
        for key in _CHECKED:
            if key not in found.config or key not in settings:
                continue
            wanted, has = _plain(settings[key]), _plain(found.config[key])
            if has != wanted:
                problem = (
                    f"layer {found.name} has {key} {has}, where the network's {layer.name} has "
                    f"{wanted}"
                )
                raise InputError(saved.path, problem, advice)


def _input_scale(saved: SavedModel) -> float:
    """What the file's network multiplies grey values by before its first convolution."""
    for layer in saved.layers:
        if layer.kind == "Lambda":
            # ASSUME: the reference project's one Lambda divides by 255 (`input_normalize = True`);
            # its code is not read
            return _GREY_TO_UNIT
        if layer.kind == "Rescaling":
            return float(layer.config.get("scale", _GREY_TO_UNIT))
    return 1.0


def _plain(value: Any) -> Any:
    """A setting of a layer's configuration, alike for Keras 2 and 3."""
    if isinstance(value, Mapping):  # a function, as the later versions of Keras 2 write it
        value = value.get("config")
    if isinstance(value, list | tuple):
        return tuple(value)
    return _SAME_ACTIVATION.get(value, value) if isinstance(value, str) else value


def _advice(saved: SavedModel, network: Mapping[str, Any], classes: int) -> str:
    """Which keys to set, as far as the file shows them."""
    found = settings_of(saved)
    last = saved.weighted[-1].shapes.get("kernel", (0,)) if saved.weighted else (0,)
    if not found or last[-1] != classes:
        return f"{REMEDY} with {classes} classes"
    if up_to_date(network)["model"] != FLEXUNET:
        return f"Set network.model: {FLEXUNET}"
    if found["max_filters"] is None and (network["max_filters"] or 0) >= _widest(found):
        del found["max_filters"]  # the bound has no effect
    changes = [
        f"network.{key}: {json.dumps(value)}"
        for key, value in found.items()
        if value != network[key]
    ]
    return f"Set {', '.join(changes)}" if changes else REMEDY


def _widest(settings: Mapping[str, Any]) -> int:
    return int(settings["filters"] * 2 ** (settings["levels"] - 1))
