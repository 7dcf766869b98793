"""What a run of the workflow would do, why, and how long that took before.

Snakemake's own dry run is read, so that the plan is what will happen
(docs/decisions/0009-plan-reads-the-dry-run.md); the times are those that its benchmarks recorded.
"""

import ast
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mbhseg.errors import InputError
from mbhseg.runtime.durations import duration

# the jobs of a group are indented
_HEAD = re.compile(r"^ *(?:local)?(?:rule|checkpoint) (\w+):$")
_FIELD = re.compile(r"^ {4,}(\w+): (.*)$")
_TOTAL = re.compile(r"^total +(\d+)$", re.MULTILINE)
_FOLLOWS = "Input files updated by another job"


@dataclass(frozen=True)
class Job:
    """A job of a dry run; `resources` without strings, `reasons` as Snakemake words them."""

    rule: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    benchmark: str = ""
    threads: int = 1
    resources: Mapping[str, int] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


def parse(text: str) -> list[Job]:
    """The jobs in the text of `snakemake -n`, in its order; none if nothing is to be done.

    Rules without work of their own (no output and no benchmark, such as `all`) are left out.
    Raises InputError if the text does not tell all the jobs that it counts.
    """
    jobs: list[Job] = []
    rule, fields, heads = "", dict[str, str](), 0
    for line in [*text.splitlines(), ""]:
        if head := _HEAD.match(line):
            rule, fields, heads = head.group(1), {}, heads + 1
        elif rule and (part := _FIELD.match(line)):
            fields[part.group(1)] = part.group(2)
        elif rule and not line.startswith(" "):
            if "output" in fields or "benchmark" in fields:
                jobs.append(_job(rule, fields))
            rule = ""
    total = _TOTAL.search(text)
    counted = int(total.group(1)) if total else 0
    if counted != heads or not (total or "Nothing to be done" in text):
        raise InputError(
            "snakemake --dry-run",
            f"prints {heads} of {counted} jobs in a form that is known here",
            "Leave out --quiet, or read what `snakemake -n` prints",
        )
    return jobs


def _job(rule: str, fields: Mapping[str, str]) -> Job:
    pairs = (word.split("=", 1) for word in _words(fields.get("resources", "")) if "=" in word)
    return Job(
        rule=rule,
        inputs=_words(fields.get("input", "")),
        outputs=_words(fields.get("output", "")),
        benchmark=fields.get("benchmark", ""),
        threads=int(fields.get("threads", 1)),
        resources={key: int(value) for key, value in pairs if value.isdigit()},
        reasons=tuple(part for part in fields.get("reason", "").split("; ") if part),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(", ") if word)


def recorded(job: Job, root: Path) -> float | None:
    """Seconds that the job took the last time below `root`, the working directory.

    Where it has not run yet, the mean of what its rule took for other wildcards or data sets;
    None if there is no record at all.
    """
    if not job.benchmark:
        return None
    own = _seconds(root / job.benchmark)
    if own is not None:
        return own
    folder = root / "results" / "benchmarks"
    files = [*folder.glob(f"*/{job.rule}/*.tsv"), *folder.glob(f"*/{job.rule}.tsv")]
    times = [seconds for path in files if (seconds := _seconds(path)) is not None]
    return statistics.fmean(times) if times else None


def _seconds(path: Path) -> float | None:
    """Column `s` of a benchmark's last row; None if there is no such file, or it is cut."""
    try:
        rows = [line.split("\t") for line in path.read_text().splitlines()]
        return float(rows[-1][rows[0].index("s")])
    except (OSError, ValueError, IndexError):
        return None


def before(jobs: Sequence[Job]) -> list[set[int]]:
    """For each job the jobs (by index) whose outputs it reads, a folder's files included."""
    makers = {path: i for i, job in enumerate(jobs) for path in job.outputs}
    needs = []
    for i, job in enumerate(jobs):
        mine = set()
        for path in job.inputs:
            for name in (path, *map(str, Path(path).parents)):
                mine |= {makers[name]} if name in makers else set()
        needs.append(mine - {i})
    return needs


