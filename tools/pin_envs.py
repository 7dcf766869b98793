"""Write the pins of envs/*.yaml from what the lock installed here: `make envs`.

Each environment names its roots below; the pins are the roots and everything they require, at
the versions of this interpreter's environment, which requirements.lock made. CUDA is not installed
here: train-gpu is train with the CUDA wheels that its TensorFlow asks for, each at the lowest
version that it takes, which is the only one that TensorFlow's own metadata name.
"""

import importlib.metadata
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENVS = Path(__file__).resolve().parent.parent / "envs"
DATA = (
    *("numpy", "pandas", "scipy", "nibabel", "opencv-python-headless", "simpleitk"),
    "zlib-ng",
    *("huggingface-hub", "tqdm"),
)
ROOTS = {
    "data": DATA,
    "train": (
        *(*DATA, "keras", "tensorflow", "openvino", "matplotlib"),
        *("pydicom", "python-gdcm", "highdicom"),
    ),
    "report": (*DATA, "matplotlib", "jinja2", "pyyaml"),
}
NAMES = (*ROOTS, "train-gpu")
HEADER = "# Made by `make envs` from requirements.lock; a test holds the two together.\n"


def closure(roots: tuple[str, ...]) -> dict[str, str]:
    """Every distribution that the roots need on this platform, with its installed version."""
    found: dict[str, str] = {}
    queue = [Requirement(root) for root in roots]
    while queue:
        wanted = queue.pop()
        extras = wanted.extras or {""}
        if wanted.marker and not any(wanted.marker.evaluate({"extra": e}) for e in extras):
            continue
        name = canonicalize_name(wanted.name)
        if name in found:
            continue
        installed = importlib.metadata.distribution(name)
        found[name] = installed.version
        for line in installed.requires or []:
            needed = Requirement(line)
            if not (needed.marker and re.search(r"\bextra\b", str(needed.marker))):
                queue.append(needed)
    return dict(sorted(found.items()))


def cuda() -> dict[str, str]:
    """The wheels behind TensorFlow's extra `and-cuda`, each at its lowest version."""
    found: dict[str, str] = {}
    for needed in map(Requirement, importlib.metadata.requires("tensorflow") or []):
        asked = needed.marker and needed.marker.evaluate({"extra": "and-cuda"})
        if asked and not needed.marker.evaluate({"extra": ""}):
            (lowest,) = (each.version for each in needed.specifier if each.operator in (">=", "=="))
            found[canonicalize_name(needed.name)] = lowest
    return found


def with_cuda(pins: dict[str, str]) -> dict[str, str]:
    """The same pins, with CUDA for TensorFlow."""
    named = {"tensorflow[and-cuda]" if k == "tensorflow" else k: v for k, v in pins.items()}
    return dict(sorted((named | cuda()).items()))


def pins(name: str) -> dict[str, str]:
    """Distributions and versions of one kind of work."""
    return with_cuda(closure(ROOTS["train"])) if name == "train-gpu" else closure(ROOTS[name])


def text(name: str) -> str:
    """The environment file of one kind of work."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = "".join(f"      - {k}=={v}\n" for k, v in pins(name).items())
    return (
        f"{HEADER}channels:\n  - conda-forge\n  - nodefaults\n"
        f"dependencies:\n  - python={python}\n  - pip\n  - pip:\n{lines}"
    )


if __name__ == "__main__":
    for name in NAMES:
        (ENVS / f"{name}.yaml").write_text(text(name))
