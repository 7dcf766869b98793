"""How a workflow script runs: its log, its errors, its exit status."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mbhseg.errors import InputError, Stopped

_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def run(main: Callable[[Any], None], job: Any) -> None:
    """Call `main(job)`, `job` being Snakemake's `snakemake` object.

    Everything printed or logged goes to the rule's log file; on a terminal the progress bar
    stays on the screen. Bad input ends in one line and exit status 1, a signal that the job
    handles in one line and 128 + its number, a bug in a traceback in the log.
    """
    log = str(job.log[0]) if job.log else os.devnull
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    stream = open(log, "w", buffering=1, encoding="utf-8")  # noqa: SIM115 - lives with the process
    os.dup2(stream.fileno(), sys.stdout.fileno())
    if not sys.stderr.isatty():
        os.dup2(stream.fileno(), sys.stderr.fileno())
    logging.basicConfig(stream=stream, level=logging.INFO, format=_FORMAT, force=True)
    logging.captureWarnings(True)
    # Snakemake tells numpy's libraries their threads; OpenCV would take every core
    os.environ["OPENCV_FOR_THREADS_NUM"] = str(job.threads)
    try:
        _check_library(str(getattr(job, "scriptdir", "")))
        main(job)
    except InputError as error:
        logging.error("%s", error)
        if sys.stderr.isatty():
            print(f"mbhseg: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stop:
        logging.warning("%s", stop)
        if sys.stderr.isatty():
            print(f"mbhseg: {stop}", file=sys.stderr)
        sys.exit(stop.status)
    except Exception:
        logging.exception("%s failed", job.rule)
        sys.exit(1)


def _check_library(scripts: str) -> None:
    """Raise InputError if the library is not the one beside the folder of the workflow's scripts.

    Snakemake puts the workflow's folder behind the installed packages on the path of a job.
    """
    own = Path(scripts).resolve().parent / "mbhseg"
    used = Path(__file__).resolve().parents[1]
    if scripts and own.is_dir() and own != used:
        raise InputError(
            used,
            f"is installed in this Python, and the workflow's own library is {own}",
            "Run: pip uninstall mbhseg",
        )
