"""What quality control has to say about a case or a file."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import pandas as pd

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


class Finding(NamedTuple):
    """One row of inventory/findings.tsv.

    `case` is empty where the whole archive is meant, `file` (a member of the archive) where the
    whole case is. An error makes the case unusable, a warning wants a look, an info is a fact
    worth knowing. `what` and `remedy` are one line each.
    """

    case: str
    file: str
    severity: Severity
    what: str
    remedy: str


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """One row a finding, sorted by case and file, the grave ones first; equal rows once."""
    ranked = sorted(
        set(findings), key=lambda f: (f.case, f.file, SEVERITIES.index(f.severity), f.what)
    )
    return pd.DataFrame(ranked, columns=list(Finding._fields), dtype=object)