def makespan(
    jobs: Sequence[Job], seconds: Sequence[float], cores: int, limits: Mapping[str, int]
) -> float:
    """Seconds from start to end if the jobs run on `cores`, each as soon as it can.

    `limits`: of a resource, what there is of it (`{"gpu": 1}`). A job that wants more than there
    is runs alone. No jobs take 0 s.
    """
    waiting, needs = set(range(len(jobs))), before(jobs)
    running: dict[int, float] = {}
    done: set[int] = set()
    now = 0.0
    while waiting or running:
        for i in sorted(waiting):
            if needs[i] <= done and _fits(jobs[i], [jobs[j] for j in running], cores, limits):
                waiting.remove(i)
                running[i] = now + seconds[i]
        if not running:
            raise ValueError("the jobs wait for each other in a circle")
        now = min(running.values())
        ended = {i for i, end in running.items() if end <= now}
        done |= ended
        running = {i: end for i, end in running.items() if i not in ended}
    return now


def _fits(job: Job, running: Sequence[Job], cores: int, limits: Mapping[str, int]) -> bool:
    if not running:
        return True
    if sum(min(other.threads, cores) for other in (*running, job)) > cores:
        return False
    return all(
        sum(other.resources.get(name, 0) for other in (*running, job)) <= limit
        for name, limit in limits.items()
    )


def why(job: Job, follows: Iterable[str]) -> list[str]:
    """The reasons in a few words; `follows` names the rules whose outputs it reads."""
    words = []
    for reason in job.reasons:
        what, _, names = reason.partition(": ")
        if what == _FOLLOWS:
            continue
        if what == "Missing output files":
            words.append("not made yet")
        elif what.startswith("Params have changed"):
            words.append(_changed(names))
        elif what.startswith("Software environment"):
            words.append("its environment changed")
        elif what == "Updated input files":
            words.append(f"changed: {_few(_words(names))}")
        elif what.startswith("Set of input files has changed"):
            words.append("other inputs")
        else:
            words.append(reason)
    rules = list(dict.fromkeys(follows))
    if rules and not (words and words != ["not made yet"]):
        words.append(f"follows {_few(rules)}")
    return words


def _changed(text: str) -> str:
    """What differs in a rule's params, from Snakemake's `...before: x now: y`.

    A digest is that of the code. Of dictionaries only the keys that differ are told.
    """
    _, _, both = text.partition("before: ")
    old, _, new = both.strip().partition(" now: ")
    digest = r"(<nothing exclusive>|[0-9a-f]{16}|'[0-9a-f]{16}')"
    if re.fullmatch(digest, old) and re.fullmatch(digest, new):
        return "code changed"
    try:
        was, now = ast.literal_eval(old), ast.literal_eval(new)
    except (ValueError, SyntaxError):
        return f"settings changed: {_short(old)} -> {_short(new)}"
    old_of, new_of = _flat(was), _flat(now)
    keys = sorted(k for k in {*old_of, *new_of} if old_of.get(k) != new_of.get(k))
    pairs = [f"{k} {_short(str(old_of.get(k)))} -> {_short(str(new_of.get(k)))}" for k in keys]
    return f"settings changed: {_few([pair.strip() for pair in pairs], 3)}"


def _flat(value: Any, above: str = "") -> dict[str, Any]:
    """Nested settings by dotted names; any other value by the name above it."""
    if not isinstance(value, dict):
        return {above: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _flat(item, f"{above}.{key}" if above else str(key))
    return found


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _few(names: Sequence[str], most: int = 2) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def report(
    jobs: Sequence[Job], root: Path, cores: int, limits: Mapping[str, int] | None = None
) -> str:
    """The plan as a text: a line for each rule, and how long it all takes on `cores`.

    Times are recorded ones below `root`; rules without a record are named and left out of the sum.
    """
    if not jobs:
        return "Nothing to be done."
    times = [recorded(job, root) for job in jobs]
    needs = before(jobs)
    rows = [("rule", "jobs", "seconds", "why")]
    for rule in dict.fromkeys(job.rule for job in jobs):
        mine = [i for i, job in enumerate(jobs) if job.rule == rule]
        known = [time for i in mine if (time := times[i]) is not None]
        reasons = [
            reason
            for i in mine
            for reason in why(jobs[i], (jobs[j].rule for j in sorted(needs[i])))
        ]
        seconds = f"{sum(known):.1f}" if known else "?"
        rows.append((rule, str(len(mine)), seconds, "; ".join(dict.fromkeys(reasons))))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}".rstrip()
        for row in rows
    ]
    total = makespan(jobs, [time or 0.0 for time in times], cores, limits or {})
    lines.append(f"\n{len(jobs)} jobs, about {duration(total)} on {cores} cores by recorded times.")
    unknown = dict.fromkeys(job.rule for job, time in zip(jobs, times, strict=True) if time is None)
    if unknown:
        lines.append(f"Without a record, and not in that sum: {', '.join(unknown)}.")
    return "\n".join(lines)
