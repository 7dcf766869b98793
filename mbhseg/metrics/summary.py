"""From rows of scores to one number a class: means over cases, always with n."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from mbhseg.classes import KEYS
from mbhseg.metrics.overlap import SCORED_CLASSES, Row

PAIR_COLUMNS = ("case", "patient", "candidate", "reference")
COLUMNS: dict[str, str] = {
    **dict.fromkeys((*PAIR_COLUMNS, "class"), "str"),
    **dict.fromkeys(("reference_voxels", "candidate_voxels", "intersection"), "int64"),
    **dict.fromkeys(("reference_ml", "candidate_ml"), "float64"),
    "status": "str",
    "dice": "float64",
}


def score_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as a table with typed columns `COLUMNS`, sorted; no rows give an empty table."""
    return sort_scores(pd.DataFrame(list(rows), columns=list(COLUMNS)).astype(COLUMNS))


def join_tables(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One sorted table from the tables of several shards, empty ones among them."""
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
    """Mean of each case's values that are not NaN, indexed by case; cases without any drop out.

    A case with many pairs of raters thus weighs as much as one with a single pair.
    """
    known = values.notna()
    return values[known].astype(float).groupby(cases[known], sort=True).mean()


def summarise_class(rows: pd.DataFrame) -> dict[str, Any]:
    """Summary of one class: rows of one class, one for each pair of candidate and reference.

    Every mean is first within a case, then over cases; NaN if no case contributes.
    - n_cases, n_pairs: all that was scored;
    - dice_nnunet over n_scored cases: both empty left out, one empty counts 0;
    - dice_present over n_present cases: where the reference holds the class, missed counts 0;
      sensitivity is the share of those where the candidate holds it too, n_missed the cases
      with a miss;
    - n_absent cases where the reference lacks the class; specificity is the share of those
      where the candidate lacks it too, n_spurious the cases with a false positive,
      spurious_ml_mean the candidate's mean volume in ml over all n_absent cases.
    """
    rows = rows.sort_values(["case", "candidate", "reference"], kind="stable")
    cases = rows["case"]
    present = rows["reference_voxels"] > 0
    found = rows["candidate_voxels"] > 0
    scored_dice = case_means(rows["dice"], cases)
    present_dice = case_means(rows["dice"].where(present), cases)
    detected = case_means(found.astype(float).where(present), cases)
    spared = case_means((~found).astype(float).where(~present), cases)
    spurious_ml = case_means(rows["candidate_ml"].where(~present), cases)
    return {
        "n_cases": int(cases.nunique()),
        "n_pairs": len(rows),
        "n_scored": len(scored_dice),
        "dice_nnunet": float(scored_dice.mean()),
        "n_present": len(present_dice),
        "dice_present": float(present_dice.mean()),
        "n_missed": int((detected < 1).sum()),
        "sensitivity": float(detected.mean()),
        "n_absent": len(spared),
        "n_spurious": int((spared < 1).sum()),
        "specificity": float(spared.mean()),
        "spurious_ml_mean": float(spurious_ml.mean()),
    }


def summarise(rows: pd.DataFrame) -> dict[str, Any]:
    """Summarise one group of rows, such as a model against the consensus, or rater against rater.

    Returns `n_cases`, `n_patients`, `n_pairs`, `classes` (class: see `summarise_class`) and,
    where classes other than `any` were scored, `macro`: the mean of the class means, not
    counting `any`. A class that no case contributes to has NaN and is left out of its macro
    mean; `macro_classes` names those that are in. No rows give n 0 and NaN throughout.
    Raises ValueError if a pair of a case is scored twice or lacks a class that others have.
    """
    _check_complete(rows)
    scored = [key for key in SCORED_CLASSES if rows.empty or (rows["class"] == key).any()]
    classes = {key: summarise_class(rows[rows["class"] == key]) for key in scored}
    summary: dict[str, Any] = {
        "n_cases": int(rows["case"].nunique()),
        "n_patients": int(rows["patient"].nunique()),
        "n_pairs": int(len(rows) / len(scored)),
        "classes": classes,
    }
    if set(scored) & set(KEYS):
        summary["macro"] = _macro(classes)
    return summary


def _macro(classes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    macro: dict[str, Any] = {"macro_classes": {}}
    for score in ("dice_nnunet", "dice_present"):
        means = {key: classes[key][score] for key in KEYS if key in classes}
        known = {key: mean for key, mean in means.items() if mean == mean}
        macro[score] = sum(known.values()) / len(known) if known else float("nan")
        macro["macro_classes"][score] = list(known)
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
