"""Scans that could not be predicted: one row each in failed.tsv."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mbhseg.errors import InputError

_NAMED = 5  # scans in one message


class Failure(NamedTuple):
    """A scan that could not be predicted: a row of failed.tsv."""

    case: str
    file: str
    what: str
    remedy: str

    @classmethod
    def of(cls, name: str, error: InputError) -> "Failure":
        """The failure that an InputError describes."""
        return cls(name, error.where, error.problem, error.remedy)


def failed_table(failures: Sequence[Failure]) -> pd.DataFrame:
    """The rows of failed.tsv: case, file, what, remedy."""
    return pd.DataFrame(failures, columns=list(Failure._fields), dtype=object)


def refuse_failures(table: pd.DataFrame, where: str | Path) -> None:
    """Raise InputError, naming the first scans, if the table of failures is not empty."""
    if table.empty:
        return
    named = "; ".join(f"{row.case}: {row.what}" for row in table.head(_NAMED).itertuples())
    more = f"; and {len(table) - _NAMED} more" if len(table) > _NAMED else ""
    raise InputError(
        where,
        f"{len(table)} scans could not be predicted ({named}{more})",
        "Fix or exclude the listed scans; the others succeeded",
    )
