"""From rows of scores to one number per class: means over cases, with n and an interval."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mbhseg.classes import KEYS
from mbhseg.metrics import lesions, surface
from mbhseg.metrics.bootstrap import Interval, Resampling, means_of
from mbhseg.metrics.casewise import F1, SHARES, CaseTable, case_table
from mbhseg.metrics.detection import detection_summary
from mbhseg.metrics.lesion_rates import lesion_summary
from mbhseg.metrics.overlap import SCORED_CLASSES, ScoreRow
from mbhseg.metrics.volume import volume_summary

PAIR_COLUMNS = ("case", "patient", "candidate", "reference")
OVERLAP_COLUMNS: dict[str, str] = {
    **dict.fromkeys((*PAIR_COLUMNS, "class"), "str"),
    **dict.fromkeys(("reference_voxels", "candidate_voxels", "intersection"), "int64"),
    **dict.fromkeys(("reference_ml", "candidate_ml"), "float64"),
    "status": "str",
    "dice": "float64",
}
COLUMNS: dict[str, str] = {
    **OVERLAP_COLUMNS,
    **dict.fromkeys(surface.COLUMNS, "float64"),
    **{name: "float64" if name in F1 else "int64" for name in lesions.COLUMNS},
    "max_probability": "float64",
}


def typed_table(rows: Iterable[ScoreRow], columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a table with typed columns, in the given order."""
    return pd.DataFrame(list(rows), columns=list(columns)).astype(dict(columns))


def score_table(rows: Iterable[ScoreRow], columns: Mapping[str, str] = COLUMNS) -> pd.DataFrame:
    """Rows as a table with typed columns, sorted; no rows give an empty table.

    `columns` are `COLUMNS`, or `OVERLAP_COLUMNS` for rows of counts and Dice only.
    """
    return sort_scores(typed_table(rows, columns))


