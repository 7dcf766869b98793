"""The data set in the report: inventory, split, numbers of images."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mbhseg.classes import ANY, KEYS
from mbhseg.config.run_names import SUBSETS
from mbhseg.figures.dataset import class_counts
from mbhseg.files import read_table
from mbhseg.report.facts import Fact
from mbhseg.split import partition


class Inventory(NamedTuple):
    """The data set in numbers."""

    n_cases: int
    n_patients: int
    n_slices: int
    raters: str
    facts: list[Fact]


def inventory(cases_tsv: Path) -> Inventory:
    """Summarise inventory/cases.tsv without the excluded cases."""
    every = read_table(cases_tsv)
    cases = every[every["status"] != "excluded"]
    raters = cases["raters"].map(lambda text: [r for r in str(text).split(",") if r])
    names = sorted({rater for row in raters for rater in row}, key=lambda r: (len(r), r))
    per_case = raters.map(len).value_counts().sort_index()
    facts = [
        Fact("cases", f"{len(cases):,} of {cases['patient'].nunique():,} patients"),
        Fact("slices", _range(cases["n_slices"], "per case", 0)),
        Fact("matrix", _sizes(cases)),
        Fact("pixel spacing", _range(cases["spacing_x"], "mm", 3)),
        Fact("slice spacing", _range(cases["spacing_z"], "mm", 2)),
        Fact("gantry tilt", _range(cases["tilt_deg"], "degrees", 1)),
        Fact("orientation", ", ".join(sorted(set(cases["orientation"])))),
        Fact("raters", ", ".join(names) or "none"),
        Fact(
            "raters per case",
            ", ".join(f"{k} on {n:,} case{'s' if n != 1 else ''}" for k, n in per_case.items()),
        ),
    ]
    return Inventory(
        len(cases),
        int(cases["patient"].nunique()),
        int(cases["n_slices"].sum()),
        f"{len(names)}",
        facts,
    )


def _range(values: pd.Series, unit: str, digits: int) -> str:
    """`low to high unit, median m`, or one value if all are equal; `unknown` for nothing."""
    known = pd.to_numeric(values, errors="coerce").dropna()
    if known.empty:
        return "unknown"
    low, middle, high = (f"{v:.{digits}f}" for v in (known.min(), known.median(), known.max()))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}, median {middle}"


def _sizes(cases: pd.DataFrame) -> str:
    sizes = (cases["size_x"].astype(str) + " × " + cases["size_y"].astype(str)).value_counts()
    most = [f"{size} ({n:,})" for size, n in sizes.head(3).items()]
    more = f" and {len(sizes) - 3} more" if len(sizes) > 3 else ""
    return ", ".join(most) + more


class SplitRow(NamedTuple):
    """Patients, cases and slices of one subset of one fold, and patients per class (or any)."""

    fold: int
    subset: str
    patients: int
    cases: int
    slices: int
    by_class: dict[str, int]


def split_rows(balance_tsv: Path) -> list[SplitRow]:
    """One row per fold and subset of split/balance.tsv; the test set, common to all folds, last."""
    balance = read_table(balance_tsv)
    rows = []
    for fold, subset in (
        (fold, subset) for fold in sorted(set(balance["fold"])) for subset in SUBSETS
    ):
        part = balance[(balance["fold"] == fold) & (balance["subset"] == subset)]
        if part.empty:
            continue
        counts = part.set_index("class")[["patients", "cases", "slices"]].astype(int)
        patients, cases, slices = counts.loc[partition.ALL]
        by_class = counts["patients"][[*KEYS, ANY]].to_dict()
        rows.append(SplitRow(int(fold), subset, patients, cases, slices, by_class))
    tests = [row for row in rows if row.subset == "test"]
    return [row for row in rows if row.subset != "test"] + tests[:1]


def image_counts(dataset_tsv: Path, fold_tsv: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Slices and patients of the PNG data set: subset -> class -> (slices, patients)."""
    counts = class_counts(read_table(dataset_tsv), read_table(fold_tsv))
    return {
        str(subset): {
            key: (int(slices), int(patients))
            for key, slices, patients in zip(
                part["class"], part["slices"], part["patients"], strict=True
            )
        }
        for subset, part in counts.groupby("subset", sort=False)
    }
