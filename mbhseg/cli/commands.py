"""The small commands; the larger ones have modules of their own."""

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mbhseg.errors import InputError
from mbhseg.runtime.extras import not_installed

_OK, _REFUSED = 0, 2
# what completes a word: by the name that the help gives it
_FILES = ("SCAN", "FILE", "ZIP")
_FOLDERS = ("DIR", "MODEL", "RESULTS")


def add_submit(submit: argparse.ArgumentParser) -> None:
    """Options of `mbhseg submit`."""
    submit.set_defaults(run=_submit)
    submit.add_argument("scans", nargs="+", metavar="SCAN", help="the challenge's scans")
    submit.add_argument("--predictions", "-p", required=True, metavar="DIR")
    submit.add_argument("--out", "-o", required=True, metavar="ZIP")


def add_publish(publish: argparse.ArgumentParser) -> None:
    """Options of `mbhseg publish`."""
    publish.set_defaults(run=_publish)
    publish.add_argument("model", metavar="DIR", help="folder with model.keras and run.json")
    publish.add_argument("repo", metavar="OWNER/NAME")
    publish.add_argument("--tag", metavar="NAME", help="a name for this revision")
    publish.add_argument("--private", action="store_true", help="make the repository private")


def add_plan(plan: argparse.ArgumentParser) -> None:
    """Options of `mbhseg plan`; what else is given goes to Snakemake."""
    plan.usage = "mbhseg plan [--cores N] [targets and options of snakemake]"
    plan.allow_abbrev = False
    plan.set_defaults(run=_plan, words=[])  # `main` finds the words that are not ours
    plan.add_argument(
        *("--cores", "-c"),
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="cores that the estimate is for (default: all of this machine)",
    )


def add_compare(compare: argparse.ArgumentParser) -> None:
    """Options of `mbhseg compare`."""
    compare.set_defaults(run=_compare)
    compare.add_argument("left", metavar="RESULTS", help="results/ or results/<dataset>")
    compare.add_argument("right", metavar="RESULTS", help="the same of another run")
    compare.add_argument("--all", action="store_true", help="list identical files, too")


def add_completion(completion: argparse.ArgumentParser) -> None:
    """Options of `mbhseg completion`."""
    completion.description = (
        "Print a script that completes commands, options and files. For bash: mbhseg completion "
        "bash > ~/.local/share/bash-completion/completions/mbhseg, in effect in new shells."
    )
    completion.set_defaults(run=_completion)
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))


def _submit(options: argparse.Namespace) -> int:
    from mbhseg.scans.discovery import find
    from mbhseg.scans.overwrite import refuse_foreign_entry, refuse_over
    from mbhseg.scans.submission import pack

    found, failures = find(options.scans)
    if failures:
        first = failures[0]
        raise InputError(first.file, first.what, first.remedy)
    volumes = (path for path in Path(options.predictions).rglob("*") if path.is_file())
    read = (path for scan in found for path in scan.files)
    refuse_over([*options.scans, *read, *volumes], options.out)
    refuse_foreign_entry(options.out)
    count = pack(options.predictions, found, options.out)
    print(f"{count} volumes, each on the voxels of its scan: {options.out}")
    return _OK


def _publish(options: argparse.Namespace) -> int:
    from mbhseg.inference.bundle import publish

    commit = publish(options.model, options.repo, private=options.private, tag=options.tag)
    print(f"{options.repo}@{options.tag or commit}")
    return _OK


def _plan(options: argparse.Namespace) -> int:
    from mbhseg.cli.plan import parse, report

    if importlib.util.find_spec("snakemake") is None:
        raise not_installed("snakemake")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", *options.words]
    command[4:4] = ["--cores", str(options.cores)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        return _REFUSED
    root = Path(_after(options.words, ("--directory", "-d")) or ".")
    print(report(parse(done.stdout + done.stderr), root, options.cores, {"gpu": 1}))
    return _OK


def _after(words: Sequence[str], names: Sequence[str]) -> str | None:
    """The value of an option among words that are not ours to parse; None if it is not there."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else words[i + 1]
    return None


def _compare(options: argparse.Namespace) -> int:
    from mbhseg.provenance.compare_folders import check, compare

    table = compare(options.left, options.right)
    shown = table if options.all else table[table["status"] != "same"]
    for row in shown.itertuples():
        print(f"{row.status:<20}  {row.file}")
    check(table, options.left, options.right)
    print(f"All {len(table)} files are the same.")
    return _OK


def _completion(options: argparse.Namespace) -> int:
    import shtab

    from mbhseg.cli.main import parser

    top = parser()
    _complete_paths(top, shtab.FILE, shtab.DIRECTORY)
    print(shtab.complete(top, options.shell))
    return _OK


def _complete_paths(
    parser: argparse.ArgumentParser, file: Mapping[str, Any], folder: Mapping[str, Any]
) -> None:
    """Let arguments that are paths, of the parser and of its commands, complete to such."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _complete_paths(each, file, folder)
        elif action.metavar in (*_FILES, *_FOLDERS):
            action.complete = file if action.metavar in _FILES else folder  # type: ignore[attr-defined]
