"""Multi-rater hemorrhage segmentation on head CT: the library behind the workflow."""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["Model", "Prediction", "load_model", "predict", "score"]


def __getattr__(name: str) -> Any:
    """The public API, loaded on first use, so that `import mbhseg` alone is quick."""
    if name in __all__:
        return getattr(importlib.import_module("mbhseg.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
