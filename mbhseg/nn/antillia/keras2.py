"""The HDF5 files that Keras 2 wrote, read as data.

Two layouts: a whole model (attribute `model_config`, group `model_weights`), as ModelCheckpoint
writes it, or weights alone (the layers' groups at the top). In both, the attribute `layer_names`
lists the layers from input to output, and `weight_names` of a layer's group the data sets in it:

    conv2d_3/conv2d_3/kernel:0

Nothing of a model's configuration is executed (a Lambda layer holds Python bytecode), and no HDF5
link out of the file is followed.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from mbhseg.errors import InputError, reason

REMEDY = "Give the best_model.h5 of a TensorFlow-FlexUNet training"
_KINDS = {
    "conv2d": "Conv2D",
    "conv2d_transpose": "Conv2DTranspose",
    "batch_normalization": "BatchNormalization",
    "lambda": "Lambda",
    "rescaling": "Rescaling",
}


class SavedLayer(NamedTuple):
    """A layer of a file: `weights` are its data sets by name, `config` is what Keras wrote.

    `kind` is the layer's Keras class, empty if the file does not say; `config` is empty if the
    file holds weights alone.
    """

    name: str
    kind: str
    weights: Mapping[str, h5py.Dataset]
    config: Mapping[str, Any]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each weight by name: kernel, bias, gamma, ..."""
        return {name: tuple(data.shape) for name, data in self.weights.items()}


class SavedModel(NamedTuple):
    """The contents of a file: layers from input to output, and what wrote them."""

    path: Path
    layers: Sequence[SavedLayer]
    layout: str  # "model" or "weights"
    keras_version: str | None

    @property
    def weighted(self) -> list[SavedLayer]:
        """The layers that have weights."""
        return [layer for layer in self.layers if layer.weights]

    def values(self, layer: SavedLayer, name: str) -> NDArray[np.float32]:
        """The values of a weight. Raises InputError if they cannot be read or are not finite."""
        with _errors_of(self.path):
            values = np.asarray(layer.weights[name][()], np.float32)
        if not np.isfinite(values).all():
            raise InputError(
                self.path,
                f"{name} of layer {layer.name} is not finite",
                "Take the weights of another epoch: this training has diverged",
            )
        return values


@contextmanager
def open_saved(path: str | Path) -> Iterator[SavedModel]:
    """Open a file for reading; the weights are readable within the context.

    Raises InputError if it is missing, no HDF5, damaged, or not in Keras 2's layout.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "is not there", "Check the path in the experiment's weights")
    with _errors_of(path):
        file = h5py.File(path, "r")
    with file:
        with _errors_of(path):
            saved = _read(path, file)
        yield saved


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn what h5py raises for damaged files into one line."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(path, f"not a readable HDF5 file ({reason(error)})", REMEDY) from error


def _read(path: Path, file: h5py.File) -> SavedModel:
    whole = "model_weights" in file
    group = _member(path, file, "model_weights") if whole else file
    names = _strings(group, "layer_names")
    if names is None:
        known = "layers" in file or "_layer_checkpoint_dependencies" in file
        found = "is in Keras 3's layout of weights" if known else "has no layer_names of Keras"
        raise InputError(path, f"{found}, not in Keras 2's", REMEDY)
    configs = _configs(path, file.attrs.get("model_config"))
    layers = [_layer(path, group, name, *configs.get(name, ("", {}))) for name in names]
    version = (_strings(group, "keras_version") or _strings(file, "keras_version") or [""])[0]
    return SavedModel(path, layers, "model" if whole else "weights", version or None)


def _layer(
    path: Path, group: h5py.Group, name: str, kind: str, config: Mapping[str, Any]
) -> SavedLayer:
    node = _member(path, group, name)
    weights = {}
    for full in _strings(node, "weight_names") or []:
        data = _member(path, node, full)
        elsewhere = isinstance(data, h5py.Dataset) and (data.external or data.is_virtual)
        if not isinstance(data, h5py.Dataset) or elsewhere or data.dtype.kind != "f":
            raise InputError(path, f"{full} of layer {name} is no array of numbers", REMEDY)
        # ".../kernel:0"; a graph that held several models may count on: "kernel_1:0"
        weights[re.sub(r"(_\d+)?(:\d+)?$", "", full.rsplit("/", 1)[-1])] = data
    return SavedLayer(name, kind or _KINDS.get(re.sub(r"_\d+$", "", name), ""), weights, config)


def _member(path: Path, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """The object `name` below `group`, through hard links alone: others may leave the file."""
    node: h5py.Group | h5py.Dataset = group
    for part in name.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise InputError(path, f"{name} is listed in the file but is not in it", REMEDY)
        node = node[part]
    return node


def _strings(node: h5py.Group | h5py.Dataset, key: str) -> list[str] | None:
    """An attribute of strings, None if absent. Keras cuts one above 64 kB into key0, key1, ..."""
    parts = [node.attrs[key]] if key in node.attrs else []
    for i in itertools.takewhile(lambda i: f"{key}{i}" in node.attrs, itertools.count()):
        parts.append(node.attrs[f"{key}{i}"])
    if not parts:
        return None
    values = [value for part in parts for value in np.ravel(np.asarray(part, object))]
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _configs(path: Path, text: Any) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Class and settings of each layer by name, from the JSON of a whole model."""
    if text is None:
        return {}
    try:
        layers = json.loads(text)["config"]["layers"]
        return {e["config"]["name"]: (str(e["class_name"]), dict(e["config"])) for e in layers}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(path, "its model_config is damaged", REMEDY) from error
