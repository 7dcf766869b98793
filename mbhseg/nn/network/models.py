"""Which network: FlexUNet, or any function that returns a Keras model, by dotted path."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from mbhseg.errors import InputError
from mbhseg.nn.network import flexunet

FLEXUNET = "mbhseg.nn.network.flexunet.build"
# where functions were in earlier versions, whose configs and run.json still name them
RENAMED = {"mbhseg.nn.flexunet.build": FLEXUNET}


def up_to_date(network: Mapping[str, Any]) -> dict[str, Any]:
    """The config's `network` object, with the present path of a `model` in `RENAMED`."""
    path = network["model"]
    return {**network, "model": RENAMED.get(path, path)}


def build_model(
    network: Mapping[str, Any],
    *,
    size: int | None,
    channels: int,
    classes: int,
    dtype: str = "float32",
    seed: int = 0,
) -> keras.Model:
    """Build the model that the config's `network` object describes.

    `network["model"]` is the dotted path of a function, or one of `RENAMED`, called as
        f(size=…, channels=…, classes=…, dtype=…, seed=…, **settings)
    that returns a Keras model from grey values [B, size, size, channels], 0..255, to class
    probabilities [B, size, size, classes] float32. `settings` are FlexUNet's own keys for
    FlexUNet, and `network["options"]` for any other function. A `size` of None leaves height and
    width open. `dtype` names a Keras dtype policy.

    Raises InputError if the function cannot be imported, does not take the settings, or its
    model has another output shape.
    """
    network = up_to_date(network)
    path = network["model"]
    function = _function(path)
    if path == FLEXUNET:
        settings = {k: v for k, v in network.items() if k not in ("model", "options")}
    else:
        settings = dict(network.get("options") or {})
    try:
        model = function(
            size=size, channels=channels, classes=classes, dtype=dtype, seed=seed, **settings
        )
    except (TypeError, ValueError) as error:
        raise InputError("network", f"{path}: {error}", "Change the network's settings") from error
    if not isinstance(model, keras.Model) or model.output_shape[1:] != (size, size, classes):
        shape = getattr(model, "output_shape", type(model).__name__)
        raise InputError(
            "network.model",
            f"{path} gives {shape} and not (None, {size}, {size}, {classes})",
            "Return a Keras model that ends in class probabilities at full resolution",
        )
    return model


def computes_in(model: keras.Model) -> str:
    """The type that the model multiplies in: bfloat16 if any of its layers does, else float32."""
    coarse = any(layer.compute_dtype == "bfloat16" for layer in model.layers)
    return "bfloat16" if coarse else "float32"


def in_policy(model: keras.Model, policy: str) -> keras.Model:
    """The same network, with the same weights, computing in another Keras dtype policy.

    The output layers keep their own policy: the softmax stays float32.
    """
    outputs = {tensor._keras_history.operation.name for tensor in model.outputs}

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name not in outputs:
            config["dtype"] = policy
        return layer.__class__.from_config(config)

    copy: keras.Model = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def copy_weights(source: keras.Model, target: keras.Model, where: str | Path) -> None:
    """Give `target` the weights of `source`, which was loaded from `where`.

    Raises InputError unless both have the same weights in the same order.
    """
    shapes = [tuple(weight.shape) for weight in source.weights]
    wanted = [tuple(weight.shape) for weight in target.weights]
    if shapes != wanted:
        raise InputError(
            where,
            f"has {source.count_params():,} parameters in {len(shapes)} weights, the network "
            f"{target.count_params():,} in {len(wanted)}, or their shapes differ",
            "Start from a model of the same network",
        )
    target.set_weights(source.get_weights())


def _function(path: str) -> Callable[..., Any]:
    if path == FLEXUNET:  # an import that the digest of the code sees
        return flexunet.build
    module, _, name = path.rpartition(".")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # where `provenance.code.network_files` looks, too
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            "network.model", f"cannot import {path} ({error})", "Give package.module.function"
        ) from error
    return function


def summary_text(model: keras.Model) -> str:
    """The model's layers, output shapes and parameter counts, as Keras prints them."""
    lines: list[str] = []
    model.summary(line_length=100, print_fn=lambda line, **_: lines.append(line))
    return "\n".join(lines)
