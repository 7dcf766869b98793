"""Versions of installed packages, and the git state of the code."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from mbhseg.provenance.code import ROOT


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions of the named distributions and of Python; absent ones are left out."""
    installed = {"python": platform.python_version()}
    for name in packages:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def git_state(root: Path = ROOT) -> dict[str, str | bool | None]:
    """The commit of the code, and whether tracked files differ from it.

    Both are None if the code is not in a git checkout or git is not installed.
    """

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
        return {"commit": git("rev-parse", "HEAD"), "changed": changed}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None}
