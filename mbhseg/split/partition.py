"""Which patients are for training, validation and test: folds, leak checks, class balance.

A fold table has one row per case: case, patient, subset (train, valid or test), sorted by case.
Only the slice-level split of config/seed.yaml has one row per slice, with a fourth column, slice.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from mbhseg.classes import ANY, KEYS
from mbhseg.config.run_names import SUBSETS
from mbhseg.errors import InputError
from mbhseg.split.stratify import deal, sort_key

ALL = "all"  # every patient, case and slice of a subset, in the table of the class balance
_NONE = "none"  # stratum of the patients without a hemorrhage
_WHERE = "split"


def make(
    cases: pd.DataFrame,
    *,
    folds: int,
    test: float,
    valid: float,
    seed: int,
    by: str = "patient",
    slices: pd.DataFrame | None = None,
) -> list[pd.DataFrame]:
    """Split a data set into a fixed test set and `folds` folds over the rest.

    `cases` has the columns case, patient, classes ("IPH,SAH") and status; cases whose status is
    excluded are left out. `test` is the test set's share of the patients. Fold k validates on the
    k-th of `folds` parts of the rest and trains on the others; with one fold, `valid` is the
    validation set's share of all patients. The test set does not depend on `folds` or `valid`.

    A patient's scans stay together. Patients are stratified by the set of classes that any rater
    labelled in any of their scans. The result depends on the patients' ids and classes and on
    `seed`, never on the order of rows. It is stable as far as stratification allows: adding one
    patient to 240 moves about 34 of the others to another part (5 folds and a test set). To keep a
    split when data are added, give its tables as a split file.

    `by="slice"` is the reference project's way, kept to reproduce its scores: the rows of `slices`
    (case, slice) are shuffled and cut, whatever their patients. Neighbouring slices of one scan
    are then in training and test, so the scores say little about new patients; see `leaks`.

    Raises InputError where a subset would be empty.
    """
    usable = _usable(cases)
    if by == "slice":
        if slices is None or folds != 1:
            raise ValueError("a split by slice needs the slices and has one fold")
        return [_by_slice(usable, slices, test, valid, seed)]
    strata = _strata(usable)
    sizes = _sizes(len(strata), folds, test, valid)
    held_out, rest = deal(strata, [sizes[0], len(strata) - sizes[0]], seed, "test")
    parts = deal({p: strata[p] for p in rest}, sizes[1:], seed, "folds")
    tables = []
    for validated in parts[:folds]:
        subset = dict.fromkeys(strata, "train")
        subset |= dict.fromkeys(validated, "valid") | dict.fromkeys(held_out, "test")
        tables.append(
            usable[["case", "patient"]].assign(subset=usable["patient"].map(subset).astype(str))
        )
    return tables


def _usable(cases: pd.DataFrame) -> pd.DataFrame:
    usable = cases[cases["status"] != "excluded"].sort_values("case", ignore_index=True)
    if usable.empty:
        raise InputError(_WHERE, "no usable case", "See inventory/findings.tsv for the reasons")
    return usable


def _strata(cases: pd.DataFrame) -> dict[str, frozenset[str]]:
    """Each patient's set of classes over all scans, patients sorted by id."""
    strata: dict[str, set[str]] = {}
    for patient, classes in zip(cases["patient"], cases["classes"], strict=True):
        strata.setdefault(patient, set()).update(c for c in str(classes).split(",") if c in KEYS)
    return {patient: frozenset(strata[patient] or {_NONE}) for patient in sorted(strata)}


