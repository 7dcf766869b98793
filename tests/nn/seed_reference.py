"""The reference project's network again, in plain Python and NumPy, from its published
construction: its layers and their shapes, what it computes, and the files Keras 2 makes of it.

Imports nothing of mbhseg, so that it is independent of it.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.special import erf, expit

CHANNELS, CLASSES = 3, 6
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
EPSILON = 1e-3  # of Keras' batch normalization

Weights = list[dict[str, np.ndarray]]


@dataclass(frozen=True)
class Settings:
    """What a train_eval_infer.config of the reference project says of the network."""

    levels: int  # num_layers
    filters: int  # base_filters
    kernel: int = 3  # base_kernels
    dilation: int = 1
    dropout: float = 0.05  # dropout_rate
    normalization: bool = False
    activation: str = "relu"
    normalize_input: bool = False  # input_normalize
    size: int = 32

    def network(self) -> dict[str, Any]:
        """The same as our configuration says it."""
        return {
            "model": "mbhseg.nn.network.flexunet.build",
            "levels": self.levels,
            "filters": self.filters,
            "kernel": self.kernel,
            "dilation": self.dilation,
            "dropout": self.dropout,
            "normalization": "batch" if self.normalization else None,
            "activation": self.activation,
            "max_filters": None,
            "input_scale": 1 / 255 if self.normalize_input else 1.0,
            "background_prior": None,
            "options": {},
        }


@dataclass(frozen=True)
class Layer:
    """One layer: Keras class, output [rows, columns, channels], weights' shapes, settings."""

    kind: str
    output: tuple[int, int, int]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dilation: int = 1
    activation: str = "linear"
    rate: float = 0.0


def construction(s: Settings) -> list[Layer]:
    """The layers from input to output, as the reference code strings them together.

    Kernels and dilations are listed for the way down by counting down to a floor of 3 and 1, and
    read backwards on the way up.
    """
    kernels, dilations = [], []
    k, d = s.kernel, s.dilation
    for _ in range(s.levels):
        kernels.append(k)
        dilations.append(d)
        k, d = max(k - 2, 3), max(d - 1, 1)

    layers: list[Layer] = []
    if s.normalize_input:
        layers.append(Layer("Lambda", (s.size, s.size, CHANNELS)))

    def convolve(size: int, inputs: int, i: int) -> None:
        width = s.filters * 2**i
        shapes = {"kernel": (kernels[i], kernels[i], inputs, width), "bias": (width,)}
        out = (size, size, width)
        layers.append(Layer("Conv2D", out, shapes, dilations[i], s.activation))
        if s.normalization:
            layers.append(Layer("BatchNormalization", out, dict.fromkeys(BATCH_NORM, (width,))))

    def block(size: int, inputs: int, i: int) -> None:
        width = s.filters * 2**i
        convolve(size, inputs, i)
        layers.append(Layer("Dropout", (size, size, width), rate=s.dropout * i))
        convolve(size, width, i)

    size, channels = s.size, CHANNELS
    for i in range(s.levels):
        block(size, channels, i)
        channels = s.filters * 2**i
        if i < s.levels - 1:
            size //= 2
            layers.append(Layer("MaxPooling2D", (size, size, channels)))
    for i in range(s.levels - 2, -1, -1):
        width = s.filters * 2**i
        size *= 2
        shapes = {"kernel": (2, 2, width, channels), "bias": (width,)}
        layers.append(Layer("Conv2DTranspose", (size, size, width), shapes))
        layers.append(Layer("Concatenate", (size, size, 2 * width)))
        block(size, 2 * width, i)
        channels = width
    shapes = {"kernel": (1, 1, channels, CLASSES), "bias": (CLASSES,)}
    layers.append(Layer("Conv2D", (size, size, CLASSES), shapes, 1, "softmax"))
    return layers


def parameters(layers: list[Layer]) -> int:
    """Numbers in all weights, the statistics of normalization included."""
    return sum(int(np.prod(shape)) for layer in layers for shape in layer.shapes.values())


