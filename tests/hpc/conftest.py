"""A cluster of one node, and a workspace whose jobs it runs."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.hpc import slurm as sandbox
from tests.workspace import TINY, Workspace

# a site's own waiting times are for a site's own machines
QUICK = ("--latency-wait", "5", "--jobs", "8")
SLURM = (
    *("--slurm-init-seconds-before-status-checks", "2"),
    *("--slurm-status-command", "squeue"),  # the cluster has no accounting
)


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> sandbox.Slurm:
    """A running cluster; skips where its daemons are not installed."""
    missing = sandbox.missing()
    if missing:
        pytest.skip(f"no Slurm here ({', '.join(missing)}); .ci/slurm installs it where it can")
    with sandbox.cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


class Site(Workspace):
    """A copy of the workflow on a cluster."""

    def __init__(self, root, slurm: sandbox.Slurm) -> None:
        super().__init__(root)
        self.slurm = slurm

    def start(
        self, *words: str, profile: str = "slurm", config: Path = TINY, **environment: str
    ) -> subprocess.Popen:
        """Snakemake with a profile, not waited for; its output is in controller.log."""
        command = ["snakemake", "--profile", f"profiles/{profile}", *QUICK]
        command += [*(SLURM if profile == "slurm" else ()), *words, "--configfile", str(config)]
        with open(self.root / "controller.log", "w") as log:
            return subprocess.Popen(
                command,
                cwd=self.root,
                env=os.environ | self.slurm.environment | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, *words: str, seconds: float = 900, **more: str) -> str:
        """The same, waited for; its output. A failure or a hang is the test's."""
        process = self.start(*words, **more)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
        text = (self.root / "controller.log").read_text()
        assert code == 0, text
        return text

    def submit_controller(self, *words: str) -> str:
        """Submit controller.sh as the docs say; the job's id."""
        command = ["sbatch", "--parsable", "profiles/slurm/controller.sh", *words, *QUICK, *SLURM]
        return self.slurm.call(*command, "--configfile", str(TINY), cwd=self.root)

    def of_rule(self, name: str) -> list[dict[str, str]]:
        """All jobs of a rule or group so far, oldest first."""
        here = [job for job in self.slurm.history() if job["WorkDir"] == str(self.root)]
        return [job for job in here if job.get("Comment", "").startswith(name)]


@pytest.fixture(scope="module")
def site(slurm, tmp_path_factory) -> Site:
    """The workflow with the profile's lines for a GPU partition taken, as a user would."""
    site = Site(tmp_path_factory.mktemp("site"), slurm)
    profile = site.root / "profiles/slurm/config.yaml"
    text = profile.read_text()
    for line in (
        "- slurm_partition=main",
        *(f"{rule}: {{slurm_partition: gpu}}" for rule in ("train", "probe", "infer", "legacy")),
    ):
        assert text.count(f"  # {line}") == 1
        text = text.replace(f"  # {line}", f"  {line}")
    profile.write_text(text)
    return site
