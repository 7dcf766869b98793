"""What is wrong with a machine, and what to do: `mbhseg doctor`, or `make doctor`.

Standard library only, so that it also runs before anything is installed. What the machine
answers is gathered by `examine`; every judgement is a function of that answer.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

OK, NOTE, PROBLEM = "ok", "note", "problem"
PYTHONS = ((3, 11), (3, 13))  # as pyproject.toml says
CONDA = (24, 7, 1)  # what Snakemake asks of conda
# 6,200 slices of 512 x 512: 6.5 GB decoded for training, some 4 GB as PNG, 3 GB of archive; models
DISK_GB = 20
SHARED_MIB = 256  # several GPUs talk through /dev/shm; a container has 64 MiB unless told otherwise
MEMORY_GB = 7  # the training's 6,000 MiB, and the rest of the machine

Ask = Callable[[Sequence[str]], str | None]


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `level` is ok, note (works, with less) or problem (will not work)."""

    level: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level:<8} {self.what}" + (f". {self.remedy}" if self.remedy else "")


def ask(words: Sequence[str]) -> str | None:
    """Output of a command; None if it is not there, fails, or takes more than two minutes."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `mbhseg doctor`, which has none."""
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    """1 if there is a problem."""
    found = examine(Path(), Path(__file__).resolve().parents[2])
    print("\n".join(map(str, found)))
    return int(any(finding.level == PROBLEM for finding in found))


def python(version: tuple[int, int]) -> Finding:
    """Whether the workflow runs on this Python (major, minor)."""
    first, last = PYTHONS
    name = ".".join(map(str, version))
    if first <= version <= last:
        return Finding(OK, f"Python {name}")
    wanted = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
    remedy = f"Install one of {wanted} and run make PYTHON=python{last[0]}.{last[1]} demo"
    return Finding(PROBLEM, f"Python {name}, the workflow needs {wanted}", remedy)


def disk(folder: Path, free: int) -> Finding:
    """`free`: bytes that can be written below `folder`."""
    what = f"{free / 1e9:.0f} GB free at {folder.resolve()}"
    if free >= DISK_GB * 1e9:
        return Finding(OK, what)
    remedy = "Make room, or put the results elsewhere: snakemake --directory /scratch/run1"
    return Finding(NOTE, f"{what}, the real data set takes up to {DISK_GB} GB", remedy)


def shared_memory(size: int | None) -> Finding:
    """`size`: bytes of /dev/shm; None where there is none (other systems than Linux)."""
    if size is None:
        return Finding(NOTE, "no /dev/shm")
    what = f"{size / 2**20:.0f} MiB of shared memory"
    if size >= SHARED_MIB * 2**20:
        return Finding(OK, what)
    return Finding(NOTE, f"{what}, too little for several GPUs", "docker run --shm-size=1g")


def memory(total: int | None) -> Finding:
    """`total`: bytes of main memory; None if it cannot be told."""
    if total is None:
        return Finding(NOTE, "the size of the memory cannot be told")
    what = f"{total / 1e9:.0f} GB of memory"
    if total >= MEMORY_GB * 1e9:
        return Finding(OK, what)
    remedy = "Use a smaller batch, or fewer filters"
    return Finding(NOTE, f"{what}, training at 512 x 512 wants {MEMORY_GB} GB", remedy)


def conda(version: str | None, priority: str | None) -> list[Finding]:
    """`version` as `conda --version` prints it, `priority` as `conda config --get --json` does."""
    if version is None:
        return [Finding(NOTE, "no conda", "Needed for --use-conda only; make demo does without")]
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    wanted = ".".join(map(str, CONDA))
    if numbers < CONDA:
        remedy = "conda update --name base conda"
        found = [Finding(PROBLEM, f"{version}, --use-conda needs {wanted}", remedy)]
    else:
        found = [Finding(OK, version)]
    try:
        value = json.loads(priority or "{}").get("get", {}).get("channel_priority", "flexible")
    except ValueError:
        value = "unknown"
    if value != "strict":
        remedy = "conda config --set channel_priority strict"
        found.append(Finding(NOTE, f"channel priority of conda is {value}", remedy))
    else:
        found.append(Finding(OK, "channel priority of conda is strict"))
    return found


