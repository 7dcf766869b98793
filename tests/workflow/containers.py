"""Podman with a store of its own, for a test that builds an image and runs it."""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TOOLS = ("podman", "mmdebstrap")
RUNTIMES = ("crun", "runc")
GIB = 2**30
STORE = 10 * GIB  # holds the layer twice while it is committed
MANY = 4096  # open files and processes: enough for TensorFlow, and below what machines allow


def missing() -> str:
    """Why no image can be built here, or an empty string."""
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    if absent:
        return f"no {' and no '.join(absent)} here; .ci/containers installs them where it can"
    if os.geteuid() != 0:
        return "making a base image and its users needs root"
    return ""


def call(*words: str | Path, **options) -> str:
    """The output of a command. A failure is the test's, with the last of what was said."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    text = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{text[-5000:]}"
    return text


def _limits() -> list[str]:
    """Flags for limits that this process may set; podman's own may be too high for it."""
    words = []
    for name, kind in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(kind)[1]
        most = MANY if hard == resource.RLIM_INFINITY else min(hard, MANY)
        words += ["--ulimit", f"{name}={most}:{most}"]
    return words


class Podman:
    """Podman whose images lie below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.words = ["podman", "--root", str(root / "store"), "--runroot", str(root / "run")]
        self.environment = os.environ | {"TMPDIR": str(root)}

    def __call__(self, *words: str | Path) -> str:
        return call(*self.words, *words, env=self.environment)

    def refused(self, image: str) -> str:
        """Why no container runs here, or an empty string. Keeps the first runtime that does."""
        reasons = []
        plain = list(self.words)
        for runtime in filter(shutil.which, RUNTIMES):
            self.words = [*plain, "--runtime", runtime]
            try:
                self.run(image, "true")
            except AssertionError as error:
                reasons.append(str(error).splitlines()[-1])
            else:
                return ""
        return "; ".join(reasons) or f"none of {', '.join(RUNTIMES)} is installed"

    def run(self, image: str, *words: str, flags: Sequence[str] = ()) -> str:
        """Run a container without a network, removed when it ends; its output."""
        common = ("--rm", "--network", "none", *_limits())
        return self("run", *common, *flags, image, *words)

    def build(self, context: Path, tag: str, flags: Sequence[str] = ()) -> None:
        """Build the Dockerfile of a folder without a network, in one layer."""
        common = ("--network", "none", "--layers=false", *_limits())
        self("build", *common, *flags, "--tag", tag, context)


@contextmanager
def podman() -> Iterator[Podman]:
    """Podman in a folder that is gone at the end; its name is short, as podman asks for.

    The store lies in memory where there is plenty: disks may take minutes to delete 60,000 files.
    """
    root = Path(tempfile.mkdtemp(prefix="mbhseg-image-"))
    store = root / "store"
    store.mkdir()
    if _memory() > STORE + 4 * GIB:
        words = ("mount", "-t", "tmpfs", "-o", f"size={STORE},mode=700", "mbhseg", store)
        subprocess.run(words, check=False)
    try:
        yield Podman(root)
    finally:
        for folder in (store / "overlay", store):
            if folder.is_mount():
                subprocess.run(["umount", "--recursive", folder], check=True)
        shutil.rmtree(root)


def _memory() -> int:
    """Bytes of memory that can be used without swapping."""
    line = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(line.group(1)) * 1024 if line else 0


def debian_with_python(archive: Path, release: str, python: str) -> None:
    """Make a minimal Debian whose /usr/local holds python and pip, as in the official image."""
    packages = f"python{python}-venv,ca-certificates,netbase,tzdata"
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}"]
    for folder in ("doc", "locale", "man"):
        words.append(f"--dpkgopt=path-exclude=/usr/share/{folder}/*")
    hook = f'chroot "$1" python{python} -m venv /usr/local'
    call(*words, f"--customize-hook={hook}", release, archive)


def download_wheels(lock: Path, folder: Path) -> None:
    """Every distribution of the lock for this Python, by this machine's settings of pip."""
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    call(*words, "--no-deps", "--require-hashes", "-r", lock, "--dest", folder)
