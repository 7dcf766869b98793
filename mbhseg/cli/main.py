"""The command `mbhseg`: its parser, and what becomes of errors.

Nothing but the standard library is imported before a command needs more, so that `--help` is quick
and `doctor` runs where nothing is installed.
"""

import argparse
import contextlib
import difflib
import importlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from mbhseg import __version__
from mbhseg.errors import InputError
from mbhseg.runtime.extras import not_installed

PROG = "mbhseg"
OK, FAILED, REFUSED, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141
# what a word names that is a path, by the name that the help gives it
_NAMED = {"SCAN": "scan", "MODEL": "model", "DIR": "folder", "RESULTS": "folder", "ZIP": "file"}


# by name: what it does, and the function of this package that adds its options
_COMMANDS = {
    "infer": ("predict scans", "infer_scans.add_options"),
    "submit": ("check predictions against their scans, and zip them", "commands.add_submit"),
    "publish": ("put a model on the Hugging Face hub", "commands.add_publish"),
    "plan": ("what the workflow would do, why, and for how long", "commands.add_plan"),
    "doctor": ("what is wrong with this machine", "doctor.add_options"),
    "compare": ("compare two results folders", "commands.add_compare"),
    "completion": ("print what completes this command in a shell", "commands.add_completion"),
}


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """The arguments that `main` understands.

    Given a `command`, only that one has its options, as those of the others may need packages.
    """
    top = argparse.ArgumentParser(
        prog=PROG,
        description="Hemorrhage segmentation on head CT: what is useful without the workflow.",
    )
    top.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (told, place) in _COMMANDS.items():
        each = subparsers.add_parser(name, help=told)
        each.set_defaults(parser=each)
        if command in (None, name):
            module, _, function = place.partition(".")
            getattr(importlib.import_module(f"mbhseg.cli.{module}"), function)(each)
    return top


def main(words: Sequence[str] | None = None) -> int:
    """Run a command, by default that of the command line, and give the exit status.

    0: all went well. 1: some scans failed, see failed.tsv. 2: nothing was done. 130: interrupted;
    what was finished is there. 141: nobody read what was printed, as `| head` may not.
    """
    words = sys.argv[1:] if words is None else words
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow is imported only later
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    try:
        with _flushed():
            options = _parse(words)
            _refuse_empty(options)
            return int(options.run(options))
    except InputError as error:
        print(f"{PROG}: {error}", file=sys.stderr)
        return REFUSED
    except ModuleNotFoundError as error:
        if (error.name or PROG).partition(".")[0] == PROG:
            raise
        print(f"{PROG}: {not_installed(str(error.name))}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print(f"{PROG}: interrupted; the finished scans are there", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more
        return UNREAD


@contextlib.contextmanager
def _flushed() -> Iterator[None]:
    """Print all at the end of the block, so that what fails then can still be caught."""
    try:
        yield
    finally:
        sys.stdout.flush()


def _refuse_empty(options: argparse.Namespace) -> None:
    """Raise InputError if a path is an empty word, which would mean the current folder."""
    for action in options.parser._actions:
        given = getattr(options, action.dest, None)
        if action.metavar in _NAMED and "" in (given if isinstance(given, list) else [given]):
            name = action.option_strings[0] if action.option_strings else action.metavar
            what = _NAMED[action.metavar]
            raise InputError(name, f"names no {what}, as it is empty", f"Give a {what}")


def _parse(words: Sequence[str]) -> argparse.Namespace:
    command = words[0] if words else ""
    top = parser(command)
    if command and not command.startswith("-") and command not in _COMMANDS:
        top.error(f"no command {command!r}.{_suggest(command, _COMMANDS)}")
    options, others = top.parse_known_args(words)
    if "words" in options:
        options.words = others
    elif others:
        known = (name for action in options.parser._actions for name in action.option_strings)
        odd = others[0].partition("=")[0]
        hint = _suggest(odd, known) if odd.startswith("-") else ""
        options.parser.error(f"unrecognized arguments: {' '.join(others)}.{hint}")
    options.asked = list(words)
    return options


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""
