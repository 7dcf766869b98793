"""Predictions scored against the consensus and against each rater, the ceiling beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg import threshold
from mbhseg.agreement import (
    CONSENSUS,
    RatedCase,
    rater_name,
    read_raters,
    read_scan,
    reader_pairs,
    reader_volumes,
    summarise_agreement,
)
from mbhseg.archive import Archive
from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.files import read_table, write_json, write_table
from mbhseg.metrics.legacy import legacy_scores
from mbhseg.metrics.overlap import Row, class_counts, dice
from mbhseg.metrics.pairs import Pair, PairScores
from mbhseg.metrics.summary import score_table, summarise
from mbhseg.raters import Consensus
from mbhseg.splits import members
from mbhseg.volumes import image_array, load_labels, voxel_ml

AFFINE_TOLERANCE_MM = 1e-3
SLICE_COUNTS = ("reference_voxels", "candidate_voxels", "intersection")
SLICE_COLUMNS = ("case", "slice", "class", *SLICE_COUNTS, "dice")


class Evaluation(NamedTuple):
    """What `evaluate_cases` found.

    `model`, `ceiling` and `threshold` are score tables (`summary.COLUMNS`), `slices` a table of
    `SLICE_COLUMNS` of the classes that model or consensus drew, `confusions` the counts
    [n, 6, 6] of all scored planes, `band` the best HU band (None if nothing bleeds).
    """

    model: pd.DataFrame
    ceiling: pd.DataFrame
    threshold: pd.DataFrame
    slices: pd.DataFrame
    confusions: NDArray[np.int64]
    band: threshold.Band | None


class CaseScores(NamedTuple):
    """The part of an `Evaluation` that one case contributes, before the band is known."""

    case: str
    patient: str
    model: list[Row]
    ceiling: list[Row]
    slices: pd.DataFrame
    confusions: NDArray[np.int64]
    histogram: threshold.BleedHistogram
    voxel_ml: float


def model_name(run: str) -> str:
    """The run's name in the candidate column."""
    return f"model:{run}"


def read_prediction(folder: str | Path, rated: RatedCase) -> NDArray[np.uint8]:
    """The predicted labels [x, y, z] of a case, from `<folder>/<case>.nii.gz`.

    Raises InputError if there is none, or if its shape, or any entry of its affine by more
    than 1e-3 mm, is not the scan's.
    """
    path = Path(folder) / f"{rated.case}.nii.gz"
    if not path.is_file():
        raise InputError(path, "no prediction for this case", "Predict every case of the subset")
    labels, affine = load_labels(path)
    shape = next(iter(rated.labels.values())).shape
    if labels.shape != shape:
        raise InputError(
            path, f"shape {labels.shape} is not the scan's {shape}", "Predict in the scan's grid"
        )
    offset = np.abs(affine - rated.affine).max()
    if not offset <= AFFINE_TOLERANCE_MM:
        raise InputError(
            path,
            f"affine is off the scan's by {offset:.3g} mm",
            "Write predictions with the scan's own affine",
        )
    return labels


def evaluate_case(
    archive: Archive,
    case: str,
    slices: Sequence[int] | None,
    predictions: str | Path,
    candidate: str,
    rule: Consensus,
) -> CaseScores:
    """Score one case, or only its planes `slices`, as `evaluate_cases` says.

    The consensus is made of the whole volume, so it does not depend on which planes are scored.
    """
    scan = read_scan(archive, case)
    rated = read_raters(archive, case, scan)
    prediction = read_prediction(predictions, rated)
    hu = image_array(scan)
    planes = np.arange(hu.shape[2])
    labels = reader_volumes(rated, rule)
    labels = labels._replace(volumes={**labels.volumes, candidate: prediction})
    if slices is not None:
        planes = _planes(slices, hu.shape[2], f"{archive.path}:{case}")
        hu = hu[:, :, planes]
        labels = labels.planes(planes)
    scores = PairScores(labels)
    references = [CONSENSUS, *(rater_name(rater) for rater in rated.labels)]
    confusions = scores.plane_confusions(Pair(candidate, CONSENSUS))
    return CaseScores(
        case,
        rated.patient,
        scores.rows(Pair(candidate, reference) for reference in references),
        scores.rows(reader_pairs(rated, rule)),
        slice_table(case, planes, confusions),
        confusions,
        threshold.bleed_histogram(hu, labels.volumes[CONSENSUS]),
        voxel_ml(rated.affine),
    )


def _planes(slices: Sequence[int], n_planes: int, where: str) -> NDArray[np.int64]:
    planes = np.asarray(slices, np.int64)
    odd = planes[(planes < 0) | (planes >= n_planes)]
    if odd.size:
        raise InputError(where, f"has no slice {odd[0]}, only {n_planes}", "Make the split again")
    return planes