def _sizes(n: int, folds: int, test: float, valid: float, unit: str = "patients") -> list[int]:
    """Units in the test set, then in each part of the rest: the folds, or validation and training.

    Every size is at least 1; raises InputError if `n` is too small for that.
    """
    parts = max(folds, 2)
    if n < parts + 1:
        several = folds > 1
        sets = f"a test set and {folds} folds" if several else "training, validation and test"
        raise InputError(
            _WHERE,
            f"{n} {unit} are too few for {sets}",
            f"Add cases,{' lower split.folds,' * several} or give your own table as split.file",
        )
    held_out = min(max(1, _round(n * test)), n - parts)
    rest = n - held_out
    if folds == 1:
        validated = min(max(1, _round(n * valid)), rest - 1)
        return [held_out, validated, rest - validated]
    return [held_out, *(rest // folds + (k < rest % folds) for k in range(folds))]


def _round(x: float) -> int:
    return math.floor(x + 0.5)


def _by_slice(
    cases: pd.DataFrame, slices: pd.DataFrame, test: float, valid: float, seed: int
) -> pd.DataFrame:
    patients = dict(zip(cases["case"], cases["patient"], strict=True))
    units = sorted(
        {(c, int(z)) for c, z in zip(slices["case"], slices["slice"], strict=True) if c in patients}
    )
    sizes = _sizes(len(units), 1, test, valid, "slices")
    order = sorted(units, key=lambda unit: sort_key(seed, "slice", *unit))
    subset = dict.fromkeys(units, "train")
    subset |= dict.fromkeys(order[: sizes[0]], "test")
    subset |= dict.fromkeys(order[sizes[0] : sizes[0] + sizes[1]], "valid")
    rows = [(case, patients[case], subset[case, z], z) for case, z in units]
    return pd.DataFrame(rows, columns=["case", "patient", "subset", "slice"])


def only_test(cases: pd.DataFrame, folds: int) -> list[pd.DataFrame]:
    """Fold tables of an external test set: every usable case is a test case, in every fold.

    `cases` as in `make`; raises InputError if none is usable.
    """
    return [_usable(cases)[["case", "patient"]].assign(subset="test") for _ in range(folds)]


def check_external(
    table: pd.DataFrame,
    source: pd.DataFrame,
    cases: pd.DataFrame,
    source_cases: pd.DataFrame,
    where: str = _WHERE,
) -> None:
    """Raise InputError if a case of an external test set was used for training or validation.

    `table` is the external set's fold table, `source` that of the set that the models come from;
    `cases` and `source_cases` are the inventories of the two (case, image_sha256). A case was used
    if its patient is in the models' train or valid subset, or if an identical scan is, under any
    name. The source's own test cases may be in both sets.
    """
    seen = source[source["subset"] != "test"]
    known = table["patient"].isin(seen["patient"])
    scan = dict(zip(cases["case"], cases["image_sha256"], strict=True))
    scans = source_cases.loc[source_cases["case"].isin(seen["case"]), "image_sha256"]
    used = table[known | table["case"].map(scan).isin(set(scans))]
    if len(used):
        first = used.iloc[0]
        same = f"patient {first['patient']}" if known[used.index[0]] else f"scan {first['case']}"
        others = f", and {len(used) - 1} more cases" if len(used) > 1 else ""
        raise InputError(
            where,
            f"{same} is in the set that the models were trained on{others}",
            "Remove the case from one of the two sets, or move it to the other's test set",
        )


def leaks(table: pd.DataFrame) -> pd.DataFrame:
    """Patients in more than one subset: patient, subsets ("train,valid"), rows; empty if none."""
    leaked = table[table.groupby("patient")["subset"].transform("nunique") > 1]
    rows = [
        (patient, ",".join(name for name in SUBSETS if (subsets == name).any()), len(subsets))
        for patient, subsets in leaked.groupby("patient")["subset"]
    ]
    return pd.DataFrame(rows, columns=["patient", "subsets", "rows"])


def check_leakage(table: pd.DataFrame, where: str = _WHERE) -> None:
    """Raise InputError naming the first patient who is in more than one subset."""
    leaked = leaks(table)
    if len(leaked):
        first = leaked.iloc[0]
        others = f", and {len(leaked) - 1} more patients" if len(leaked) > 1 else ""
        raise InputError(
            where,
            f"patient {first['patient']} is in {first['subsets'].replace(',', ' and ')}{others}",
            "Move all scans of a patient to one subset",
        )


def members(table: pd.DataFrame, subset: str) -> dict[str, list[int] | None]:
    """The cases of a subset, sorted; each with its slices, or None for all of them."""
    chosen = table[table["subset"] == subset].sort_values("case")
    if "slice" not in table:
        return dict.fromkeys(chosen["case"])
    return {
        str(case): sorted(int(z) for z in group["slice"]) for case, group in chosen.groupby("case")
    }


def balance(table: pd.DataFrame, cases: pd.DataFrame, slices: pd.DataFrame) -> pd.DataFrame:
    """Count patients, cases and slices of each class in each subset of a fold table.

    `cases` is inventory/cases.tsv (case, n_slices), `slices` inventory/slices.tsv (voxel counts
    per case, slice and rater). A slice counts for a class if any rater labelled the class in it.
    Returns subset, class (EDH..SDH, any, all), patients, cases, slices; subsets in the order
    train, valid, test, without empty ones; a class that is absent counts 0.
    """
    if "slice" in table:
        units = table[["case", "patient", "subset", "slice"]]
    else:
        depth = table["case"].map(dict(zip(cases["case"], cases["n_slices"], strict=True)))
        units = table.loc[table.index.repeat(depth.astype(int)), ["case", "patient", "subset"]]
        units = units.assign(slice=units.groupby("case").cumcount())
    drawn = (slices.set_index(["case", "slice"])[list(KEYS)] > 0).groupby(level=[0, 1]).any()
    present = drawn.reindex(pd.MultiIndex.from_frame(units[["case", "slice"]]), fill_value=False)
    rows = []
    for subset in SUBSETS:
        inside = (units["subset"] == subset).to_numpy()
        if not inside.any():
            continue
        flags = {
            **{key: present[key].to_numpy(bool) for key in KEYS},
            ANY: present.to_numpy(bool).any(axis=1),
            ALL: np.ones(len(units), bool),
        }
        for key, flag in flags.items():
            chosen = units[inside & flag]
            counts = chosen["patient"].nunique(), chosen["case"].nunique(), len(chosen)
            rows.append((subset, key, *counts))
    return pd.DataFrame(rows, columns=["subset", "class", "patients", "cases", "slices"])


def from_file(
    table: pd.DataFrame, cases: pd.DataFrame, *, folds: int, where: str
) -> list[pd.DataFrame]:
    """Fold tables from a user's own table: case or patient, subset, and optionally fold.

    Every usable case of `cases` (case, patient, status) must be named in every fold, by its own
    id or by its patient's; excluded cases may be named and are left out. Without a fold column
    the table is the only fold; a row whose fold is empty belongs to every fold. The test set must
    be the same in all folds. `where` names the file in errors.

    Raises InputError for missing columns; cases that are unknown, missing or in two subsets;
    unknown subsets; folds other than 0..folds-1; a patient in two subsets; and an empty train or
    valid subset, unless all cases are test cases (an external test set).
    """
    usable = _usable(cases)
    column = next((name for name in ("case", "patient") if name in table), None)
    if column is None or "subset" not in table:
        raise InputError(
            where,
            f"has the columns {', '.join(map(str, table.columns))}",
            "It needs case or patient, and subset",
        )
    _expect(table["subset"], SUBSETS, where, "subset", "Use train, valid and test")
    _expect(table[column], set(cases[column]), where, column, "Name only what the inventory lists")
    if "slice" in table:
        raise InputError(where, "has a column slice", "Split by case or patient")
    numbers = pd.to_numeric(table["fold"], errors="coerce") if "fold" in table else None
    if numbers is None and folds > 1:
        raise InputError(
            where, f"has no column fold for {folds} folds", "Add it, or set folds to 1"
        )
    if numbers is not None:
        stated = {value for value in table["fold"][numbers.isna()] if not _blank(value)}
        stated |= {f"{value:g}" for value in numbers.dropna() if value not in range(folds)}
        _expect(sorted(stated, key=str), (), where, "fold", f"Number the folds 0 to {folds - 1}")
    tables = []
    for fold in range(folds):
        chosen = table if numbers is None else table[numbers.isna() | (numbers == fold)]
        name = where if folds == 1 else f"{where}, fold {fold}"
        tables.append(_complete(chosen, column, usable, name))
    tests = [sorted(members(fold_table, "test")) for fold_table in tables]
    if any(test != tests[0] for test in tests):
        raise InputError(where, "the test set differs between folds", "Use one test set for all")
    return tables


def _blank(value: Any) -> bool:
    return pd.isna(value) or not str(value).strip()


def _expect(
    values: Iterable[Any], allowed: Iterable[str], where: str, column: str, remedy: str
) -> None:
    known = set(allowed)
    for value in values:
        if value not in known:
            raise InputError(where, f"unknown {column} {value!r}", remedy)


def _complete(rows: pd.DataFrame, column: str, usable: pd.DataFrame, where: str) -> pd.DataFrame:
    """One fold of a user's table, checked and converted to a fold table."""
    stated = rows[[column, "subset"]].drop_duplicates()
    twice = stated[column][stated[column].duplicated()]
    if len(twice):
        raise InputError(
            where, f"{column} {twice.iloc[0]} is in two subsets", "Give each one subset"
        )
    subset = dict(zip(stated[column], stated["subset"], strict=True))
    missing = [name for name in usable[column] if name not in subset]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(where, f"no subset for {column} {missing[0]}{more}", "Add a row for each")
    table = usable[["case", "patient"]].assign(subset=usable[column].map(subset).astype(str))
    check_leakage(table, where)
    present = set(table["subset"])
    if present != {"test"} and not {"train", "valid"} <= present:
        empty = "train" if "train" not in present else "valid"
        raise InputError(where, f"subset {empty} is empty", "Move at least one patient there")
    return table
