"""Scores predictions against the consensus and each rater, and the raters themselves."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.classes import ANY, FOREGROUND, N_LABELS
from mbhseg.errors import InputError
from mbhseg.evaluation import threshold
from mbhseg.evaluation.agreement import CONSENSUS, reader_pairs, reader_volumes
from mbhseg.imaging.nifti import image_array, voxel_ml
from mbhseg.inspect.archive import Archive
from mbhseg.metrics import calibration, groups, organisers
from mbhseg.metrics.overlap import ScoreRow, class_counts, dice
from mbhseg.metrics.pairs import CaseLabels, Pair, PairScores
from mbhseg.metrics.summary import OVERLAP_COLUMNS, join_tables, score_table, typed_table
from mbhseg.predictions.postprocess import Postprocessing
from mbhseg.predictions.reading import has_probabilities, read_prediction, read_probabilities
from mbhseg.predictions.writing import FULL
from mbhseg.prepare.annotations import rater_name, read_raters
from mbhseg.prepare.consensus import Consensus
from mbhseg.runtime.parallel import in_order

PROCESSED = "+post"
SLICE_COUNTS = ("reference_voxels", "candidate_voxels", "intersection")
SLICE_COLUMNS = ("case", "slice", "class", *SLICE_COUNTS, "dice")
ORGANISERS_COLUMNS: dict[str, str] = {
    **dict.fromkeys(("case", "patient", "candidate", "reference"), "str"),
    "n_raters": "int64",
    **dict.fromkeys(organisers.COLUMNS, "float64"),
}


class Evaluation(NamedTuple):
    """The result of `evaluate_cases`; docs/scores.md describes the tables.

    `confusions` are the counts [n, 6, 6] of all scored slices, model against consensus; `band` is
    the best HU band (None without hemorrhage), `probabilities` whether there were any.
    """

    model: pd.DataFrame
    processed: pd.DataFrame
    ceiling: pd.DataFrame
    groups: pd.DataFrame
    organisers: pd.DataFrame
    calibration: pd.DataFrame
    threshold: pd.DataFrame
    slices: pd.DataFrame
    confusions: NDArray[np.int64]
    band: threshold.Band | None
    probabilities: bool


class CaseScores(NamedTuple):
    """The contribution of one case to an `Evaluation`, before the band is known."""

    case: str
    patient: str
    model: pd.DataFrame
    processed: pd.DataFrame
    ceiling: pd.DataFrame
    groups: pd.DataFrame
    organisers: pd.DataFrame
    calibration: pd.DataFrame
    slices: pd.DataFrame
    confusions: NDArray[np.int64]
    histogram: threshold.BleedHistogram
    voxel_ml: float


class Task(NamedTuple):
    """What is the same for every case: where predictions are, and how they are scored."""

    archive: Path
    predictions: Path
    candidate: str
    rule: Consensus
    post: Postprocessing | None
    probabilities: bool


def model_name(run: str) -> str:
    """The run's name in the candidate column; after post-processing `PROCESSED` follows."""
    return f"model:{run}"


def evaluate_case(
    archive: Archive, case: str, slices: Sequence[int] | None, task: Task
) -> CaseScores:
    """Score one case, or only its planes `slices`, as described in `evaluate_cases`.

    The consensus is made from the whole volume, so it does not depend on which planes are scored;
    post-processing is applied to the whole volume too.
    """
    scan = archive.scan(case)
    rated = read_raters(archive, case, scan)
    ml = voxel_ml(rated.affine)
    predicted = {task.candidate: read_prediction(task.predictions, rated)}
    if task.post is not None:
        processed = task.post.apply(predicted[task.candidate], ml)
        predicted[task.candidate + PROCESSED] = processed
    hu = image_array(scan)
    planes = np.arange(hu.shape[2])
    labels = reader_volumes(rated, task.rule)
    labels = labels._replace(volumes={**labels.volumes, **predicted})
    if slices is not None:
        planes = _planes(slices, hu.shape[2], f"{archive.path}:{case}")
        labels = labels.planes(planes)
    truth = labels.volumes[CONSENSUS]
    histogram = threshold.bleed_histogram(hu[:, :, planes], truth[:, :, planes])
    del scan, hu  # a quarter of the memory

    scores = PairScores(labels)
    names = [rater_name(rater) for rater in rated.labels]
    rows = {
        candidate: scores.rows(Pair(candidate, reference) for reference in (CONSENSUS, *names))
        for candidate in predicted
    }
    ceiling = scores.rows(reader_pairs(rated, task.rule))
    held = groups.groups_of(list(predicted), names)
    bins: list[ScoreRow] = []
    if task.probabilities:
        likely = read_probabilities(task.predictions, rated)
        peaks = _peaks(likely, planes)
        for row in rows[task.candidate]:
            row["max_probability"] = peaks[row["class"]]
        volumes = {name: labels.volumes[name] for name in names}
        who = {"case": case, "patient": rated.patient, "candidate": task.candidate}
        bins = calibration.calibration_rows(likely, volumes, rated.affine, who)
    confusions = scores.plane_confusions(Pair(task.candidate, CONSENSUS))
    everything = [*ceiling, *(row for part in rows.values() for row in part)]
    return CaseScores(
        case,
        rated.patient,
        score_table(rows[task.candidate]),
        score_table(rows.get(task.candidate + PROCESSED, [])),
        score_table(ceiling),
        typed_table(groups.group_rows(everything, held), groups.COLUMNS),
        typed_table(_organisers_rows(labels, held), ORGANISERS_COLUMNS),
        typed_table(bins, calibration.COLUMNS),
        slice_table(case, planes, confusions),
        confusions,
        histogram,
        ml,
    )


