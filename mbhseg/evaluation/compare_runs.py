"""Compares runs: means per run, per experiment over folds and seeds, and paired differences."""

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
    """Which scores of a run: of raw or processed labels, against the consensus or the raters."""

    candidate: str
    reference: str


VIEWS = tuple(View(*pair) for pair in itertools.product((RAW, DONE), (CONSENSUS, RATERS)))
Tables = dict[View, CaseTable]


def views_of(raw: pd.DataFrame, processed: pd.DataFrame) -> Tables:
    """The scores by case of one run's two tables; without post-processing the raw ones only."""
    views = {}
    for candidate, rows in ((RAW, raw), (DONE, processed)):
        to_consensus = rows["reference"] == CONSENSUS
        if len(rows):
            views[View(candidate, CONSENSUS)] = case_table(rows[to_consensus])
            views[View(candidate, RATERS)] = case_table(rows[~to_consensus])
    return views


def experiment_of(run: str) -> tuple[str, int | None, int | None]:
    """Experiment, fold and seed of a run's name; another system is an experiment of its own."""
    try:
        parsed = Run.parse(run)
    except ValueError:
        return run, None, None
    return parsed.experiment, parsed.fold, parsed.seed


def intervals(table: CaseTable) -> Iterator[tuple[str, str, Interval]]:
    """Class, score and interval: of every score and class, and of the macro means."""
    resampling = Resampling(table.patients)
    for score in SCORES:
        by_class = resampling.mean_intervals(table.of(score))
        yield from ((key, score, each) for key, each in zip(SCORED_CLASSES, by_class, strict=True))
    for score in SHARES:
        yield MACRO, score, resampling.macro_interval(table.of(score, KEYS))


def run_rows(runs: Mapping[str, Tables]) -> Iterator[dict[str, Any]]:
    """Rows of `RUN_COLUMNS`: each run on its own test cases."""
    for run, tables in runs.items():
        names = dict(zip(("experiment", "fold", "seed"), experiment_of(run), strict=True))
        for view, table in tables.items():
            for key, score, interval in intervals(table):
                yield {
                    "run": run,
                    **names,
                    **view._asdict(),
                    "class": key,
                    "score": score,
                    "n_cases": interval.n_cases,
                    "n_patients": interval.n_patients,
                    "mean": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                }


def experiments_of(runs: Mapping[str, Tables]) -> dict[str, list[Tables]]:
    """The runs of each experiment, in the order of the runs."""
    experiments: dict[str, list[Tables]] = {}
    for run, tables in runs.items():
        experiments.setdefault(experiment_of(run)[0], []).append(tables)
    return experiments


def averaged(tables: Iterable[CaseTable]) -> CaseTable:
    """The scores of every case of any run, averaged over the runs that have a value."""
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
            for key, score, interval in intervals(table):
                by_run.setdefault((key, score), []).append(interval.estimate)
        for key, score, interval in intervals(averaged(held)):
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
                "n_cases": interval.n_cases,
                "n_patients": interval.n_patients,
                "low": interval.low,
                "high": interval.high,
            }


def difference_rows(runs: Mapping[str, Tables]) -> Iterator[dict[str, Any]]:
    """Rows of `DIFFERENCE_COLUMNS`: pairs of runs, pairs of experiments, processed minus raw."""
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
    """The differences first - second on the cases and scores that both tables have."""
    shared = first.values.index.intersection(second.values.index)
    one, two = first.only(shared), second.only(shared)
    resampling = Resampling(one.patients)
    for score in SCORES:
        values = _both_known(one.of(score), two.of(score))
        differences = resampling.difference_intervals(*values)
        means = (means_of(side) for side in values)
        for key, each, *sides in zip(SCORED_CLASSES, differences, *means, strict=True):
            yield _difference(key, score, each, *map(float, sides))
    for score in SHARES:
        values = _both_known(one.of(score, KEYS), two.of(score, KEYS))
        each, both = resampling.macro_difference(*values)
        yield _difference(MACRO, score, each, *both)


def _both_known(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = ~np.isnan(first) & ~np.isnan(second)
    return np.where(known, first, np.nan), np.where(known, second, np.nan)


def _difference(
    key: str, score: str, interval: Interval, first: float, second: float
) -> dict[str, Any]:
    return {
        "class": key,
        "score": score,
        "n_cases": interval.n_cases,
        "n_patients": interval.n_patients,
        "first_mean": first,
        "second_mean": second,
        "difference": interval.estimate,
        "low": interval.low,
        "high": interval.high,
    }


def run(
    cases: Mapping[str, str | Path],
    processed: Mapping[str, str | Path],
    *,
    out_runs: str | Path,
    out_experiments: str | Path,
    out_differences: str | Path,
) -> None:
    """Compare runs by their cases.csv and processed.csv, and write the tables of docs/scores.md.

    Both map names of runs to files, in the order in which they are shown.
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
