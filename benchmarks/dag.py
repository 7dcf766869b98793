"""Time the engine alone: a dry run and a run with nothing to do, at 20 cases and at 20,000.

    python benchmarks/dag.py [--quick]

Lays out a finished run of the phantom's config for either number of cases: tables with a row a
case and 31 rows a slice, a PNG a case in the folders of images and masks, everything else empty;
`snakemake --touch` takes it as made. Then plans another training (`-n`) and calls `snakemake` with
nothing to do, in turns, and takes the least CPU time of each (user and system, all threads), so
that a busy machine does not decide. The last line is `dag ratio <number>`: the time of both at
20,000 cases over that at 20. It should stay near 1, as no job is one of a case.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the package is not installed

from mbhseg.cli.plan import parse

ROOT = Path(__file__).resolve().parent.parent
CASES = (20, 20_000)
SLICES = 31  # of a case, the median of MBH-Seg25
ENGINE = [sys.executable, "-m", "snakemake", "--cores", "2"]
CONFIG = ["--configfile", str(ROOT / "config" / "demo.yaml")]
CALLS = {
    "dry run": ["-n", "--forcerun", "train"],
    "nothing to do": [],
}
FILES = {".tsv", ".csv", ".json", ".png", ".zip", ".keras", ".sha256", ".md", ".tfevents", ".npz"}


def lay_out(folder: Path, cases: int) -> None:
    """A finished run of so many cases in `folder`, as far as the engine looks."""
    for part in ("Snakefile", "rules", "config", "workflow_scripts", "mbhseg", "envs", "profiles"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, folder / part)
    shutil.copytree(ROOT / "report", folder / "report")
    dry = subprocess.run(
        [*ENGINE, "-n", *CONFIG], cwd=folder, capture_output=True, text=True, check=True
    )
    for job in parse(dry.stdout + dry.stderr):
        for name in job.outputs:
            write(folder / name, cases)
    subprocess.run(
        [*ENGINE, "--touch", *CONFIG], cwd=folder, capture_output=True, text=True, check=True
    )


def write(path: Path, cases: int) -> None:
    """An output in the size that it has with so many cases."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix not in FILES:
        for kind in ("images", "masks"):
            (path / kind).mkdir(parents=True, exist_ok=True)
            for i in range(cases if path.name == "dataset" else 0):
                (path / kind / f"ID_{i:08x}_000.png").touch()
    elif path.suffix in (".tsv", ".csv"):
        rows = cases * (SLICES if path.stem in ("slices", "dataset", "annotations") else 1)
        digest = "0" * 64
        lines = (f"ID_{i:08x}\t{i}\t{digest}\n" for i in range(rows))
        path.write_text("file\tn\tsha256\n" + "".join(lines))
    else:
        path.write_bytes(b"")


def cpu_seconds(folder: Path, words: list[str]) -> float:
    """CPU seconds of one call; RuntimeError with its output if it fails or does work."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*ENGINE, *words, *CONFIG], cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode()
    expected = "Job stats:" if "-n" in words else "Nothing to be done"
    if process.returncode or expected not in text:
        raise RuntimeError(text)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds instead of five")
    rounds = 2 if parser.parse_args().quick else 5
    with tempfile.TemporaryDirectory() as name:
        folders = {cases: Path(name, str(cases)) for cases in CASES}
        for cases, folder in folders.items():
            folder.mkdir()
            lay_out(folder, cases)
        least: dict[tuple[int, str], float] = {}
        for _ in range(rounds):
            for cases, folder in folders.items():
                for call, words in CALLS.items():
                    seconds = cpu_seconds(folder, words)
                    least[cases, call] = min(seconds, least.get((cases, call), seconds))
    for call in CALLS:
        few, many = (least[cases, call] for cases in CASES)
        print(
            f"{call:<14} {few:.2f} s of CPU at {CASES[0]} cases, {many:.2f} s at {CASES[1]:,}: "
            f"{many / few:.2f} times"
        )
    few, many = (sum(least[cases, call] for call in CALLS) for cases in CASES)
    print(f"dag ratio {many / few:.3f}")


if __name__ == "__main__":
    main()
