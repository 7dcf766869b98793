"""Python environments with other versions than ours, made once and kept in the user's cache."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_MINUTES = 15


def python_with(name: str, requirements: list[str], *, version: str | None = None) -> Path:
    """The interpreter of an environment that holds `requirements`; skips if none can be made.

    version: of Python, as in "3.11", where the requirements need one; ours otherwise.
    The environment lies in $XDG_CACHE_HOME/mbhseg (~/.cache/mbhseg), one folder a set of
    requirements, and can be deleted at any time.
    """
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = sys.executable if version in (None, ours) else shutil.which(f"python{version}")
    if base is None:
        pytest.skip(f"{name} needs python{version}, which is not installed")
    key = hashlib.sha256("\n".join([version or ours, *requirements]).encode()).hexdigest()[:8]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "mbhseg" / f"{name}-{key}"
    python, complete = folder / "bin" / "python", folder / ".complete"
    if complete.is_file() and python.exists():
        return python
    try:
        shutil.rmtree(folder, ignore_errors=True)
        for command in (
            [base, "-m", "venv", str(folder)],
            # compiling every module of TensorFlow takes longer than to fetch it
            [str(python), "-m", "pip", "install", "-q", "--no-compile", *requirements],
        ):
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=60 * _MINUTES
            )
    except (OSError, subprocess.SubprocessError) as error:
        last = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        pytest.skip(f"no environment with {' '.join(requirements)}: {last}")
    complete.touch()
    return python


def tensorflow_215() -> Path:
    """The last TensorFlow with Keras 2."""
    small = sys.platform == "linux" and platform.machine() == "x86_64"
    package = "tensorflow-cpu" if small else "tensorflow"
    return python_with("tensorflow-2.15", [f"{package}==2.15.*"], version="3.11")


def run_quietly(python: Path, *words: str, **environment: str) -> None:
    """Run a script there, on the CPU, two threads at most; a failure shows what it printed."""
    threads = {"OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [str(python), *words],
        env=os.environ | threads | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
