"""Runs held against each other: by run, by experiment over its folds and seeds, and paired."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.classes import KEYS
from mbhseg.config.run_names import Run
from mbhseg.evaluation.agreement import CONSENSUS
from mbhseg.evaluation.case_scores import PROCESSED
from mbhseg.files import read_table, write_table
from mbhseg.metrics.bootstrap import Interval, Resampling, means_of
from mbhseg.metrics.casewise import SCORES, SHARES, CaseTable, case_table
from mbhseg.metrics.overlap import SCORED_CLASSES

MACRO = "macro"
RAW, DONE = "raw", "processed"
RATERS = "raters"
_SCORE = ("candidate", "reference", "class", "score")
RUN_COLUMNS = (
    *("run", "experiment", "fold", "seed", *_SCORE),
    *("n_cases", "n_patients", "mean", "low", "high"),
)
EXPERIMENT_COLUMNS = (
    *("experiment", *_SCORE, "n_runs", "mean", "sd", "min", "max"),
    *("n_cases", "n_patients", "low", "high"),
)
DIFFERENCE_COLUMNS = (
    *("level", "first", "second", *_SCORE, "n_cases", "n_patients"),
    *("first_mean", "second_mean", "difference", "low", "high"),
)


class View(NamedTuple):
    """Which of a run's scores: of raw or processed labels, against the consensus or the raters."""

    candidate: str
    reference: str


VIEWS = tuple(View(*pair) for pair in itertools.product((RAW, DONE), (CONSENSUS, RATERS)))
Tables = dict[View, CaseTable]


def views_of(raw: pd.DataFrame, processed: pd.DataFrame) -> Tables:
    """The scores by case of one run's two tables; without post-processing the raw ones only."""
    found = {}
    for candidate, rows in ((RAW, raw), (DONE, processed)):
        to_consensus = rows["reference"] == CONSENSUS
        if len(rows):
            found[View(candidate, CONSENSUS)] = case_table(rows[to_consensus])
            found[View(candidate, RATERS)] = case_table(rows[~to_consensus])
    return found


def experiment_of(run: str) -> tuple[str, int | None, int | None]:
    """Experiment, fold and seed of a run's name; a foreign system is its own experiment."""
    try:
        parsed = Run.parse(run)
    except ValueError:
        return run, None, None
    return parsed.experiment, parsed.fold, parsed.seed


def intervals(table: CaseTable) -> Iterator[tuple[str, str, Interval]]:
    """Class, score and interval of all scores of all classes, and of macro means."""
    resampling = Resampling(table.patients)
    for score in SCORES:
        values = table.of(score)
        found = resampling.mean_intervals(values)
        yield from ((key, score, each) for key, each in zip(SCORED_CLASSES, found, strict=True))
    for score in SHARES:
        yield MACRO, score, resampling.macro_interval(table.of(score, KEYS))


def run_rows(runs: Mapping[str, Tables]) -> Iterator[dict[str, Any]]:
    """Rows of `RUN_COLUMNS`: each run on its own test cases."""
    for run, tables in runs.items():
        names = dict(zip(("experiment", "fold", "seed"), experiment_of(run), strict=True))
        for view, table in tables.items():
            for key, score, found in intervals(table):
                yield {
                    "run": run,
                    **names,
                    **view._asdict(),
                    "class": key,
                    "score": score,
                    "n_cases": found.n_cases,
                    "n_patients": found.n_patients,
                    "mean": found.estimate,
                    "low": found.low,
                    "high": found.high,
                }


def experiments_of(runs: Mapping[str, Tables]) -> dict[str, list[Tables]]:
    """The runs of each experiment, in the order of the runs."""
    found: dict[str, list[Tables]] = {}
    for run, tables in runs.items():
        found.setdefault(experiment_of(run)[0], []).append(tables)
    return found


def averaged(tables: Iterable[CaseTable]) -> CaseTable:
    """Each case's scores meaned over the runs that have one, of all cases of any run."""
    held = list(tables)
    values = pd.concat([table.values for table in held]).groupby(level=0, sort=True).mean()
    patient: dict[Any, Any] = {}
    for table in held:
        patient |= dict(zip(table.values.index, table.patients, strict=True))
    return CaseTable(values, np.array([patient[case] for case in values.index], np.str_))