def gpu(driver: str | None, seen: str | None, checkout: bool = True) -> Finding:
    """`driver`: GPU names by nvidia-smi; `seen`: those of TensorFlow, one per line.

    None where there is no driver, or no TensorFlow; an empty text for no GPU. `checkout`: whether
    the package lies in a checkout of the workflow, where make installs.
    """
    if seen is None:
        remedy = "make demo installs it" if checkout else "Run: pip install 'mbhseg[nn]'"
        return Finding(NOTE, "no TensorFlow in this Python", remedy)
    if seen:
        return Finding(OK, f"TensorFlow sees {', '.join(seen.splitlines())}")
    if driver:
        return Finding(
            PROBLEM,
            f"the driver has {', '.join(driver.splitlines())}, TensorFlow sees no GPU",
            'Install its CUDA: grep -o "nvidia-.*" envs/train-gpu.yaml | '
            "xargs .venv/bin/pip install --no-deps"
            if checkout
            else "Install its CUDA: pip install 'tensorflow[and-cuda]'",
        )
    return Finding(NOTE, "no GPU", "Training at 512 x 512 takes days without")


def slurm(partitions: str | None, accounting: str | None) -> list[Finding]:
    """`partitions` by sinfo, `accounting` by sacct; None where it is not there or fails."""
    if partitions is None:
        return []
    found = [Finding(OK, f"Slurm with the partitions {' '.join(partitions.split())}")]
    if accounting is None:
        remedy = "Uncomment slurm-status-command in profiles/slurm/config.yaml"
        found.append(Finding(NOTE, "Slurm without accounting", remedy))
    return found


def installed(
    names: Sequence[str], version: Callable[[str], str | None], lock: str | None
) -> Finding:
    """Whether the packages are there at the versions of the lock (its text).

    Without a lock, as where the package was installed by itself, the versions are only told.
    """
    if lock is None:
        there = [f"{name} {have}" for name in names if (have := version(name))]
        return Finding(OK, f"no requirements.lock to compare with: {', '.join(there) or 'nothing'}")
    odd = []
    for name in names:
        pinned = re.search(rf"^{re.escape(name)}==(\S+)", lock, re.MULTILINE)
        have = version(name)
        if pinned and have != pinned.group(1):
            odd.append(f"{name} {have or 'absent'} instead of {pinned.group(1)}")
    if odd:
        remedy = "make demo installs the lock, in .venv"
        return Finding(NOTE, f"not as in requirements.lock: {', '.join(odd)}", remedy)
    return Finding(OK, "packages as in requirements.lock")


def _version(name: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _size(folder: Path) -> int | None:
    return shutil.disk_usage(folder).total if folder.is_dir() else None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


PACKAGES = ("snakemake", "tensorflow", "keras", "numpy", "nibabel", "pandas")
_SEEN = "from mbhseg.nn.device import gpus; print('\\n'.join(gpus()))"


def examine(folder: Path, root: Path, ask: Ask = ask) -> list[Finding]:
    """Look at this machine: `folder` is where results will lie.

    `root` is the folder that holds the package: a checkout of the workflow, or where pip put it.
    """
    checkout = (root / "Snakefile").is_file() and (root / "requirements.lock").is_file()
    lock = (root / "requirements.lock").read_text() if checkout else None
    has_conda = ask(["conda", "--version"])
    priority = (
        ask(["conda", "config", "--get", "channel_priority", "--json"]) if has_conda else None
    )
    return [
        python(sys.version_info[:2]),
        installed(PACKAGES, _version, lock),
        Finding(OK, f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}"),
        memory(_memory()),
        disk(folder, shutil.disk_usage(folder).free),
        shared_memory(_size(Path("/dev/shm"))),
        gpu(
            ask(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]),
            ask([sys.executable, "-c", _SEEN]) if _version("tensorflow") else None,
            checkout,
        ),
        *conda(has_conda, priority),
        *slurm(ask(["sinfo", "-h", "-o", "%P"]), ask(["sacct", "-n", "-X"])),
    ]
