"""Versions of what is installed, and the state of the code's repository."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from mbhseg.provenance.code import ROOT


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of the named distributions and of Python; absent ones are left out."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state(root: Path = ROOT) -> dict[str, str | bool | None]:
    """The commit that the code is at, and whether tracked files differ from it.

    Both are None where the code is not in a git checkout or git is not installed.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
        return {"commit": git("rev-parse", "HEAD"), "changed": changed}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None}
