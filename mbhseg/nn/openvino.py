"""A trained network compiled by OpenVINO for prediction on CPUs; in 8-bit integers if asked for.

Keras computes a network layer by layer; OpenVINO computes it as a whole, in the layout that suits
the processor's convolutions: the same function in less time (docs/recipe.md). It cannot train.

Post-training quantization (Jacob et al., CVPR 2018): convolutions multiply 8-bit numbers. Weights
have a scale per output channel; the input of a convolution has one for the whole tensor, from the
values that it had on validation slices, `Ranges`. The network's last layer is not quantized.
"""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mbhseg.nn.patches import Network, Pixels, Probabilities

# OpenVINO reports each import to its makers through this package, and does not where it is missing.
# A hospital's computer must send nothing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

Ranges = Mapping[str, Sequence[float]]  # a layer's name -> its least and greatest output

_CHANNELS_FIRST, _CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
_PLANE = (2, 3)  # axes of rows and columns, channels being first
_LEAK = 0.2  # keras.activations.leaky_relu's default, and SELU's constants
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
_LEVELS, _WEIGHT_LIMIT = 256, 127

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "linear": lambda x: x,
    "relu": ops.relu,
    "leaky_relu": lambda x: ops.prelu(x, np.float32(_LEAK)),
    "elu": lambda x: ops.elu(x, 1.0),
    "gelu": lambda x: ops.gelu(x, "erf"),
    "selu": lambda x: ops.selu(x, np.float32(_SELU_ALPHA), np.float32(_SELU_SCALE)),
    "silu": ops.swish,
    "mish": ops.mish,
    "softplus": ops.softplus,
    "tanh": ops.tanh,
    "softmax": lambda x: ops.softmax(x, 1),
}


class UnknownLayer(Exception):
    """A layer that has no translation here."""


def compiled(network: openvino.Model, *, bfloat16: bool, threads: int) -> Network:
    """A translated network as a function of images uint8 [B, H, W, 3], like `predict_on_batch`.

    The answer for a slice depends neither on the number of threads nor on the other slices.

    bfloat16: multiply in bfloat16 where the processor can; probabilities are always float32.
    threads: CPU threads; no more than there are cores are used.

    Raises RuntimeError if OpenVINO cannot compile it.
    """
    request = _request(network, "bf16" if bfloat16 else "f32", threads)

    def answer(images: Pixels) -> Probabilities:
        # fewer slices than threads: OpenVINO would divide a slice among threads, and its sums too
        missing = max(0, threads - len(images))
        padding = np.zeros((missing, *images.shape[1:]), images.dtype)
        found = request.infer(np.concatenate([images, padding]))[0]
        return np.array(found[: len(images)])  # a copy: the next call overwrites `found`

    return answer


def observed(model: keras.Model, batches: Iterable[Pixels], threads: int) -> dict[str, list[float]]:
    """The `Ranges` of the layers whose output is the input of a convolution, for `translated`.

    The least and the greatest value over an image, each averaged over all images uint8 [B, H, W, 3]
    of the batches; no images give no ranges. Raises UnknownLayer as `translated`.
    """
    parameter, made = _operations(model, None)
    names = sorted({name for layer in _quantized(model) for name in _givers(layer.input)})
    nodes = {layer.name: made[id(layer.output)] for layer in model.layers}
    axes = np.array((1, 2, 3))
    ends = [f(nodes[n], axes) for n in names for f in (ops.reduce_min, ops.reduce_max)]
    request = _request(openvino.Model(ends, [parameter], "ranges"), "f32", threads)
    total, count = np.zeros(len(ends)), 0
    for images in batches:
        found = request.infer(np.ascontiguousarray(images))
        total += [float(found[i].sum(dtype=np.float64)) for i in range(len(ends))]
        count += len(images)
    means = (total / count).reshape(-1, 2).tolist() if count else []
    return dict(zip(names, means, strict=False))


def translated(model: keras.Model, ranges: Ranges | None = None) -> openvino.Model:
    """The model's layers as OpenVINO's operations, channels first; any number and size of images.

    With `ranges`, for all layers that `observed` lists, convolutions are quantized.

    Raises UnknownLayer if the model is not made of FlexUNet's kinds of layers, and KeyError if
    `ranges` leaves a layer out.
    """
    parameter, made = _operations(model, ranges)
    answer = ops.transpose(made[id(model.outputs[0])], np.array(_CHANNELS_LAST))
    return openvino.Model([ops.result(answer)], [parameter], model.name)


