"""Names of runs (experiment, fold, seed), subsets, and the keys that may be probed."""

import re
from collections.abc import Iterable
from typing import NamedTuple

SUBSETS = ("train", "valid", "test")
NAME = r"[a-zA-Z][a-zA-Z0-9_]*"
RUN = rf"{NAME}-f[0-9]+-s[0-9]+"
PROBED = ("precision", "batch", "threads")  # keys of training that may be `probe`
ENSEMBLE = "-ensemble"  # after an experiment's name: all of its folds and seeds


def any_of(names: Iterable[str]) -> str:
    """Regular expression that matches each of the names; of no names, one that matches nothing."""
    return "|".join(names) or "(?!)"


class Run(NamedTuple):
    """One training: an experiment's recipe on one fold with one seed."""

    experiment: str
    fold: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.experiment}-f{self.fold}-s{self.seed}"

    @classmethod
    def parse(cls, name: str) -> "Run":
        """The run of a name such as `flexunet-f0-s137`; ValueError for any other name."""
        match = re.fullmatch(rf"({NAME})-f([0-9]+)-s([0-9]+)", name)
        if not match:
            raise ValueError(f"{name!r} is not <experiment>-f<fold>-s<seed>")
        return cls(match[1], int(match[2]), int(match[3]))
