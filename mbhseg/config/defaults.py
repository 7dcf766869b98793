"""The default configuration: what config/config.yaml says, and no other place."""

import copy
import functools
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).resolve()
# an installed package carries a copy of the file beside this module
_PLACES = (_HERE.with_name("config.yaml"), _HERE.parents[2] / "config" / "config.yaml")


def defaults() -> dict[str, Any]:
    """The whole default configuration; the caller's own copy."""
    return copy.deepcopy(_read())


@functools.cache
def _read() -> dict[str, Any]:
    path = next(place for place in _PLACES if place.is_file())
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config
