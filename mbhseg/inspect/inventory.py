"""The inventory of a data set: shards joined, cases compared, and the gate."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mbhseg.classes import FOREGROUND, KEYS
from mbhseg.errors import InputError
from mbhseg.inspect.findings import Finding, findings_table

CASE_COLUMNS = (
    *("case", "patient", "n_slices", "raters", "size_x", "size_y"),
    *("spacing_x", "spacing_y", "spacing_z", "voxel_ml", "orientation", "tilt_deg", "shear_deg"),
    *("image_dtype", "hu_min", "hu_max", "classes", "status", "image_sha256"),
)
SLICE_COLUMNS = ("case", "slice", "rater", *KEYS)
ON_ERROR = ("fail", "exclude")
_NAMED = 3  # errors in the gate's message


class Inventory(NamedTuple):
    """The three tables of a data set, or of a shard of it.

    `cases` has one row per case: spacing in mm, `voxel_ml` the volume of a voxel in ml,
    `orientation` the sides that the voxel axes run to (nibabel's letters), `tilt_deg` and
    `shear_deg` as in `mbhseg.imaging.geometry`, `classes` annotated by any rater, `status` ok,
    warning or excluded, and `image_sha256` of the voxels. What could not be read is 0, empty or
    missing.
    `slices` has the voxels of each class per rater and labelled slice.
    `findings` has one row per finding.
    """

    cases: pd.DataFrame
    slices: pd.DataFrame
    findings: pd.DataFrame


def with_status(cases: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """The cases with `status`: excluded after an error, warning after a warning, else ok."""
    errors = set(findings["case"][findings["severity"] == "error"])
    warnings = set(findings["case"][findings["severity"] == "warning"])
    status = [
        "excluded" if case in errors else "warning" if case in warnings else "ok"
        for case in cases["case"]
    ]
    return cases.assign(status=pd.Series(status, index=cases.index, dtype=object))


def merge(shards: Iterable[Inventory]) -> Inventory:
    """Join the shards and compare their cases.

    Adds findings on patients with several scans, scans that are the same voxel for voxel, scans
    whose orientation differs from most, and classes that no rater annotated. Does not depend on
    how the cases were split into shards.
    """
    shards = list(shards)
    cases = _stacked([shard.cases for shard in shards], ["case"])
    slices = _stacked([shard.slices for shard in shards], ["case", "rater", "slice"])
    all_findings = [
        Finding(*row)
        for shard in shards
        for row in shard.findings[list(Finding._fields)].itertuples(index=False, name=None)
    ]
    all_findings += [*_several_scans(cases), *_duplicates(cases), *_other_way(cases)]
    findings = findings_table([*all_findings, *_absent_classes(cases)])
    return Inventory(with_status(cases, findings), slices, findings)


def _stacked(tables: list[pd.DataFrame], by: list[str]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)] or tables[:1]
    return pd.concat(filled, ignore_index=True).sort_values(by, ignore_index=True)


def _several_scans(cases: pd.DataFrame) -> Iterable[Finding]:
    for _, scans in cases.groupby("patient"):
        if len(scans) > 1:
            what = f"patient {scans['patient'].iloc[0]} has {len(scans)} scans"
            for case in scans["case"]:
                yield Finding(case, "", "info", what, "Nothing to do; splits are by patient")


def _duplicates(cases: pd.DataFrame) -> Iterable[Finding]:
    for _, scans in cases[cases["image_sha256"] != ""].groupby("image_sha256"):
        for case, patient in zip(scans["case"], scans["patient"], strict=True):
            others = scans[scans["case"] != case]
            strangers = others[others["patient"] != patient]
            if len(strangers):
                what = (
                    f"the scan is {strangers['case'].iloc[0]}'s of another patient, voxel for voxel"
                )
                remedy = "Find out whose it is; keep one, or exclude both"
                yield Finding(case, "", "error", what, remedy)
            elif len(others):
                what = f"the scan is {others['case'].iloc[0]}'s, voxel for voxel"
                yield Finding(case, "", "warning", what, "Keep one of the two")


def _other_way(cases: pd.DataFrame) -> Iterable[Finding]:
    known = cases[cases["orientation"] != ""]
    if known["orientation"].nunique() < 2:
        return
    counts = known["orientation"].value_counts()
    usual = min(counts.index, key=lambda code: (-counts[code], code))
    for case, code in zip(known["case"], known["orientation"], strict=True):
        if code != usual:
            what = f"orientation {code}, most scans have {usual}: its slices are turned or flipped"
            yield Finding(case, "", "warning", what, f"Reorient the scan and its masks to {usual}")


def _absent_classes(cases: pd.DataFrame) -> Iterable[Finding]:
    drawn = {key for classes in cases["classes"] for key in classes.split(",")}
    for c in FOREGROUND:
        if c.key not in drawn:
            remedy = "Add cases that have it; it can be neither learned nor scored without"
            yield Finding("", "", "warning", f"no case with {c.name} ({c.key})", remedy)


def gate(
    cases: pd.DataFrame, findings: pd.DataFrame, on_error: str, where: str | Path
) -> pd.DataFrame:
    """The rows of usable cases.

    With `on_error` fail, an error in any case raises; with exclude, such cases are left out.
    `where` is the findings table on disk, which the message names.

    Raises InputError if there are errors and `on_error` is fail, or if no case is left; ValueError
    for another `on_error`.
    """
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error is {on_error!r}, not one of {', '.join(ON_ERROR)}")
    errors = findings[findings["severity"] == "error"]
    named = "; ".join(
        f"{file or case}: {what}"
        for case, file, what in errors[["case", "file", "what"]].head(_NAMED).to_numpy()
    )
    more = f"; and {len(errors) - _NAMED} more" if len(errors) > _NAMED else ""
    if len(errors) and on_error == "fail":
        problem = f"{len(errors)} error{'s' * (len(errors) > 1)} in the data: {named}{more}"
        raise InputError(where, problem, "Fix the data, or set qc.on_error: exclude")
    usable = cases[cases["status"] != "excluded"].reset_index(drop=True)
    if usable.empty:
        problem = f"no case is usable: {named}{more}"
        raise InputError(where, problem, "Fix the data, or choose another data set")
    return usable