def evaluate_cases(
    archive: Archive,
    cases: Mapping[str, Sequence[int] | None],
    predictions: str | Path,
    run: str,
    rule: Consensus | None = None,
) -> Evaluation:
    """Score the predictions of a run on whole cases (None), or on the listed slices of each.

    For every case the model is scored against the consensus and against each rater, and the
    raters among themselves (`agreement.reader_pairs`), all by the same function on the same
    voxels; a case with one rater adds nothing to the ceiling. The HU threshold is scored
    against the consensus. Every case counts: a prediction that is missing or lies in another
    grid raises InputError, as does a slice that the scan does not have.
    """
    candidate, rule = model_name(run), rule or Consensus()
    scored = [
        evaluate_case(archive, case, slices, predictions, candidate, rule)
        for case, slices in sorted(cases.items())
    ]
    band = threshold.best_band([case.histogram for case in scored])
    slices = [case.slices for case in scored if len(case.slices)]
    no_planes = np.zeros((0, len(CLASSES), len(CLASSES)), np.int64)
    return Evaluation(
        score_table(row for case in scored for row in case.model),
        score_table(row for case in scored for row in case.ceiling),
        score_table(_threshold_rows(scored, band)),
        pd.concat(slices) if slices else pd.DataFrame(columns=list(SLICE_COLUMNS)),
        np.concatenate([no_planes, *(case.confusions for case in scored)]),
        band,
    )


def _threshold_rows(scored: list[CaseScores], band: threshold.Band | None) -> list[Row]:
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
    """Overlap per slice and class, as columns `SLICE_COLUMNS`; slices without the class left out.

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


def summarise_evaluation(result: Evaluation) -> dict[str, Any]:
    """The scores of a run beside what they are to be read with.

    - `model`: against the `consensus`, and against single `raters` (pairs of a case first);
    - `ceiling`: the raters on the same cases, by `agreement.summarise_agreement`;
    - `ratio`: model against raters over rater against rater, reference-present Dice, on the
      cases that have two raters or more;
    - `threshold`: the best HU band, chosen on these very cases, and its any-bleed scores;
    - `legacy`: plane by plane against the consensus, of all slices and of those that bleed;
    - `confusion`: voxels [6][6], consensus label by predicted label, over all cases.
    """
    to_consensus = result.model["reference"] == CONSENSUS
    to_raters = result.model[~to_consensus]
    ceiling = summarise_agreement(result.ceiling)
    shared = summarise(to_raters[to_raters["case"].isin(result.ceiling["case"])])
    bleeding = result.confusions[:, 1:, :].sum(axis=(1, 2)) > 0
    band = result.band
    return {
        "model": {
            "consensus": summarise(result.model[to_consensus]),
            "raters": summarise(to_raters),
        },
        "ceiling": ceiling,
        "ratio": _ratios(shared, ceiling["raters"]),
        "threshold": {
            "band": None if band is None else {"low_hu": band.low, "high_hu": band.high},
            "chosen_on": "the evaluated cases (oracle)",
            **summarise(result.threshold),
        },
        "legacy": {
            "all_slices": legacy_scores(result.confusions),
            "bleeding_slices": legacy_scores(result.confusions[bleeding]),
        },
        "confusion": result.confusions.sum(axis=0).tolist(),
    }


def _ratios(model: dict[str, Any], ceiling: dict[str, Any]) -> dict[str, Any]:
    ratios: dict[str, Any] = {}
    for key in model["classes"]:
        reached = model["classes"][key]["dice_present"]
        human = ceiling["classes"][key]["dice_present"]
        ratios[key] = {
            "model": reached,
            "ceiling": human,
            "ratio": reached / human if human > 0 else float("nan"),
        }
    return {"n_cases": model["n_cases"], "classes": ratios}


def run(
    archive_path: str | Path,
    split_table: str | Path,
    subset: str,
    predictions: str | Path,
    run_name: str,
    out_folder: str | Path,
    consensus: Mapping[str, Any] | None = None,
) -> None:
    """Evaluate one run on one subset of a split.

    `split_table` is the fold's table (case, patient, subset, and slice where the split is by
    slice), `predictions` the folder of `<case>.nii.gz`, `consensus` the arguments of
    `raters.Consensus`. Writes into `out_folder`: cases.csv (the model's rows), ceiling.csv
    (the raters' rows on the same voxels), threshold.csv, slices.csv and summary.json.
    Raises InputError if the subset is empty or a prediction does not fit its case.
    """
    cases = members(read_table(split_table), subset)
    if not cases:
        raise InputError(split_table, f"no case in subset {subset}", "Choose another subset")
    rule = Consensus(**consensus or {})
    with Archive(archive_path) as archive:
        result = evaluate_cases(archive, cases, predictions, run_name, rule)
    out = Path(out_folder)
    write_table(out / "cases.csv", result.model)
    write_table(out / "ceiling.csv", result.ceiling)
    write_table(out / "threshold.csv", result.threshold)
    write_table(out / "slices.csv", result.slices)
    header = {"run": run_name, "subset": subset, "consensus": rule._asdict()}
    write_json(out / "summary.json", {**header, **summarise_evaluation(result)})
