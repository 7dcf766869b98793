"""Keras model files: written atomically, equal bytes for equal weights, and loaded safely."""

import json
import zipfile
from pathlib import Path

import keras

from mbhseg.errors import InputError, reason
from mbhseg.files import ZIP_EPOCH, atomic_file


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
                entry = zipfile.ZipInfo(name, ZIP_EPOCH)
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


def load_model(path: str | Path) -> keras.Model:
    """Load a `.keras` file for inference, without running any code that it may carry.

    Raises InputError if the file is missing, broken, or would need to run code.
    """
    if not Path(path).is_file():
        raise InputError(path, "no such model", "Train it, or give the folder of a run")
    try:
        return keras.saving.load_model(Path(path), compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            path, f"not a loadable model ({reason(error)})", "Train it again"
        ) from error