def _request(network: openvino.Model, precision: str, threads: int) -> Any:
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": False,  # two jobs on a machine would be pinned to the same cores
    }
    return _core().compile_model(network, "CPU", settings).create_infer_request()


@functools.cache
def _core() -> Any:
    """One per process: each installs a stack of its own for signal handlers, and once the last is
    gone that stack is freed memory, so that a SIGTERM would crash."""
    return openvino.Core()


def _operations(model: keras.Model, ranges: Ranges | None) -> tuple[Any, dict[int, Any]]:
    """The graph's input, and the operation that gives each of the model's tensors, by its id."""
    (image,) = model.inputs
    parameter = ops.parameter([-1, -1, -1, image.shape[-1]], np.uint8, name="image")
    grey = ops.transpose(ops.convert(parameter, np.float32), np.array(_CHANNELS_FIRST))
    coarse = _quantized(model) if ranges is not None else []
    limits = _shared(coarse, ranges) if ranges is not None else {}
    made: dict[int, Any] = {}
    for layer in model.layers:
        translate = _TRANSLATIONS.get(type(layer))
        if isinstance(layer, keras.layers.InputLayer):
            x = grey
        elif translate is None:
            raise UnknownLayer(f"{type(layer).__name__} {layer.name}")
        else:
            kernel = {"kernel": _kernel(layer, layer in coarse)} if _convolves(layer) else {}
            x = translate(layer, *(made[id(source)] for source in _inputs(layer)), **kernel)
        made[id(layer.output)] = _rounded(x, *limits[layer.name]) if layer.name in limits else x
    return parameter, made


def _inputs(layer: Any) -> list[Any]:
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _convolves(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose)


def _quantized(model: keras.Model) -> list[Any]:
    """The layers that are quantized: all convolutions but the last."""
    last = {tensor._keras_history.operation.name for tensor in model.outputs}
    return [layer for layer in model.layers if _convolves(layer) and layer.name not in last]


def _givers(tensor: Any) -> Iterator[str]:
    """Names of the layers that computed the tensor's values; some layers only move values."""
    layer = tensor._keras_history.operation
    if type(layer) in (keras.layers.MaxPooling2D, keras.layers.Concatenate, keras.layers.Dropout):
        for source in _inputs(layer):
            yield from _givers(source)
    else:
        yield layer.name


def _shared(coarse: Sequence[Any], ranges: Ranges) -> dict[str, tuple[float, float]]:
    """The range of each layer that feeds a quantized one; layers that are concatenated share one.

    So a skip and the features from below have the same 8-bit scale.
    """
    groups: dict[str, set[str]] = {}
    for layer in coarse:
        names = set(_givers(layer.input))
        joined = names.union(*(groups.get(name, set()) for name in names))
        groups.update(dict.fromkeys(joined, joined))
    return {
        name: (min(ranges[n][0] for n in group), max(ranges[n][1] for n in group))
        for name, group in groups.items()
    }


