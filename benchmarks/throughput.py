"""How long the data stages take with thousands of scans on several nodes, simulated.

    python benchmarks/throughput.py [--quick]

Runs the target `data` on few and on more phantom scans of 512 x 512 x 31, one job at a time, and
takes from the engine's own records what each rule costs a job and a scan. Then plans the same
target with a shard for each core of 1, 4 and 16 nodes of 8 cores, and lets the planned jobs run
there as soon as they can (`mbhseg.plan.makespan`). Not in it: fetching the archive, waiting in a
queue, and a file system that all nodes share, so that the times are the least that there can be.
The last line is `throughput ratio <number>`: the time of 25,000 scans on one node over that on
sixteen.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the package is not installed

from mbhseg import config as settings
from mbhseg.plan import Job, duration, makespan, parse, recorded

ROOT = Path(__file__).resolve().parent.parent
SCANS, NODES, CORES = (2_200, 25_000), (1, 4, 16), 8
SHAPE = {"size": 512, "slices": 31}
ARCHIVE = "results/phantom/raw/archive.zip"
COMMON: dict[str, Any] = {"build": {"datasets": ["phantom"]}, "split": {"folds": 2}}


class Cost(NamedTuple):
    """Seconds that a rule takes whatever it gets, and those of each scan."""

    job: float
    scan: float


def engine(folder: Path, scans: int, shards: int, *words: str) -> str:
    """Run the engine up to the target `data` in `folder`; what it printed."""
    folder.mkdir(parents=True, exist_ok=True)
    sets = {"datasets": {"phantom": {"phantom": {"cases": scans, **SHAPE}}}, "shards": shards}
    path = folder / "benchmark.yaml"
    path.write_text(yaml.safe_dump(settings.merged(COMMON, sets)))
    command = [sys.executable, "-m", "snakemake", "data", *words, "--directory", str(folder)]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout + done.stderr


def planned(folder: Path, scans: int, shards: int) -> list[Job]:
    """The jobs between the archive and the data set."""
    jobs = parse(engine(folder, scans, shards, "-n", "--cores", "1"))
    return [job for job in jobs if ARCHIVE not in job.outputs]


def measured(folder: Path, scans: int) -> dict[str, float]:
    """Seconds of each rule with so many scans in one shard; the folder keeps the archive."""
    jobs = planned(folder, scans, 1)
    engine(folder, scans, 1, "--cores", "1")
    return {job.rule: recorded(job, folder) or 0.0 for job in jobs}


def costs(few: tuple[int, dict[str, float]], more: tuple[int, dict[str, float]]) -> dict[str, Cost]:
    """What a job and a scan cost, from the seconds of each rule at two numbers of scans."""
    found = {}
    for rule, seconds in few[1].items():
        scan = max(0.0, (more[1][rule] - seconds) / (more[0] - few[0]))
        found[rule] = Cost(max(0.0, seconds - scan * few[0]), scan)
    return found


def simulated(jobs: list[Job], cost: dict[str, Cost], scans: int, cores: int) -> float:
    """Seconds of all jobs; those that a rule has share the scans among them."""
    sharing = {rule: sum(job.rule == rule for job in jobs) for rule in cost}
    seconds = [cost[j.rule].job + cost[j.rule].scan * scans / sharing[j.rule] for j in jobs]
    return makespan(jobs, seconds, cores, {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 and 6 scans instead of 6 and 24")
    numbers = (3, 6) if parser.parse_args().quick else (6, 24)
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name, str(scans)) for scans in numbers]
        few, more = (
            (scans, measured(folder, scans)) for scans, folder in zip(numbers, folders, strict=True)
        )
        cost = costs(few, more)
        size = (folders[1] / ARCHIVE).stat().st_size / numbers[1]
        plans = {nodes: planned(Path(name, "plan"), 100, nodes * CORES) for nodes in NODES}
    for rule, (job, scan) in cost.items():
        print(f"{rule:12s} {job:6.2f} s a job {1000 * scan:8.1f} ms a scan")
    print(f"{size / 1e6:.1f} MB of archive a scan")
    took = {}
    for scans in SCANS:
        for nodes, jobs in plans.items():
            took[scans, nodes] = seconds = simulated(jobs, cost, scans, nodes * CORES)
            pace = f"{60 * scans / seconds:.0f} scans a minute"
            print(f"{scans:6,} scans, {nodes:2} x {CORES} cores: {duration(seconds):>11s}, {pace}")
    print(f"throughput ratio {took[SCANS[-1], 1] / took[SCANS[-1], NODES[-1]]:.2f}")


if __name__ == "__main__":
    main()