def experiment_rows(runs: Mapping[str, Tables]) -> Iterator[dict[str, Any]]:
    """Rows of `EXPERIMENT_COLUMNS`: mean and spread over the runs of each experiment."""
    for (experiment, members), view in itertools.product(experiments_of(runs).items(), VIEWS):
        held = [tables[view] for tables in members if view in tables]
        if not held:
            continue
        by_run: dict[tuple[str, str], list[float]] = {}
        for table in held:
            for key, score, found in intervals(table):
                by_run.setdefault((key, score), []).append(found.estimate)
        for key, score, found in intervals(averaged(held)):
            means = np.array([mean for mean in by_run[key, score] if mean == mean])
            yield {
                "experiment": experiment,
                **view._asdict(),
                "class": key,
                "score": score,
                "n_runs": len(held),
                "mean": means.mean() if means.size else np.nan,
                "sd": means.std(ddof=1) if means.size > 1 else np.nan,
                "min": means.min() if means.size else np.nan,
                "max": means.max() if means.size else np.nan,
                "n_cases": found.n_cases,
                "n_patients": found.n_patients,
                "low": found.low,
                "high": found.high,
            }


def difference_rows(runs: Mapping[str, Tables]) -> Iterator[dict[str, Any]]:
    """Rows of `DIFFERENCE_COLUMNS`: every two runs, every two experiments, processed and raw."""
    grouped = {
        name: {
            view: averaged(tables[view] for tables in members if view in tables)
            for view in VIEWS
            if any(view in tables for tables in members)
        }
        for name, members in experiments_of(runs).items()
    }
    for level, named in (("run", runs), ("experiment", grouped)):
        for (first, one), (second, two) in itertools.combinations(named.items(), 2):
            for view in VIEWS:
                if view in one and view in two:
                    names = {"level": level, "first": first, "second": second, **view._asdict()}
                    yield from ({**names, **row} for row in paired(one[view], two[view]))
    for run, tables in runs.items():
        for reference in (CONSENSUS, RATERS):
            raw, done = View(RAW, reference), View(DONE, reference)
            if done in tables:
                names = {"level": "postprocessing", "first": run + PROCESSED, "second": run}
                rows = paired(tables[done], tables[raw])
                yield from ({**names, **done._asdict(), **row} for row in rows)


def paired(first: CaseTable, second: CaseTable) -> Iterator[dict[str, Any]]:
    """The differences of two tables on the cases and scores that both have."""
    shared = first.values.index.intersection(second.values.index)
    one, two = first.only(shared), second.only(shared)
    resampling = Resampling(one.patients)
    for score in SCORES:
        values = _both_known(one.of(score), two.of(score))
        found = resampling.difference_intervals(*values)
        means = zip(SCORED_CLASSES, found, *(means_of(side) for side in values), strict=True)
        for key, each, above, below in means:
            yield _difference(key, score, each, float(above), float(below))
    for score in SHARES:
        values = _both_known(one.of(score, KEYS), two.of(score, KEYS))
        each, sides = resampling.macro_difference(*values)
        yield _difference(MACRO, score, each, *sides)


def _both_known(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = ~np.isnan(first) & ~np.isnan(second)
    return np.where(known, first, np.nan), np.where(known, second, np.nan)


def _difference(
    key: str, score: str, found: Interval, first: float, second: float
) -> dict[str, Any]:
    return {
        "class": key,
        "score": score,
        "n_cases": found.n_cases,
        "n_patients": found.n_patients,
        "first_mean": first,
        "second_mean": second,
        "difference": found.estimate,
        "low": found.low,
        "high": found.high,
    }


def run(
    cases: Mapping[str, str | Path],
    processed: Mapping[str, str | Path],
    *,
    out_runs: str | Path,
    out_experiments: str | Path,
    out_differences: str | Path,
) -> None:
    """Compare runs by their cases.csv and processed.csv; writes the tables of docs/scores.md.

    Both map names of runs to files, in the order to show them in.
    """
    runs = {name: views_of(read_table(cases[name]), read_table(processed[name])) for name in cases}
    for path, rows, columns in (
        (out_runs, run_rows(runs), RUN_COLUMNS),
        (out_experiments, experiment_rows(runs), EXPERIMENT_COLUMNS),
        (out_differences, difference_rows(runs), DIFFERENCE_COLUMNS),
    ):
        table = pd.DataFrame(list(rows), columns=list(columns))
        whole = {name: "Int64" for name in ("fold", "seed") if name in table}
        write_table(path, table.astype(whole))
