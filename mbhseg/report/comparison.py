"""The page that compares experiments, folds, seeds and other systems.

The numbers are those of comparison/*.csv (docs/scores.md): all runs on the cases that they share.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mbhseg.classes import ANY, KEYS
from mbhseg.evaluation.agreement import CONSENSUS
from mbhseg.files import read_table
from mbhseg.report.assets import Assets, Download
from mbhseg.report.measures import CONVENTIONS, MACRO, Estimate, dice_of

CLASSES = (MACRO, ANY, *KEYS)
SCORES = {
    **{score: f"Dice. {title}" for score, title in CONVENTIONS.items()},
    "nsd_2mm": "Normalised surface Dice at 2 mm",
    "lesion_f1_any": "F1 of lesions, any overlap",
}
MAX_PAIRS = 45  # pairs of runs on the page; the table beside it has all
_TEXT = ("run", "experiment", "level", "first", "second", "score")


class Line(NamedTuple):
    """Means per class of an experiment, a run, the raters, or of a difference.

    `runs` is the number of runs behind it (0: none), `sd` their standard deviation per class;
    `run` is the run to link to.
    """

    label: str
    kind: str  # model, processed, rater
    runs: int
    run: str | None
    means: dict[str, Estimate]
    sd: dict[str, float]


class Section(NamedTuple):
    """One score: experiments (the raters last), runs, and differences.

    The macro intervals of all differences lie within +-`reach`.
    """

    score: str
    title: str
    experiments: list[Line]
    runs: list[Line]
    between_experiments: list[Line]
    between_runs: list[Line]
    by_postprocessing: list[Line]
    reach: float


class Comparison(NamedTuple):
    """All that the page shows; `n_cases` are shared by all runs, `n_pairs` counts pairs of runs."""

    sections: list[Section]
    n_cases: int
    n_runs: int
    n_pairs: int
    files: list[Download]


def comparison(
    folder: Path, runs: Sequence[str], ceiling: Mapping[str, Any], assets: Assets
) -> Comparison:
    """Read comparison/*.csv below `folder`, and copy them.

    `ceiling` is the group `ceiling.others` of a run's summary.json: a rater against the others.
    """
    names = ("runs", "experiments", "differences")
    every, experiments, differences = (
        _known(read_table(folder / f"{name}.csv", text=_TEXT)) for name in names
    )
    pairs = differences[differences["level"] == "run"]
    return Comparison(
        [_section(score, every, experiments, differences, ceiling) for score in SCORES],
        int(every["n_cases"].max()),
        len(runs),
        len(pairs[["first", "second", "candidate"]].drop_duplicates()),
        [assets.download(folder / f"{name}.csv", f"data/comparison/{name}.csv") for name in names],
    )


def _section(
    score: str,
    runs: pd.DataFrame,
    experiments: pd.DataFrame,
    differences: pd.DataFrame,
    ceiling: Mapping[str, Any],
) -> Section:
    compared = [
        _differences(differences, level, score) for level in ("experiment", "run", "postprocessing")
    ]
    bounds = [
        abs(bound)
        for lines in compared
        for line in lines
        for bound in line.means[MACRO][:3]
        if bound is not None
    ]
    return Section(
        score,
        SCORES[score],
        [*_means(experiments, "experiment", score), _raters(ceiling, score)],
        _means(runs, "run", score),
        compared[0],
        compared[1][:MAX_PAIRS],
        compared[2],
        math.ceil(10 * max(bounds, default=1)) / 10 or 0.1,
    )


def _known(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["reference"] == CONSENSUS]


def _means(table: pd.DataFrame, column: str, score: str) -> list[Line]:
    """Lines of runs.csv or experiments.csv in their order: of each, raw first, then processed."""
    chosen, lines = table[table["score"] == score], []
    for name in chosen[column].unique():
        for candidate, kind in (("raw", "model"), ("processed", "processed")):
            rows = chosen[(chosen[column] == name) & (chosen["candidate"] == candidate)]
            if rows.empty:
                continue
            by_class = rows.set_index("class")
            many = "n_runs" in by_class
            lines.append(
                Line(
                    name if candidate == "raw" else f"{name}, post-processed",
                    kind,
                    int(by_class["n_runs"].max()) if many else 1,
                    None if many else name,
                    _estimates(by_class, "mean"),
                    {k: float(v) for k, v in by_class["sd"].dropna().items()} if many else {},
                )
            )
    return lines


def _differences(table: pd.DataFrame, level: str, score: str) -> list[Line]:
    chosen = table[(table["level"] == level) & (table["score"] == score)]
    lines = []
    for (first, second, candidate), rows in chosen.groupby(
        ["first", "second", "candidate"], sort=False
    ):
        label = f"{first} − {second}"
        if level != "postprocessing" and candidate == "processed":
            label += ", post-processed"
        means = _estimates(rows.set_index("class"), "difference")
        lines.append(Line(label, str(candidate), 0, None, means, {}))
    return lines


def _estimates(by_class: pd.DataFrame, column: str) -> dict[str, Estimate]:
    estimates = {}
    for key in CLASSES:
        mean, low, high = (
            _number(by_class.at[key, name]) if key in by_class.index else None
            for name in (column, "low", "high")
        )
        estimates[key] = Estimate(mean, low, high)
    return estimates


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _raters(ceiling: Mapping[str, Any], score: str) -> Line:
    means = {key: dice_of(ceiling, key, score) for key in CLASSES}
    return Line("a rater against the other raters' consensus", "rater", 0, None, means, {})
