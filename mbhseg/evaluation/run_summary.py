"""Evaluates a run: its scores as numbers, and the files of docs/scores.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mbhseg.errors import InputError
from mbhseg.evaluation.agreement import CONSENSUS, summarise_agreement
from mbhseg.evaluation.case_scores import PROCESSED, Evaluation, evaluate_cases
from mbhseg.files import read_json, read_table, write_json, write_table
from mbhseg.inspect.archive import Archive
from mbhseg.metrics import groups, organisers
from mbhseg.metrics.bootstrap import Resampling, means_of
from mbhseg.metrics.calibration import calibration_summary
from mbhseg.metrics.casewise import SHARES, CaseTable, case_table
from mbhseg.metrics.legacy import legacy_scores
from mbhseg.metrics.overlap import SCORED_CLASSES
from mbhseg.metrics.summary import interval_of, summarise
from mbhseg.predictions import postprocess
from mbhseg.prepare.consensus import Consensus
from mbhseg.split.partition import members

RATIOS = (*SHARES, "sensitivity", "specificity")


def summarise_evaluation(
    result: Evaluation, chosen: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The scores of a run, and those to compare them with; `chosen` is the post-processing.

    - `model`, `processed`: against the `consensus`, and against single `raters`;
    - `ceiling`: the raters on the same cases, by `agreement.summarise_agreement`;
    - `ratio`: model against raters over rater against rater, on the cases with two raters or more;
    - `distribution`, `organisers`: against the raters as a group;
    - `calibration`: of the probabilities, None without;
    - `threshold`: the best HU band, chosen on the same cases, and its scores of class `any`;
    - `legacy`: slice by slice against the consensus, of all slices and of those with hemorrhage;
    - `confusion`: voxels [6][6], consensus label by predicted label, over all cases.
    """
    bleeding = result.confusions[:, 1:, :].sum(axis=(1, 2)) > 0
    band = result.band
    return {
        "probabilities": result.probabilities,
        "postprocessing": None if chosen is None else dict(chosen),
        "model": _against(result.model),
        "processed": None if result.processed.empty else _against(result.processed),
        "ceiling": summarise_agreement(result.ceiling),
        "ratio": _ratios(result.model, result.ceiling),
        "distribution": _by_kind(result.groups, _distribution),
        "organisers": _by_kind(result.organisers, _organisers),
        "calibration": calibration_summary(result.calibration),
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


def _against(rows: pd.DataFrame) -> dict[str, Any]:
    to_consensus = rows["reference"] == CONSENSUS
    return {"consensus": summarise(rows[to_consensus]), "raters": summarise(rows[~to_consensus])}


def _ratios(model: pd.DataFrame, ceiling: pd.DataFrame) -> dict[str, Any]:
    """Model over ceiling by class and score, on the cases with two raters or more."""
    among = ceiling[~ceiling["reference"].str.startswith(CONSENSUS)]
    human = case_table(among)
    to_raters = model[model["reference"] != CONSENSUS]
    reached = case_table(to_raters).only(human.values.index)
    resampling = Resampling(human.patients)
    by_score = {score: _ratio(score, reached, human, resampling) for score in RATIOS}
    classes = {}
    for key in SCORED_CLASSES:
        scores = {score: by_score[score][key] for score in RATIOS}
        classes[key] = {**scores["dice_present"], "scores": scores}
    return {"n_cases": len(human.values), "classes": classes}


def _ratio(
    score: str, reached: CaseTable, human: CaseTable, resampling: Resampling
) -> dict[str, dict[str, Any]]:
    above, below = reached.of(score), human.of(score)
    ratios = resampling.ratio_intervals(above, below)
    parts = zip(SCORED_CLASSES, means_of(above), means_of(below), ratios, strict=True)
    return {
        key: {
            "model": float(top),
            "ceiling": float(bottom),
            "ratio": ratio.estimate,
            "interval": interval_of(ratio),
        }
        for key, top, bottom, ratio in parts
    }


def _by_kind(table: pd.DataFrame, summary: Any) -> dict[str, Any]:
    """Summaries of the group scores of the raw model, the processed model and the raters."""
    candidate, reference = table["candidate"], table["reference"]
    people = ~candidate.str.startswith("model:")
    done = candidate.str.endswith(PROCESSED)
    everyone = reference == groups.RATERS
    kinds = {
        "model": ~people & ~done & everyone,
        "processed": ~people & done & everyone,
        "model_others": ~people & ~done & ~everyone,
        "ceiling": people,
    }
    return {
        kind: summary(table[chosen]) if chosen.any() else None for kind, chosen in kinds.items()
    }


def _distribution(rows: pd.DataFrame) -> dict[str, Any]:
    return {key: _means(rows[rows["class"] == key], ("ged", "soft_dice")) for key in SCORED_CLASSES}


def _organisers(rows: pd.DataFrame) -> dict[str, Any]:
    return _means(rows, organisers.COLUMNS)


def _means(rows: pd.DataFrame, scores: tuple[str, ...]) -> dict[str, Any]:
    """Means over cases, averaged within each case first; the intervals resample patients."""
    values = rows.groupby("case", sort=True)[list(scores)].mean()
    patient = dict(zip(rows["case"], rows["patient"], strict=True))
    patients = np.array([patient[case] for case in values.index], np.str_)
    intervals = Resampling(patients).mean_intervals(values.to_numpy(np.float64))
    by_score = dict(zip(scores, intervals, strict=True))
    return {
        "n_cases": len(values),
        **{score: interval.estimate for score, interval in by_score.items()},
        "intervals": {score: interval_of(interval) for score, interval in by_score.items()},
    }


def evaluate_run(
    archive_path: str | Path,
    split_table: str | Path,
    subset: str,
    predictions: str | Path,
    run_name: str,
    out_folder: str | Path,
    consensus: Mapping[str, Any] | None = None,
    postprocessing: str | Path | None = None,
    processes: int = 1,
) -> None:
    """Evaluate one run on one subset of a split.

    `split_table` is the fold's table (case, patient, subset, and slice where the split is by
    slice), `predictions` the folder of `<case>.nii.gz`, `consensus` the arguments of
    `Consensus`, `postprocessing` the file that `choose_postprocess.run` wrote, if any. Writes the
    tables and summary.json of docs/scores.md into `out_folder`.
    Raises InputError if the subset is empty or a prediction does not fit its case.
    """
    cases = members(read_table(split_table), subset)
    if not cases:
        raise InputError(split_table, f"no case in subset {subset}", "Choose another subset")
    rule = Consensus(**consensus or {})
    post = None if postprocessing is None else postprocess.read(postprocessing)
    chosen = None if postprocessing is None else read_json(postprocessing)
    with Archive(archive_path) as archive:
        result = evaluate_cases(archive, cases, predictions, run_name, rule, post, processes)
    out = Path(out_folder)
    write_table(out / "cases.csv", result.model)
    for name in (
        *("processed", "ceiling", "groups", "organisers", "calibration", "threshold", "slices"),
    ):
        write_table(out / f"{name}.csv", getattr(result, name))
    header = {"run": run_name, "subset": subset, "consensus": rule._asdict()}
    write_json(out / "summary.json", {**header, **summarise_evaluation(result, chosen)})
