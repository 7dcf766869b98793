"""Scores of pairs of label volumes of one case: every score table is computed here."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import Labels
from mbhseg.imaging.nifti import voxel_ml
from mbhseg.metrics.lesions import Lesions, lesion_scores, lesions_by_class
from mbhseg.metrics.overlap import SCORED_CLASSES, ScoreRow, plane_confusions, score_confusion
from mbhseg.metrics.surface import Surface, diagonal_mm, surface_scores, surfaces_of


class CaseLabels(NamedTuple):
    """The label volumes of one case, by name, in one geometry.

    `volumes`: name to uint8 [x, y, z], all of one shape; `affine`: 4 x 4, voxel to mm; `kept`:
    the slices that are scored, None for all. The others are empty in every volume.
    """

    case: str
    patient: str
    volumes: Mapping[str, Labels]
    affine: NDArray[Any]
    kept: NDArray[np.integer[Any]] | None = None

    def planes(self, indices: NDArray[np.integer[Any]]) -> "CaseLabels":
        """The same case with only these slices scored, in the geometry of the whole scan."""
        volumes = {name: _only(volume, indices) for name, volume in self.volumes.items()}
        return self._replace(volumes=volumes, kept=indices)


def _only(volume: Labels, indices: NDArray[np.integer[Any]]) -> Labels:
    kept = np.zeros_like(volume)
    kept[:, :, indices] = volume[:, :, indices]
    return kept


class Pair(NamedTuple):
    """Names of two volumes: the candidate is scored against the reference."""

    candidate: str
    reference: str


class PairScores:
    """Scores pairs of one case's volumes; what several pairs need is computed once."""

    def __init__(self, labels: CaseLabels) -> None:
        self.labels = labels
        self._diagonal = diagonal_mm(next(iter(labels.volumes.values())).shape, labels.affine)
        self._confusions: dict[Pair, NDArray[np.int64]] = {}
        self._surfaces: dict[str, dict[str, Surface]] = {}
        self._lesions: dict[str, dict[str, Lesions]] = {}
        self._distances: dict[tuple[Pair, str], dict[str, float]] = {}

    def plane_confusions(self, pair: Pair) -> NDArray[np.int64]:
        """Counts [z, 6, 6] of the scored slices, reference label by candidate label."""
        if pair not in self._confusions:
            mirrored = Pair(pair.reference, pair.candidate)
            if mirrored in self._confusions:
                return self._confusions[mirrored].transpose(0, 2, 1)
            volumes = self.labels.volumes
            counts = plane_confusions(volumes[pair.reference], volumes[pair.candidate])
            kept = self.labels.kept
            self._confusions[pair] = counts if kept is None else counts[kept]
        return self._confusions[pair]

    def rows(self, pairs: Iterable[Pair]) -> list[ScoreRow]:
        """Six rows for each pair, EDH..SDH and `any`, with all columns of `summary.COLUMNS`.

        `max_probability` is NaN: labels have no probabilities.
        """
        return [row for pair in pairs for row in self._pair_rows(pair)]

    def _pair_rows(self, pair: Pair) -> list[ScoreRow]:
        ml = voxel_ml(self.labels.affine)
        lesions = self._lesions_of(pair.reference), self._lesions_of(pair.candidate)
        overlap = score_confusion(self.plane_confusions(pair).sum(axis=0), ml)
        return [
            {
                "case": self.labels.case,
                "patient": self.labels.patient,
                "candidate": pair.candidate,
                "reference": pair.reference,
                **row,
                **self._surface_scores(pair, key),
                **lesion_scores(lesions[0][key], lesions[1][key], ml),
                "max_probability": float("nan"),
            }
            for key, row in zip(SCORED_CLASSES, overlap, strict=True)
        ]

    def _surface_scores(self, pair: Pair, key: str) -> dict[str, float]:
        """Surface scores of one class; the pair and its reverse share one computation."""
        first, second = sorted(pair)
        known = Pair(first, second), key
        if known not in self._distances:
            surfaces = self._surfaces_of(first)[key], self._surfaces_of(second)[key]
            self._distances[known] = surface_scores(*surfaces, self._diagonal)
        return self._distances[known]

    def _surfaces_of(self, name: str) -> dict[str, Surface]:
        if name not in self._surfaces:
            self._surfaces[name] = surfaces_of(self.labels.volumes[name], self.labels.affine)
        return self._surfaces[name]

    def _lesions_of(self, name: str) -> dict[str, Lesions]:
        if name not in self._lesions:
            self._lesions[name] = lesions_by_class(self.labels.volumes[name])
        return self._lesions[name]
