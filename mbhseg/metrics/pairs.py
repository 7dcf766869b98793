"""Scores of pairs of label volumes of one case: the one function that every table comes from."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.metrics.overlap import Row, plane_confusions, score_confusion
from mbhseg.volumes import voxel_ml


class CaseLabels(NamedTuple):
    """The label volumes of one case, by name, in one geometry.

    `volumes`: name to uint8 [x, y, z], all of one shape; `affine`: 4 x 4, voxel to mm.
    """

    case: str
    patient: str
    volumes: Mapping[str, NDArray[np.uint8]]
    affine: NDArray[Any]

    def planes(self, indices: NDArray[np.integer[Any]]) -> "CaseLabels":
        """The same case with only these slice planes; the affine stays the whole volume's."""
        return self._replace(volumes={k: v[:, :, indices] for k, v in self.volumes.items()})


class Pair(NamedTuple):
    """Names of two volumes: the candidate is scored against the reference."""

    candidate: str
    reference: str


class PairScores:
    """Scores pairs of one case's volumes, computing what two pairs share only once."""

    def __init__(self, labels: CaseLabels) -> None:
        self.labels = labels
        self._confusions: dict[Pair, NDArray[np.int64]] = {}

    def plane_confusions(self, pair: Pair) -> NDArray[np.int64]:
        """Counts [z, 6, 6], reference label by candidate label."""
        if pair not in self._confusions:
            mirrored = Pair(pair.reference, pair.candidate)
            if mirrored in self._confusions:
                self._confusions[pair] = self._confusions[mirrored].transpose(0, 2, 1)
            else:
                volumes = self.labels.volumes
                self._confusions[pair] = plane_confusions(
                    volumes[pair.reference], volumes[pair.candidate]
                )
        return self._confusions[pair]

    def rows(self, pairs: Iterable[Pair]) -> list[Row]:
        """Six rows for each pair, with all columns of `summary.COLUMNS`."""
        ml = voxel_ml(self.labels.affine)
        return [
            {
                "case": self.labels.case,
                "patient": self.labels.patient,
                "candidate": pair.candidate,
                "reference": pair.reference,
                **row,
            }
            for pair in pairs
            for row in score_confusion(self.plane_confusions(pair).sum(axis=0), ml)
        ]
