"""A copy of the workflow in a folder of its own, driven through the real engine."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from mbhseg.provenance.compare_folders import check, compare

REPO = Path(__file__).resolve().parents[1]
PARTS = (
    *("Snakefile", "rules", "config", "workflow_scripts"),
    *("mbhseg", "envs", "profiles", "captions"),
)
TINY = REPO / "tests" / "workflow" / "tiny.yaml"


def engine_command(*words: str, config: Path = TINY) -> list[str]:
    """The command line that runs the engine on two cores, unless the words say otherwise."""
    # --configfile is last, as it takes several words
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *words]
    return [*command, "--configfile", str(config)]


class Workspace:
    """A copy of the workflow in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            source = REPO / part
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, root / part, ignore=ignore)
            else:
                shutil.copy2(source, root / part)

    def copied(self, root: Path) -> "Workspace":
        """Another workspace with the same results, for a test that changes them."""
        copy = Workspace(root)
        for folder in ("results", ".snakemake"):
            shutil.copytree(self.root / folder, root / folder, symlinks=True)
        return copy

    def snakemake(
        self, *words: str, config: Path = TINY, ok: bool = True, offline: bool = False
    ) -> str:
        """Run the engine here; its output. With `ok` a failure is the test's.

        With `offline` no process of the run can open an internet socket, see `no_internet`.
        """
        command = engine_command(*words, config=config)
        if offline:
            command = [sys.executable, str(REPO / "tests" / "no_internet.py"), *command]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        text = done.stdout + done.stderr
        assert not ok or done.returncode == 0, text
        return text

    def planned(self, *words: str, config: Path = TINY) -> dict[str, int]:
        """The jobs that a dry run would do, by rule."""
        text = self.snakemake("-n", *words, config=config)
        if "Nothing to be done" in text:
            return {}
        table = text.split("Job stats:")[1].split("total")[0]
        return {name: int(n) for name, n in re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}


def assert_same_results(finished: Workspace, root: Path) -> None:
    """Whatever a run has made below `root` is, byte for byte, what the finished one has.

    Other tests may have made more in the finished one. Times and logs are no part of it.
    """
    here, there = finished.root / "results", root / "results"
    table = compare(here, there)
    table = table[table["status"] != "only left"]
    check(table, here, there)
    assert "tiny/models/flexunet-f0-s1/model.keras" in set(table["file"])
