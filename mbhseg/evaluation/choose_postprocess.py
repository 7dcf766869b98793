"""Chooses the post-processing on the validation cases; the test set has no influence."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import FOREGROUND, KEYS, Labels
from mbhseg.files import read_table, write_json
from mbhseg.imaging.nifti import voxel_ml
from mbhseg.inspect.archive import Archive
from mbhseg.metrics.bootstrap import means_of
from mbhseg.metrics.lesions import lesions_of
from mbhseg.metrics.overlap import dice
from mbhseg.predictions.postprocess import EXTRA_AXIAL, reconciled
from mbhseg.predictions.reading import read_prediction
from mbhseg.prepare.annotations import read_raters
from mbhseg.prepare.consensus import Consensus, consensus
from mbhseg.split.partition import members


class Components(NamedTuple):
    """Components of one class in one case: their volumes and their voxels that count for Dice.

    `ml` [n]: volume of the whole component; `voxels` [n]: its scored voxels; `common` [n]: those
    among them in the reference; `reference`: scored voxels of the reference.
    """

    ml: NDArray[np.float64]
    voxels: NDArray[np.int64]
    common: NDArray[np.int64]
    reference: int

    def dice(self, min_ml: Sequence[float]) -> NDArray[np.float64]:
        """Dice after dropping the components below each of the sizes; NaN if both are empty."""
        kept = self.ml[None, :] >= np.asarray(min_ml, np.float64)[:, None]
        return np.asarray(dice(self.reference, kept @ self.voxels, kept @ self.common))


def components_of(
    labels: Labels, truth: Labels, ml: float, scored: NDArray[np.bool_]
) -> dict[str, Components]:
    """The components of each class of predicted labels, against the truth; both [x, y, z].

    `scored` [z] says which planes count; a component's volume includes the other planes.
    """
    components = {}
    for c in FOREGROUND:
        lesions = lesions_of(labels == c.label)
        counted = np.where(scored[lesions.box[2]], lesions.labels, 0)
        n = len(lesions.voxels) + 1
        common = counted[truth[lesions.box] == c.label]
        components[c.key] = Components(
            np.asarray(lesions.voxels * ml, np.float64),
            np.bincount(counted.ravel(), minlength=n)[1:],
            np.bincount(common, minlength=n)[1:],
            int((truth[:, :, scored] == c.label).sum()),
        )
    return components


def choose(
    cases: Iterable[Mapping[bool, Mapping[str, Components]]],
    min_ml: Sequence[float],
    reconcile: bool,
) -> dict[str, Any]:
    """Choose the settings with the best mean Dice of the cases, in nnU-Net's convention.

    `cases` hold each case's components by class, with EDH and SDH as predicted (False) and
    reconciled (True); `min_ml` are the sizes to try, and 0 is always tried; reconciling is only
    tried with `reconcile`. Reconciling is chosen first, by the mean of EDH and SDH, then the size
    per class; a step is left out if it does not help, and of equally good sizes the smallest is
    taken. Returns the choice and what was tried, as docs/scores.md describes the file. Without
    cases nothing is done to labels.
    """
    sizes = sorted({0.0, *map(float, min_ml)})
    held = list(cases)
    means = {
        way: {key: _means([case[way][key] for case in held], sizes) for key in KEYS}
        for way in (False, True)
    }
    untouched = {way: {key: float(means[way][key][0]) for key in KEYS} for way in means}
    off, on = (_mean([untouched[way][key] for key in EXTRA_AXIAL]) for way in (False, True))
    way = reconcile and on > off
    best = {key: _first_best(means[way][key]) for key in KEYS}
    return {
        "reconcile": way,
        "min_ml": {key: sizes[n] for key, n in best.items()},
        "dice": {
            "raw": untouched[False],
            "processed": {key: float(means[way][key][n]) for key, n in best.items()},
        },
        "tried": {
            "reconcile": {"off": off, "on": on} if reconcile else {"off": off},
            "min_ml": {
                key: {f"{size:g}": float(m) for size, m in zip(sizes, means[way][key], strict=True)}
                for key in KEYS
            },
        },
    }


def _means(cases: list[Components], sizes: Sequence[float]) -> NDArray[np.float64]:
    """Mean Dice of a class over the cases for each size; NaN without a case that has it."""
    none = np.zeros((0, len(sizes)))
    return means_of(np.concatenate([none, *(case.dice(sizes)[None] for case in cases)]))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")


def _first_best(means: NDArray[np.float64]) -> int:
    """The first of the best; 0 if the first is NaN, as then no size can help."""
    return 0 if np.isnan(means[0]) else int(np.nanargmax(means))


def run(
    archive_path: str | Path,
    split_table: str | Path,
    subset: str,
    predictions: str | Path,
    out_json: str | Path,
    consensus_rule: Mapping[str, Any] | None = None,
    *,
    min_ml: Sequence[float],
    reconcile: bool,
) -> None:
    """Choose the post-processing of a run on a subset of its split, and write the choice.

    Arguments as of `run_summary.evaluate_run`. A subset without cases chooses to do nothing. Raises
    InputError if a prediction is missing or does not fit.
    """
    rule = Consensus(**consensus_rule or {})
    cases = members(read_table(split_table), subset)
    with Archive(archive_path) as archive:
        held = [
            _case_components(archive, case, slices, predictions, rule, reconcile)
            for case, slices in cases.items()
        ]
    chosen = choose(held, min_ml, reconcile)
    write_json(out_json, {"chosen_on": {"subset": subset, "n_cases": len(held)}, **chosen})


def _case_components(
    archive: Archive,
    case: str,
    slices: Sequence[int] | None,
    predictions: str | Path,
    rule: Consensus,
    reconcile: bool,
) -> dict[bool, dict[str, Components]]:
    rated = read_raters(archive, case, archive.scan(case))
    labels = read_prediction(predictions, rated)
    truth = consensus(rated.labels, *rule, where=case)
    scored = np.ones(labels.shape[2], bool)
    if slices is not None:
        scored[:] = False
        scored[slices] = True
    ml = voxel_ml(rated.affine)
    raw = components_of(labels, truth, ml, scored)
    return {
        False: raw,
        True: components_of(reconciled(labels), truth, ml, scored) if reconcile else raw,
    }
