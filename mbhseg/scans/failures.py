"""Scans that could not be predicted: each a line, none of them lost."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mbhseg.errors import InputError

_NAMED = 5  # scans in one message


class Failure(NamedTuple):
    """A scan that could not be predicted, a row of failed.tsv."""

    case: str
    file: str
    what: str
    remedy: str

    @classmethod
    def of(cls, name: str, error: InputError) -> "Failure":
        """What an InputError says."""
        return cls(name, error.where, error.problem, error.remedy)


def failed_table(failures: Sequence[Failure]) -> pd.DataFrame:
    """The rows of failed.tsv: case, file, what, remedy."""
    return pd.DataFrame(failures, columns=list(Failure._fields), dtype=object)


def refuse_failures(table: pd.DataFrame, where: str | Path) -> None:
    """Raise InputError, naming the first scans, if the table of failures has a row."""
    if table.empty:
        return
    named = "; ".join(f"{row.case}: {row.what}" for row in table.head(_NAMED).itertuples())
    more = f"; and {len(table) - _NAMED} more" if len(table) > _NAMED else ""
    raise InputError(
        where,
        f"{len(table)} scans could not be predicted ({named}{more})",
        "Mend or leave out the scans that it lists; the results of the others are there",
    )