def _rounded(x: Any, low: float, high: float) -> Any:
    """Values rounded to 256 steps; one of them is exactly 0, as borders are padded with 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / (_LEVELS - 1) or 1.0
    low = -round(-low / step) * step
    ends = np.float32(low), np.float32(low + (_LEVELS - 1) * step)
    return ops.fake_quantize(x, *ends, *ends, _LEVELS)


def _kernel(layer: Any, coarse: bool) -> Any:
    """Keras' kernel [rows, columns, in, out] as [out, in, rows, columns].

    A transposed convolution has in and out exchanged in both.
    """
    weights = np.asarray(layer.kernel, np.float32)
    if not coarse:
        # transposed when it is compiled, in a tenth of numpy's time
        return ops.transpose(ops.constant(weights), np.array((3, 2, 0, 1)))
    out = 2 if isinstance(layer, keras.layers.Conv2DTranspose) else 3
    largest = np.abs(weights).max(
        axis=tuple(axis for axis in range(4) if axis != out), keepdims=True
    )
    step = np.where(largest > 0, largest / _WEIGHT_LIMIT, 1).astype(np.float32)
    whole = np.rint(weights / step).astype(np.int8).transpose(3, 2, 0, 1)
    return ops.multiply(ops.convert(ops.constant(whole), np.float32), step.transpose(3, 2, 0, 1))


def _activated(layer: Any, x: Any) -> Any:
    name = keras.activations.serialize(layer.activation)
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise UnknownLayer(f"activation {name} of {layer.name}")
    return ACTIVATIONS[name](x)


def _with_bias(layer: Any, x: Any) -> Any:
    return ops.add(x, _by_channel(layer.bias)) if layer.use_bias else x


def _by_channel(weight: Any) -> NDArray[np.float32]:
    """One number per channel, shaped to be broadcast over [B, C, H, W]."""
    return np.asarray(weight, np.float32).reshape(1, -1, 1, 1)


def _convolution(layer: Any, x: Any, kernel: Any) -> Any:
    if layer.groups != 1 or layer.data_format != "channels_last":
        raise UnknownLayer(f"convolution {layer.name}")
    strides, dilations = list(layer.strides), list(layer.dilation_rate)
    none = [0, 0]  # `padding` decides
    padding = {"same": "same_upper", "valid": "valid"}[layer.padding]
    x = ops.convolution(x, kernel, strides, none, none, dilations, padding)
    return _activated(layer, _with_bias(layer, x))


def _transposed(layer: Any, x: Any, kernel: Any) -> Any:
    if tuple(layer.strides) != tuple(layer.kernel_size) or layer.data_format != "channels_last":
        raise UnknownLayer(f"transposed convolution {layer.name}")  # its windows would overlap
    x = ops.convolution_backprop_data(x, kernel, list(layer.strides))
    return _activated(layer, _with_bias(layer, x))


def _pooling(layer: Any, x: Any) -> Any:
    if layer.padding != "valid" or layer.data_format != "channels_last":
        raise UnknownLayer(f"pooling {layer.name}")
    none = [0, 0]
    size, strides = list(layer.pool_size), list(layer.strides)
    return ops.max_pool(x, strides, [1, 1], none, none, size).output(0)


def _batch_normalization(layer: Any, x: Any) -> Any:
    scale = 1 / np.sqrt(np.asarray(layer.moving_variance, np.float64) + layer.epsilon)
    scale = scale * np.asarray(layer.gamma) if layer.scale else scale
    shift = -np.asarray(layer.moving_mean) * scale
    shift = shift + np.asarray(layer.beta) if layer.center else shift
    return ops.add(ops.multiply(x, _by_channel(scale)), _by_channel(shift))


def _group_normalization(layer: Any, x: Any) -> Any:
    if layer.groups == layer.input.shape[-1]:
        x = ops.mvn(x, np.array(_PLANE), True, layer.epsilon, "inside_sqrt")
    else:
        # not by ops.group_normalization, whose sums depend on the number of threads
        parts = ops.reshape(x, np.array([0, layer.groups, -1]), special_zero=True)
        parts = ops.mvn(parts, np.array([2]), True, layer.epsilon, "inside_sqrt")
        x = ops.reshape(parts, ops.shape_of(x), special_zero=False)
    x = ops.multiply(x, _by_channel(layer.gamma)) if layer.scale else x
    return ops.add(x, _by_channel(layer.beta)) if layer.center else x


def _rescaling(layer: Any, x: Any) -> Any:
    return ops.add(ops.multiply(x, np.float32(layer.scale)), np.float32(layer.offset))


def _concatenation(layer: Any, *parts: Any) -> Any:
    if layer.axis not in (-1, 3):
        raise UnknownLayer(f"concatenation {layer.name}")
    return ops.concat(list(parts), 1)


def _same(layer: Any, x: Any) -> Any:
    """Dropout, which does nothing in prediction."""
    return x


_TRANSLATIONS: dict[type, Callable[..., Any]] = {
    keras.layers.Conv2D: _convolution,
    keras.layers.Conv2DTranspose: _transposed,
    keras.layers.MaxPooling2D: _pooling,
    keras.layers.BatchNormalization: _batch_normalization,
    keras.layers.GroupNormalization: _group_normalization,
    keras.layers.Rescaling: _rescaling,
    keras.layers.Concatenate: _concatenation,
    keras.layers.Dropout: _same,
}