def draw_weights(s: Settings, seed: int) -> Weights:
    """Random weights for each layer that has some, with statistics far from 0 and 1."""
    rng = np.random.default_rng(seed)
    drawn = []
    for layer in construction(s):
        weights = {}
        for name, shape in layer.shapes.items():
            if name == "kernel":
                inputs = shape[3] if layer.kind == "Conv2DTranspose" else np.prod(shape[:3])
                values = rng.normal(0, np.sqrt(2 / inputs), shape)
            elif name in ("gamma", "moving_variance"):
                values = rng.uniform(0.5, 1.5, shape)
            else:
                values = rng.normal(0, 0.2, shape)
            weights[name] = values.astype(np.float32)
        if weights:
            drawn.append(weights)
    return drawn


def moderate(s: Settings, weights: Weights, images: np.ndarray) -> None:
    """Scale the last kernel so that no probability is near 0 or 1, where errors would hide."""
    features = run(s, weights, images, last=False)
    logits = features @ weights[-1]["kernel"][0, 0]
    weights[-1]["kernel"] /= np.float32(logits.std())


def run(s: Settings, weights: Weights, images: np.ndarray, *, last: bool = True) -> np.ndarray:
    """Probabilities [B, H, W, 6] float64 of images [B, H, W, 3]; without `last` the features
    that the last convolution sees."""
    x = images.astype(np.float64)
    left, skips = iter(weights), []
    layers = construction(s)
    for layer in layers if last else layers[:-1]:
        if layer.kind == "Lambda":
            x = x / 255
        elif layer.kind == "Conv2D":
            w = next(left)
            x = ACTIVATIONS[layer.activation](convolve(x, w["kernel"], layer.dilation) + w["bias"])
        elif layer.kind == "BatchNormalization":
            w = next(left)
            x = (x - w["moving_mean"]) / np.sqrt(w["moving_variance"] + EPSILON)
            x = x * w["gamma"] + w["beta"]
        elif layer.kind == "MaxPooling2D":
            skips.append(x)
            b, h, v, c = x.shape
            x = x.reshape(b, h // 2, 2, v // 2, 2, c).max(axis=(2, 4))
        elif layer.kind == "Conv2DTranspose":
            w = next(left)
            b, h, v, _ = x.shape
            spread = np.einsum("bhvi,yxoi->bhyvxo", x, w["kernel"].astype(np.float64))
            x = spread.reshape(b, 2 * h, 2 * v, -1) + w["bias"]
        elif layer.kind == "Concatenate":
            x = np.concatenate([x, skips.pop()], axis=-1)
    return x


def convolve(x: np.ndarray, kernel: np.ndarray, dilation: int) -> np.ndarray:
    """Correlation with zeros around, output of the input's size (TensorFlow's SAME)."""
    _, h, w, _ = x.shape
    rows, columns = ((n - 1) * dilation for n in kernel.shape[:2])
    around = [(rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)]
    padded = np.pad(x, [(0, 0), *around, (0, 0)])
    out = np.zeros((*x.shape[:3], kernel.shape[3]))
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            y, z = i * dilation, j * dilation
            out += padded[:, y : y + h, z : z + w] @ kernel[i, j].astype(np.float64)
    return out


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def _negative_exponential(x: np.ndarray) -> np.ndarray:
    return np.expm1(np.minimum(x, 0))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda x: np.where(x > 0, x, _negative_exponential(x)),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * _negative_exponential(x))
    ),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "silu": lambda x: x * expit(x),
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "softplus": _softplus,
    "tanh": np.tanh,
    "softmax": _softmax,
}


_STEMS = {
    "Conv2D": "conv2d",
    "Conv2DTranspose": "conv2d_transpose",
    "BatchNormalization": "batch_normalization",
    "Dropout": "dropout",
    "MaxPooling2D": "max_pooling2d",
    "Concatenate": "concatenate",
    "Lambda": "lambda",
    "InputLayer": "input",
}