def join_tables(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One sorted table from the tables of several shards, some of which may be empty."""
    filled = [table for table in tables if len(table)]
    return sort_scores(pd.concat([score_table([]), *filled]).astype(COLUMNS))


def sort_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Sort by case, candidate, reference (as text) and class (label order)."""
    order = table["class"].map({key: n for n, key in enumerate(SCORED_CLASSES)})
    return (
        table.assign(_order=order)
        .sort_values(["case", "candidate", "reference", "_order"], kind="stable")
        .drop(columns="_order")
        .reset_index(drop=True)
    )


def case_means(values: pd.Series, cases: pd.Series) -> pd.Series:
    """Mean of each case's values other than NaN, indexed by case; cases without any are left out.

    So a case with many pairs of raters weighs as much as one with a single pair.
    """
    known = values.notna()
    return values[known].astype(float).groupby(cases[known], sort=True).mean()


def interval_of(interval: Interval) -> list[float]:
    """The limits in the form of summary.json, [low, high]."""
    return [interval.low, interval.high]


def summarise_class(
    rows: pd.DataFrame, key: str, table: CaseTable, resampling: Resampling
) -> dict[str, Any]:
    """Summary of one class, from its rows and the group's scores by case.

    Scores are averaged within a case, then over cases; NaN if no case contributes.
    - n_cases, n_pairs: all that was scored;
    - dice_nnunet over n_scored cases: without those where both sides are empty; 0 where one is;
      over the same cases nsd_*, hd95_mm (the diagonal in the n_hd95_penalty cases where one side
      is empty) and lesion_f1_*;
    - hd95_both_mm over the n_both cases where both hold the class;
    - dice_present over the n_present cases where the reference holds the class; a miss counts 0;
      sensitivity is the share of those where the candidate holds it too, n_missed the cases
      with a miss;
    - n_absent cases where the reference lacks the class; specificity is the share of those
      where the candidate lacks it too, n_spurious the cases with a false positive,
      spurious_ml_mean the candidate's mean volume in ml over all n_absent cases;
    - intervals: of every mean; lesions, volume, detection: see their functions.
    Rows with overlap columns only give the scores that follow from these.
    """
    rows = rows.sort_values(["case", "candidate", "reference"], kind="stable")
    scores = list(table.values.columns.unique(0))
    values = np.concatenate([table.of(score, (key,)) for score in scores], axis=1)
    known = dict(zip(scores, (~np.isnan(values)).sum(axis=0).tolist(), strict=True))
    means = dict(zip(scores, means_of(values).tolist(), strict=True))
    intervals = dict(zip(scores, resampling.mean_intervals(values), strict=True))
    by_score = dict(zip(scores, values.T, strict=True))
    summary: dict[str, Any] = {
        "n_cases": len(values),
        "n_pairs": len(rows),
        "n_scored": known["dice_nnunet"],
        "n_present": known["dice_present"],
        "n_missed": int((by_score["sensitivity"] < 1).sum()),
        "n_absent": known["specificity"],
        "n_spurious": int((by_score["specificity"] < 1).sum()),
        **means,
        "intervals": {score: interval_of(intervals[score]) for score in scores},
    }
    if "hd95_mm" in by_score:
        alone = rows["status"].isin(["missed", "spurious"])
        summary |= {
            "n_both": known["hd95_both_mm"],
            "n_hd95_penalty": int(rows["case"][alone].nunique()),
            "lesions": lesion_summary(rows, resampling),
            "volume": volume_summary(rows, resampling),
            "detection": detection_summary(rows, resampling),
        }
    return summary


def summarise(rows: pd.DataFrame) -> dict[str, Any]:
    """Summarise one group of rows, such as model against consensus, or rater against rater.

    Returns `n_cases`, `n_patients`, `n_pairs`, `classes` (class: see `summarise_class`) and,
    where classes other than `any` were scored, `macro`: the mean of the class means, not
    counting `any`, with intervals. A class without a value in any case has NaN and is left out of
    the macro mean; `macro_classes` names those that are in it. No rows give n 0 and NaN.
    Raises ValueError if a pair of a case is scored twice or lacks a class that others have.
    """
    _check_complete(rows)
    scored = [key for key in SCORED_CLASSES if rows.empty or (rows["class"] == key).any()]
    table = case_table(rows)
    resampling = Resampling(table.patients)
    classes = {
        key: summarise_class(rows[rows["class"] == key], key, table, resampling) for key in scored
    }
    summary: dict[str, Any] = {
        "n_cases": int(rows["case"].nunique()),
        "n_patients": int(rows["patient"].nunique()),
        "n_pairs": int(len(rows) / len(scored)),
        "classes": classes,
    }
    if set(scored) & set(KEYS):
        summary["macro"] = _macro(table, resampling)
    return summary


def _macro(table: CaseTable, resampling: Resampling) -> dict[str, Any]:
    macro: dict[str, Any] = {"macro_classes": {}, "intervals": {}}
    for score in (name for name in SHARES if name in table.values.columns.unique(0)):
        values = table.of(score, KEYS)
        interval = resampling.macro_interval(values)
        macro[score] = interval.estimate
        macro["intervals"][score] = interval_of(interval)
        known = (~np.isnan(values)).sum(axis=0)
        macro["macro_classes"][score] = [key for key, n in zip(KEYS, known, strict=True) if n]
    return macro


def _check_complete(rows: pd.DataFrame) -> None:
    keys = ["case", "candidate", "reference"]
    if rows.duplicated([*keys, "class"]).any():
        twice = rows[rows.duplicated([*keys, "class"])].iloc[0]
        raise ValueError(f"{twice['case']}: {twice['class']} is scored twice for one pair")
    scored = rows.groupby(keys)["class"].transform("size")
    lacking = rows[scored < rows["class"].nunique()]
    if len(lacking):
        raise ValueError(f"{lacking.iloc[0]['case']}: a class is missing from the rows of a pair")
