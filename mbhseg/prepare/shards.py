"""Which cases a shard of a data stage works on, and which of their planes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from mbhseg.files import read_table
from mbhseg.prepare.slices import select_planes

T = TypeVar("T")

_SEED = 137  # of the random choice of planes without hemorrhage


def shard_of(items: Sequence[T], name: str) -> list[T]:
    """Every n-th of the items, starting with the i-th; `name` is `<i>-of-<n>`, i from 1."""
    index, count = (int(part) for part in name.split("-of-"))
    return list(items[index - 1 :: count])


def kept_planes(
    usable: Path, slices: Path, keep: dict[str, Any], rater: int | None, shard: str = "1-of-1"
) -> dict[str, list[int]]:
    """The planes to keep of each case of a shard.

    `usable` and `slices` are the inventory's tables; `keep` holds `keep` and `fraction` for
    `slices.select_planes`; `rater`, if given, is the only one whose labels count.
    """
    cases, counts = read_table(usable), read_table(slices)
    sizes = dict(zip(cases["case"], cases["n_slices"], strict=True))
    raters = None if rater is None else [rater]
    by_case = dict(tuple(counts.groupby("case")))
    return {
        case: select_planes(
            by_case.get(case, counts.iloc[:0]),
            int(sizes[case]),
            seed=_SEED,
            case=case,
            raters=raters,
            **keep,
        )
        for case in shard_of(sorted(sizes), shard)
    }
