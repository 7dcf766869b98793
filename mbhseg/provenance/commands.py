"""The command lines that made a results folder."""

import datetime
import shlex
import sys
from pathlib import Path

COMMANDS = Path("logs/commands.tsv")  # below results/


def note_command(results: str | Path) -> None:
    """Append time and command line of this process to the list of commands below `results`."""
    path = Path(results) / COMMANDS
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(f"{now}\t{shlex.join(words)}\n")


def last_command(results: str | Path) -> str | None:
    """The last command line in the list below `results`; None if there is none."""
    path = Path(results) / COMMANDS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return lines[-1].split("\t", 1)[1] if lines else None