def _planes(slices: Sequence[int], n_planes: int, where: str) -> NDArray[np.int64]:
    planes = np.asarray(slices, np.int64)
    odd = planes[(planes < 0) | (planes >= n_planes)]
    if odd.size:
        raise InputError(where, f"has no slice {odd[0]}, only {n_planes}", "Run split again")
    return planes


def _peaks(likely: NDArray[np.uint8], planes: NDArray[np.int64]) -> dict[str, float]:
    """The largest probability of each class and of any, in the planes; 0 without planes."""
    if not planes.size:
        return dict.fromkeys((*(c.key for c in FOREGROUND), ANY), 0.0)
    whole = np.zeros(likely.shape[:2], np.uint16)
    peaks = np.zeros((len(FOREGROUND) + 1,), np.int64)
    for plane in planes:
        part = likely[:, :, plane]
        whole[:] = 0
        for n in range(len(FOREGROUND)):
            whole += part[..., n]
            peaks[n] = max(peaks[n], part[..., n].max())
        peaks[-1] = max(peaks[-1], min(whole.max(), FULL))
    keys = (*(c.key for c in FOREGROUND), ANY)
    return dict(zip(keys, (peaks / FULL).tolist(), strict=True))


def _organisers_rows(labels: CaseLabels, held: Iterable[groups.Group]) -> list[ScoreRow]:
    """The challenge's scores of each group, from the voxels that any volume labels."""
    flat = {name: volume.ravel(order="F") for name, volume in labels.volumes.items()}
    drawn = functools.reduce(np.bitwise_or, flat.values())
    labelled = np.flatnonzero(drawn)
    few = {name: volume[labelled] for name, volume in flat.items()}
    size, n_planes = drawn.size, next(iter(labels.volumes.values())).shape[2]
    if labels.kept is not None and n_planes:
        size = size // n_planes * len(labels.kept)
    return [
        {
            "case": labels.case,
            "patient": labels.patient,
            "candidate": group.candidate,
            "reference": group.reference,
            "n_raters": len(group.raters),
            **organisers.organisers_scores(
                [few[rater] for rater in group.raters],
                [few[group.candidate]],
                size - len(labelled),
            ),
        }
        for group in held
    ]


def evaluate_cases(
    archive: Archive,
    cases: Mapping[str, Sequence[int] | None],
    predictions: str | Path,
    run: str,
    rule: Consensus | None = None,
    post: Postprocessing | None = None,
    processes: int = 1,
) -> Evaluation:
    """Score the predictions of a run on whole cases (None), or on the listed slices of each.

    In every case the prediction, and with `post` the post-processed one, is scored against the
    consensus and each rater, and the raters are scored against each other
    (`agreement.reader_pairs`), all by the same function on the same voxels; a case with one rater
    adds nothing to the ceiling. The HU threshold is scored against the consensus. Probabilities
    are scored if the folder holds them. Every case counts: InputError is raised for a prediction
    that is missing or in another grid, and for a slice that the scan does not have.

    Cases are read one after the other, so memory does not grow with their volumes. Up to
    `processes` processes share the cases; the result does not depend on their number.
    """
    task = Task(
        archive.path,
        Path(predictions),
        model_name(run),
        rule or Consensus(),
        post,
        has_probabilities(predictions),
    )
    scored = list(in_order(functools.partial(_score_case, task), sorted(cases.items()), processes))
    band = threshold.best_band([case.histogram for case in scored])
    slices = [case.slices for case in scored if len(case.slices)]
    no_planes = np.zeros((0, N_LABELS, N_LABELS), np.int64)
    return Evaluation(
        model=join_tables(case.model for case in scored),
        processed=join_tables(case.processed for case in scored),
        ceiling=join_tables(case.ceiling for case in scored),
        groups=_joined([case.groups for case in scored], groups.COLUMNS),
        organisers=_joined([case.organisers for case in scored], ORGANISERS_COLUMNS),
        calibration=_joined([case.calibration for case in scored], calibration.COLUMNS),
        threshold=score_table(_threshold_rows(scored, band), OVERLAP_COLUMNS),
        slices=pd.concat(slices) if slices else pd.DataFrame(columns=list(SLICE_COLUMNS)),
        confusions=np.concatenate([no_planes, *(case.confusions for case in scored)]),
        band=band,
        probabilities=task.probabilities,
    )


def _score_case(task: Task, case: tuple[str, Sequence[int] | None]) -> CaseScores:
    """`evaluate_case` with its own open archive, for use in another process."""
    with Archive(task.archive) as archive:
        return evaluate_case(archive, *case, task)


def _joined(tables: Sequence[pd.DataFrame], columns: Mapping[str, str]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else typed_table([], columns)


def _threshold_rows(scored: list[CaseScores], band: threshold.Band | None) -> list[ScoreRow]:
    if band is None:
        return []
    return [
        {
            "case": case.case,
            "patient": case.patient,
            "candidate": threshold.CANDIDATE,
            "reference": CONSENSUS,
            **threshold.band_row(case.histogram, band, case.voxel_ml),
        }
        for case in scored
    ]


def slice_table(
    case: str, planes: NDArray[np.int64], confusions: NDArray[np.int64]
) -> pd.DataFrame:
    """Overlap per slice and class, columns `SLICE_COLUMNS`, without slices that lack the class.

    `planes` [n] are slice indices, `confusions` [n, 6, 6] their counts. Sorted by slice, then
    class.
    """
    parts = []
    for key, counts in class_counts(confusions).items():
        part = pd.DataFrame({"case": case, "slice": planes, "class": key})
        part[list(SLICE_COUNTS)] = np.stack(counts, axis=-1)
        part["dice"] = dice(*counts)
        parts.append(part[part["dice"].notna()])
    return pd.concat(parts).sort_values("slice", kind="stable").reset_index(drop=True)
