"""Findings of quality control on a case or a file."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import pandas as pd

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


class Finding(NamedTuple):
    """One row of inventory/findings.tsv.

    `case` is empty if the finding is on the whole archive, `file` (a member of the archive) if it
    is on the whole case. An error makes the case unusable, a warning should be looked at, an info
    needs no action. `what` and `remedy` are one line each.
    """

    case: str
    file: str
    severity: Severity
    what: str
    remedy: str


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """One row per finding, sorted by case and file, the severe ones first; equal rows once."""
    ranked = sorted(
        set(findings), key=lambda f: (f.case, f.file, SEVERITIES.index(f.severity), f.what)
    )
    return pd.DataFrame(ranked, columns=list(Finding._fields), dtype=object)
