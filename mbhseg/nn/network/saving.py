"""Keras model files: written whole, the same bytes for the same weights, and loaded safely."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from mbhseg.errors import InputError
from mbhseg.files import atomic_file

_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_TRUSTED = re.compile(
    r"keras(\.src)?(\.(activations|constraints|dtype_policies|initializers|layers|models|regularizers)"
    r"(\.\w+)*)?|mbhseg\.nn(\.\w+)*"
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


def save_model(model: keras.Model, path: str | Path) -> None:
    """Write `.keras`, whole or not at all, without the time of day in it."""
    with atomic_file(path) as partial:
        model.save(partial, include_optimizer=False)
        _forget_time(partial)


def _forget_time(path: Path) -> None:
    stamped = path.with_name("stamped-" + path.name)
    path.replace(stamped)
    try:
        with zipfile.ZipFile(stamped) as source, zipfile.ZipFile(path, "w") as target:
            for name in sorted(source.namelist()):
                entry = zipfile.ZipInfo(name, _EPOCH)
                if name == "metadata.json":
                    metadata = json.loads(source.read(name))
                    metadata.pop("date_saved", None)
                    target.writestr(entry, json.dumps(metadata))
                else:
                    with source.open(name) as read, target.open(entry, "w") as write:
                        while chunk := read.read(1 << 24):
                            write.write(chunk)
    finally:
        stamped.unlink(missing_ok=True)


def refuse_foreign_code(path: str | Path) -> None:
    """Raise InputError unless a `.keras` file can do no more than Keras's own layers can.

    For files of others: Keras imports whatever module a layer names, and calls it. Allowed are the
    modules of Keras's and this package's layers, no Lambda, and the three files of the format.
    """
    remedy = "Do not load it; get the model from a source you trust"
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            config = json.loads(archive.read("config.json"))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(path, f"not a readable model ({error})", "Fetch it again") from error
    if strangers := sorted(names - _MEMBERS):
        raise InputError(path, f"holds {strangers[0]!a}, which no model needs", remedy)
    for part in _parts(config):
        module, name = part.get("module"), part.get("class_name")
        if module is not None and not _TRUSTED.fullmatch(str(module)):
            raise InputError(path, f"wants to run code of {str(module)!a}", remedy)
        if name in ("Lambda", "__lambda__"):
            raise InputError(path, "holds code of its own (Lambda)", remedy)


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of a config, the nested ones too."""
    if isinstance(node, dict):
        yield node
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from _parts(child)


def load_model(path: str | Path) -> keras.Model:
    """Load a `.keras` file for inference, without running any code that it may carry.

    Raises InputError if the file is missing, broken, or would need to run code.
    """
    if not Path(path).is_file():
        raise InputError(path, "no such model", "Train it, or give the folder of a run")
    try:
        return keras.saving.load_model(Path(path), compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(path, f"not a loadable model ({reason})", "Train it again") from error
