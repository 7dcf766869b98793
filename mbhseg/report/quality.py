"""Quality control in the report: findings, pictures of flagged cases, excluded cases."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mbhseg.files import read_table
from mbhseg.inspect.findings import SEVERITIES
from mbhseg.report.assets import Assets, Picture

MAX_FINDINGS = 200  # rows on the page; findings.tsv has all
MAX_THUMBNAILS = 120  # about 3 MB
MAX_CASES = 1000  # cases on the page, flagged or excluded


class Flagged(NamedTuple):
    """A case with an error or a warning: its findings, errors first, and its thumbnail.

    `excluded` cases are not used after the inspection. `thumbnail` is None where the scan cannot
    be read, or beyond the first MAX_THUMBNAILS cases.
    """

    case: str
    excluded: bool
    findings: list[dict[str, Any]]
    thumbnail: Picture | None


class Quality(NamedTuple):
    """The findings of the inspection.

    `findings` are rows of findings.tsv, errors first, at most MAX_FINDINGS; `counts` is their
    number per severity. `flagged` are the cases with errors or warnings, excluded ones first, at
    most MAX_CASES of `n_flagged`; `n_excluded` and `n_thumbnails` count cases.
    """

    findings: list[dict[str, Any]]
    counts: dict[str, int]
    flagged: list[Flagged]
    n_flagged: int
    n_excluded: int
    n_thumbnails: int


def quality(
    cases_tsv: Path, findings_tsv: Path, thumbnails: Sequence[Path], assets: Assets
) -> Quality:
    """Summarise inventory/cases.tsv and findings.tsv; copy the flagged cases' thumbnails.

    `thumbnails` are the folders with `<case>.png`. Findings about the whole archive flag no case.
    """
    cases, found = read_table(cases_tsv), _by_severity(read_table(findings_tsv))
    excluded = set(cases.loc[cases["status"] == "excluded", "case"])
    notable = found[found["severity"].isin(SEVERITIES[:2]) & found["case"].isin(cases["case"])]
    rows = {str(case): _records(part) for case, part in notable.groupby("case")}
    names = sorted(rows.keys() | excluded, key=lambda case: (case not in excluded, case))
    pictures: dict[str, Picture] = {}
    for case in names:
        source = next((p for f in thumbnails if (p := Path(f) / f"{case}.png").is_file()), None)
        if source is not None and len(pictures) < MAX_THUMBNAILS:
            alt = f"Slices of {case} with labels in colour"
            pictures[case] = assets.picture(
                source, f"img/qc/case{len(pictures):04d}", alt, lossy=True
            )
    return Quality(
        _records(found.head(MAX_FINDINGS)),
        {name: int((found["severity"] == name).sum()) for name in SEVERITIES},
        [
            Flagged(case, case in excluded, rows.get(case, []), pictures.get(case))
            for case in names[:MAX_CASES]
        ],
        len(names),
        len(excluded),
        len(pictures),
    )


def _by_severity(found: pd.DataFrame) -> pd.DataFrame:
    order = {name: n for n, name in enumerate(SEVERITIES)}
    ranked = found.assign(_order=found["severity"].map(order).fillna(len(order)))
    return ranked.sort_values("_order", kind="stable").drop(columns="_order")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
