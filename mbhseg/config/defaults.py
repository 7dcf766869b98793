"""The default configuration: config/config.yaml, the one place where defaults are kept.

In a checkout it is the repository's file, in an installed package the copy that travels with it.
"""

import copy
import functools
from pathlib import Path
from typing import Any

import yaml

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1] / "config"


def _folder() -> Path:
    """The folder that holds config.yaml and schemas/."""
    own = (_CHECKOUT / "config.yaml").is_file() and (_CHECKOUT / "schemas").is_dir()
    return _CHECKOUT if own else _PACKAGE


def schemas_folder() -> Path:
    """The folder of the configuration's schemas."""
    return _folder() / "schemas"


def defaults() -> dict[str, Any]:
    """The default configuration, every key of it; a copy that the caller may change."""
    return copy.deepcopy(_read())


@functools.cache
def _read() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((_folder() / "config.yaml").read_text("utf-8"))
    return config
