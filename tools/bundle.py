"""Stage everything that a machine without a network needs into one folder: `make bundle`.

    .venv/bin/python tools/bundle.py OUT [--configfile FILE] [--weights FOLDER ...] [--no-wheels]

OUT then holds
    mbhseg/       the workflow, as git has it, with the archives under results/<dataset>/raw/
                  and the weights under weights/
    wheels/       every distribution of requirements.lock for this platform and Python
    install.sh    makes mbhseg/.venv from them, without a network
    SHA256SUMS    of all of it: `sha256sum --check SHA256SUMS` after the transfer

To be run with the environment of `make demo`, on the platform and with the Python of the other
machine.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RAW = ("archive.zip", "archive.zip.sha256", "source.json")

INSTALL = """\
#!/bin/sh
# Make mbhseg/.venv from wheels/, without a network: sh install.sh [python3.11]
set -eu
cd "$(dirname "$0")/mbhseg"
"${1:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check \\
    --no-index --find-links ../wheels --no-deps --require-hashes -r requirements.lock
.venv/bin/python -m pip install --quiet --disable-pip-version-check \\
    --no-index --no-deps --no-build-isolation --editable .
touch .venv/.locked  # make takes it as installed
echo "Now, in $PWD: .venv/bin/snakemake --cores 8"
"""


def copy_code(out: Path) -> None:
    """Copy what git tracks here into `out`; SystemExit where this is no git checkout."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listed.returncode:
        sys.exit("The bundle takes what git tracks: run it in a git checkout")
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, out / name)


def fetch(folder: Path, configfiles: Sequence[str]) -> None:
    """Fetch, link or generate the archives of the config, and copy them below `folder`.

    The work is done in this working directory, where an archive that is there already is taken.
    """
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    words += ["--cores", "1", "fetch", *(["--configfile", *configfiles] if configfiles else [])]
    subprocess.run(words, check=True)
    for raw in sorted(Path("results").glob("*/raw")):
        target = folder / raw
        target.mkdir(parents=True, exist_ok=True)
        for name in RAW:
            shutil.copy2(raw / name, target / name)  # through the link, where it is one


def download(wheels: Path) -> None:
    """Download every distribution of the lock for this platform and Python."""
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    words += ["--no-deps", "--require-hashes", "-r", str(ROOT / "requirements.lock")]
    subprocess.run([*words, "--dest", str(wheels)], check=True)


def sums(out: Path) -> str:
    """Lines of SHA256SUMS for every file below `out`, by name."""
    lines = []
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name != "SHA256SUMS":
            with open(path, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            lines.append(f"{digest}  {path.relative_to(out).as_posix()}\n")
    return "".join(lines)


def main(words: Sequence[str]) -> None:
    """Make the bundle; SystemExit if OUT is there already and not empty."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--configfile", nargs="+", default=[], help="as for snakemake")
    parser.add_argument("--weights", nargs="+", type=Path, default=[], help="folders of models")
    parser.add_argument("--no-wheels", action="store_true", help="where Python is there already")
    options = parser.parse_args(words)
    if options.out.exists() and any(options.out.iterdir()):
        sys.exit(f"{options.out} is not empty: name another folder, or remove it")
    code = options.out / "mbhseg"
    copy_code(code)
    fetch(code, options.configfile)
    for folder in options.weights:
        shutil.copytree(folder, code / "weights" / folder.name)
    if not options.no_wheels:
        download(options.out / "wheels")
    (options.out / "install.sh").write_text(INSTALL)
    (options.out / "SHA256SUMS").write_text(sums(options.out))
    print(f"{options.out}: copy it, sha256sum --check SHA256SUMS, sh install.sh")


if __name__ == "__main__":
    main(sys.argv[1:])