def named(layers: list[Layer], before: int = 0) -> Iterator[tuple[str, Layer]]:
    """Layers with the names Keras 2 gives in a session that built `before` such models before."""
    layers = [Layer("InputLayer", layers[0].output), *layers]
    counted = {kind: before * sum(x.kind == kind for x in layers) for kind in _STEMS}
    for layer in layers:
        number = counted[layer.kind]
        counted[layer.kind] += 1
        stem = _STEMS[layer.kind]
        if layer.kind == "InputLayer":  # counts from 1
            yield f"{stem}_{number + 1}", layer
        else:
            yield (f"{stem}_{number}" if number else stem), layer


def write_h5(
    path: Path,
    s: Settings,
    weights: Weights,
    *,
    whole: bool = True,
    before: int = 0,
    attribute_limit: int = 64_000,
) -> None:
    """Write a file as Keras 2.15 does: a whole model, or weights alone.

    Held to files of TensorFlow 2.15 itself by test_the_layout_is_that_of_tensorflow_2_15.
    `attribute_limit` is the size in bytes above which a list of names is cut in pieces.
    """
    layers = list(named(construction(s), before))
    left = iter(weights)
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if whole else file
        for node in {file, group}:
            node.attrs["backend"], node.attrs["keras_version"] = "tensorflow", "2.15.0"
        _list(group, "layer_names", [name for name, _ in layers], attribute_limit)
        for name, layer in layers:
            node = group.create_group(name)
            full = [f"{name}/{weight}:0" for weight in layer.shapes]
            _list(node, "weight_names", full, attribute_limit)
            if layer.shapes:
                for path_in_file, values in zip(full, next(left).values(), strict=True):
                    node.create_dataset(path_in_file, data=values)
        _list(group.create_group("top_level_model_weights"), "weight_names", [], attribute_limit)
        if whole:
            file.attrs["model_config"] = json.dumps(_model_config(s, layers))
            file.attrs["training_config"] = json.dumps({"loss": "categorical_crossentropy"})
            file.create_group("optimizer_weights")


def _list(node: h5py.Group, key: str, names: list[str], limit: int) -> None:
    encoded = [name.encode() for name in names]
    pieces = -(-np.asarray(encoded).nbytes // limit)
    if pieces <= 1:
        node.attrs[key] = encoded  # strings of variable length; pieces have a fixed one
        return
    for i, piece in enumerate(np.array_split(np.asarray(encoded), pieces)):
        node.attrs[f"{key}{i}"] = piece


def _model_config(s: Settings, layers: list[tuple[str, Layer]]) -> dict[str, Any]:
    listed = []
    for name, layer in layers:
        config: dict[str, Any] = {"name": name, "trainable": True, "dtype": "float32"}
        if layer.kind == "Conv2D":
            config |= {
                "filters": layer.shapes["bias"][0],
                "kernel_size": list(layer.shapes["kernel"][:2]),
                "strides": [1, 1],
                "padding": "valid" if layer.activation == "softmax" else "same",
                "data_format": "channels_last",
                "dilation_rate": [layer.dilation] * 2,
                "activation": layer.activation,
            }
        elif layer.kind == "Conv2DTranspose":
            config |= {
                "filters": layer.shapes["bias"][0],
                "kernel_size": [2, 2],
                "strides": [2, 2],
                "padding": "same",
                "data_format": "channels_last",
                "dilation_rate": [1, 1],
                "activation": "linear",
            }
        elif layer.kind == "BatchNormalization":
            config |= {"axis": [3], "momentum": 0.99, "epsilon": EPSILON}
        elif layer.kind == "Dropout":
            config |= {"rate": layer.rate}
        elif layer.kind == "Lambda":
            # what must never run: bytecode would stand here
            config |= {"function": ["bm90IGJ5dGVjb2Rl\n", None, None], "function_type": "lambda"}
        listed.append({"class_name": layer.kind, "name": name, "config": config})
    return {"class_name": "Functional", "config": {"name": "model", "layers": listed}}
