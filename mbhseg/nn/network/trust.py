"""What a model file from elsewhere may hold: layers, and no code."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mbhseg.errors import InputError

_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_TRUSTED = re.compile(
    r"keras(\.src)?(\.(activations|constraints|dtype_policies|initializers|layers|models|regularizers)"
    r"(\.\w+)*)?|mbhseg\.nn(\.\w+)*"
)


def refuse_foreign_code(path: str | Path) -> None:
    """Raise InputError unless a `.keras` file can do no more than Keras's own layers can.

    For files from elsewhere: Keras imports and calls whatever module a layer names. Allowed are
    the modules of Keras's and this package's layers, no Lambda, and the format's three files.
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
    """Every object of a config, nested ones included."""
    if isinstance(node, dict):
        yield node
    for child in (
        node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    ):
        yield from _parts(child)
