"""Write the pins of envs/*.yaml from what the lock installed here: `make envs`.

Each environment names its roots below; the pins are the roots and everything they require, at
the versions of this interpreter's environment, which requirements.lock made.
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
    "train": (*DATA, "keras", "tensorflow", "matplotlib", "pydicom", "python-gdcm", "highdicom"),
    "report": (*DATA, "matplotlib", "jinja2", "pyyaml"),
}
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


def text(name: str) -> str:
    """The environment file of one kind of work."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    pins = "".join(f"      - {k}=={v}\n" for k, v in closure(ROOTS[name]).items())
    return (
        f"{HEADER}channels:\n  - conda-forge\n  - nodefaults\n"
        f"dependencies:\n  - python={python}\n  - pip\n  - pip:\n{pins}"
    )


if __name__ == "__main__":
    for name in ROOTS:
        (ENVS / f"{name}.yaml").write_text(text(name))
