"""How long the data stages take with thousands of scans on several nodes, simulated.

    python benchmarks/throughput.py [--quick]

Runs the target `data` on few and on more phantom scans of 512 x 512 x 31, one job at a time, and
takes from the engine's own records what each rule costs a job and a scan. Then plans the same
target with a shard for each core of 1, 4 and 16 nodes of 8 cores, and lets the planned jobs run
there as soon as they can (`mbhseg.cli.plan.makespan`). Not in it: fetching the archive, waiting in
a queue, and a file system that all nodes share, so that the times are the least that there can be.
The last line is `throughput ratio <number>`: the time of 25,000 scans on one node over that on
sixteen.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from _common import machine, prepare_data

from mbhseg.cli.plan import Job, duration, makespan, parse, recorded

SCANS, NODES, NODE_CORES = (2_200, 25_000), (1, 4, 16), 8
ARCHIVE = "results/phantom/raw/archive.zip"


class Cost(NamedTuple):
    """Seconds that a rule takes whatever it gets, and those of each scan."""

    job: float
    scan: float


def data(folder: Path, scans: int, shards: int, *words: str) -> str:
    """Run the target `data` on one core in `folder`, or do what `words` say; what it printed."""
    phantom = {"cases": scans, "size": 512, "slices": 31}
    config = {
        "datasets": {"phantom": {"phantom": phantom}},
        "build": {"datasets": ["phantom"]},
        "shards": shards,
        "split": {"folds": 2},
    }
    return prepare_data(folder, config, *words, cores=1)


def planned(folder: Path, scans: int, shards: int) -> list[Job]:
    """The jobs between the archive and the data set."""
    jobs = parse(data(folder, scans, shards, "-n"))
    return [job for job in jobs if ARCHIVE not in job.outputs]


def measured(folder: Path, scans: int) -> dict[str, float]:
    """Seconds of each rule with so many scans in one shard; the folder keeps the archive."""
    jobs = planned(folder, scans, 1)
    data(folder, scans, 1)
    seconds = {job.rule: recorded(job, folder) for job in jobs}
    return {rule: took for rule, took in seconds.items() if took is not None}


def costs(few: tuple[int, dict[str, float]], more: tuple[int, dict[str, float]]) -> dict[str, Cost]:
    """What a job and a scan cost, from the seconds of each rule at two numbers of scans."""
    found = {}
    for rule, seconds in few[1].items():
        scan = max(0.0, (more[1][rule] - seconds) / (more[0] - few[0]))
        found[rule] = Cost(max(0.0, seconds - scan * few[0]), scan)
    return found


def simulated(jobs: list[Job], cost: dict[str, Cost], scans: int, cores: int) -> float:
    """Seconds of all jobs; those that a rule has share the scans among them."""
    sharing = Counter(job.rule for job in jobs)
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
        plans = {nodes: planned(Path(name, "plan"), 100, nodes * NODE_CORES) for nodes in NODES}
    print(f"machine: {machine()}")
    for rule, (job, scan) in cost.items():
        print(f"{rule:12s} {job:6.2f} s a job {1000 * scan:8.1f} ms a scan")
    print(f"{size / 1e6:.1f} MB of archive a scan")
    took = {}
    for scans in SCANS:
        for nodes, jobs in plans.items():
            took[scans, nodes] = seconds = simulated(jobs, cost, scans, nodes * NODE_CORES)
            print(
                f"{scans:6,} scans, {nodes:2} x {NODE_CORES} cores: {duration(seconds):>11s}, "
                f"{60 * scans / seconds:.0f} scans a minute"
            )
    print(f"throughput ratio {took[SCANS[-1], 1] / took[SCANS[-1], NODES[-1]]:.2f}")


if __name__ == "__main__":
    main()
