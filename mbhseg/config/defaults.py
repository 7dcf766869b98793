"""The default of every setting: config/config.yaml and no other place."""

import copy
import functools
from pathlib import Path
from typing import Any

import yaml

PACKAGED = Path(__file__).resolve().parent  # where a wheel carries config.yaml and schemas/
CHECKOUT = PACKAGED.parents[1] / "config"


def folder() -> Path:
    """The folder of config.yaml and schemas/: config/ of the checkout, or else the wheel's copy.

    A folder called config that merely lies beside an installed package is no checkout's.
    """
    checkout = (CHECKOUT.parent / "Snakefile").is_file() and (CHECKOUT / "config.yaml").is_file()
    return CHECKOUT if checkout else PACKAGED


def schemas_folder() -> Path:
    """The folder of the configuration's schemas."""
    return folder() / "schemas"


def defaults() -> dict[str, Any]:
    """The default configuration, a copy of the caller's own. Raises OSError if it is missing."""
    return copy.deepcopy(_read(folder() / "config.yaml"))


@functools.cache
def _read(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config
