"""Overlap of two label volumes: voxels are counted once, then Dice per class follows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import ANY, FOREGROUND, KEYS, N_LABELS, Labels

ScoreRow = dict[str, Any]

SCORED_CLASSES = (*KEYS, ANY)


def plane_confusions(reference: Labels, candidate: Labels) -> NDArray[np.int64]:
    """Voxel counts [z, 6, 6] of every slice: reference label by candidate label.

    Both volumes are uint8 [x, y, z] with labels 0..5. After one comparison of the whole
    arrays the work grows with the labelled voxels only; Fortran order (NIfTI's) is fastest.
    A volume without slices gives [0, 6, 6]. Raises ValueError if the shapes differ.
    """
    if reference.shape != candidate.shape or reference.ndim != 3:
        raise ValueError(
            f"volumes {reference.shape} and {candidate.shape} do not match as [x, y, z]"
        )
    n_planes = reference.shape[2]
    plane_size = reference.shape[0] * reference.shape[1]
    flat_reference = reference.ravel(order="F")
    flat_candidate = candidate.ravel(order="F")
    drawn = np.flatnonzero((flat_reference | flat_candidate) != 0)
    pairs = flat_reference[drawn].astype(np.int64) * N_LABELS + flat_candidate[drawn]
    if plane_size:
        pairs += drawn // plane_size * N_LABELS**2
    counts = np.bincount(pairs, minlength=n_planes * N_LABELS**2)
    confusions = counts.reshape(n_planes, N_LABELS, N_LABELS).astype(np.int64, copy=False)
    confusions[:, 0, 0] = plane_size - confusions.sum(axis=(1, 2))
    return confusions


def confusion(reference: Labels, candidate: Labels) -> NDArray[np.int64]:
    """Voxel counts [6, 6] of the whole volume: reference label by candidate label."""
    return plane_confusions(reference, candidate).sum(axis=0)


def class_counts(confusion: NDArray[np.int64]) -> dict[str, tuple[Any, Any, Any]]:
    """Counts (reference, candidate, intersection) of EDH..SDH and of any hemorrhage.

    Takes [..., 6, 6] and gives arrays of the leading shape. `any` is the union of the five
    classes, so a voxel of SDH predicted as EDH counts as correct.
    """
    counts = {
        c.key: (
            confusion[..., c.label, :].sum(axis=-1),
            confusion[..., :, c.label].sum(axis=-1),
            confusion[..., c.label, c.label],
        )
        for c in FOREGROUND
    }
    counts[ANY] = (
        confusion[..., 1:, :].sum(axis=(-2, -1)),
        confusion[..., :, 1:].sum(axis=(-2, -1)),
        confusion[..., 1:, 1:].sum(axis=(-2, -1)),
    )
    return counts


def dice(reference: Any, candidate: Any, intersection: Any) -> Any:
    """Dice 2|R∩C| / (|R|+|C|) from counts, elementwise; NaN where both are empty.

    This is nnU-Net's convention: 0 if only one of the two is empty.
    """
    total = np.asarray(reference, np.float64) + candidate
    with np.errstate(invalid="ignore"):
        return 2.0 * np.asarray(intersection, np.float64) / total


def status_of(reference: int, candidate: int) -> str:
    """`both`, `missed` (reference only), `spurious` (candidate only) or `absent`, from counts."""
    if reference:
        return "both" if candidate else "missed"
    return "spurious" if candidate else "absent"


def score_counts(key: str, counts: tuple[int, int, int], voxel_ml: float) -> ScoreRow:
    """The overlap columns of one class, from counts (reference, candidate, intersection)."""
    reference, candidate, intersection = (int(n) for n in counts)
    return {
        "class": key,
        "reference_voxels": reference,
        "candidate_voxels": candidate,
        "intersection": intersection,
        "reference_ml": reference * voxel_ml,
        "candidate_ml": candidate * voxel_ml,
        "status": status_of(reference, candidate),
        "dice": float(dice(reference, candidate, intersection)),
    }


def score_confusion(confusion: NDArray[np.int64], voxel_ml: float) -> list[ScoreRow]:
    """Six rows, EDH..SDH and `any`, from one confusion matrix [6, 6]: reference by candidate.

    `voxel_ml` is the volume of a voxel in ml. Columns: class, reference_voxels, candidate_voxels,
    intersection, reference_ml, candidate_ml, status (see `status_of`) and dice (see `dice`). A
    matrix without hemorrhage gives six rows `absent`.
    """
    return [score_counts(key, n, voxel_ml) for key, n in class_counts(confusion).items()]
