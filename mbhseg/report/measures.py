"""Every score of a run in tables: model, post-processed model and raters side by side.

The numbers are those of evaluation/<run>/summary.json (docs/scores.md); nothing is computed here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mbhseg.classes import ANY, FOREGROUND, KEYS

MACRO = "macro"
NAMES = {
    **{c.key: c.name for c in FOREGROUND},
    ANY: "any hemorrhage",
    MACRO: "mean of the five classes",
}
CONVENTIONS = {
    "dice_present": "Where the class is present",
    "dice_nnunet": "nnU-Net's convention: a false-positive class scores 0",
}
_N = {"dice_present": "n_present", "dice_nnunet": "n_scored"}


class Estimate(NamedTuple):
    """A mean with its 95 % interval and its n; None where there is no value."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None


NOTHING = Estimate(None)


class ScoreRow(NamedTuple):
    """Dice of one class, or the `macro` mean, in one convention.

    `processed` is the model after post-processing (None without), `others` a rater against the
    other raters' consensus, `raters` a rater against another; `ratio` is the model against
    single raters divided by rater against rater, where the class is present.
    """

    key: str
    name: str
    model: Estimate
    processed: Estimate | None
    others: Estimate
    raters: Estimate
    ratio: Estimate


class Measure(NamedTuple):
    """A score of the long table: its label, its digits, and its path in a group of a summary."""

    label: str
    digits: int
    path: tuple[str, ...]


class MeasureRow(NamedTuple):
    """A measure per class (and macro where there is one): the model's and the raters' values."""

    measure: Measure
    model: dict[str, Estimate]
    raters: dict[str, Estimate]


_GROUPED = {
    "Surface": [
        Measure("NSD at 1 mm", 2, ("nsd_1mm",)),
        Measure("NSD at 2 mm", 2, ("nsd_2mm",)),
        Measure("NSD at 3 mm", 2, ("nsd_3mm",)),
        Measure("HD95, mm", 1, ("hd95_mm",)),
        Measure("HD95 where both have the class, mm", 1, ("hd95_both_mm",)),
    ],
    "Lesions": [
        Measure("F1, any overlap", 2, ("lesion_f1_any",)),
        Measure("F1, IoU ≥ 0.1", 2, ("lesion_f1_iou",)),
        Measure("sensitivity, any overlap", 2, ("lesions", "any", "all", "sensitivity")),
        Measure("sensitivity below 1 ml", 2, ("lesions", "any", "lt1ml", "sensitivity")),
        Measure("sensitivity 1 to 10 ml", 2, ("lesions", "any", "1to10ml", "sensitivity")),
        Measure("sensitivity above 10 ml", 2, ("lesions", "any", "gt10ml", "sensitivity")),
        Measure("false lesions per scan", 2, ("lesions", "any", "all", "false_per_scan")),
    ],
    "Volume": [
        Measure("bias, ml", 2, ("volume", "drawn", "bias_ml")),
        Measure("mean absolute error, ml", 2, ("volume", "drawn", "mae_ml")),
        Measure("lower limit of agreement, ml", 1, ("volume", "drawn", "loa_low_ml")),
        Measure("upper limit of agreement, ml", 1, ("volume", "drawn", "loa_high_ml")),
        Measure("ICC(A,1)", 2, ("volume", "drawn", "icc_a1")),
    ],
    "Does the case have the class?": [
        Measure("sensitivity", 2, ("sensitivity",)),
        Measure("specificity", 2, ("specificity",)),
        Measure("AUC", 2, ("detection", "auc")),
        Measure("average precision", 2, ("detection", "ap")),
        Measure("Brier score", 2, ("detection", "brier")),
    ],
}
_SPREAD = [
    Measure("GED, lower is better", 2, ("ged",)),
    Measure("soft Dice against the raters' votes", 2, ("soft_dice",)),
]
_ECE = Measure("expected calibration error", 3, ("ece",))


def estimate(entry: Mapping[str, Any], path: Sequence[str], n: str | None = None) -> Estimate:
    """The mean at a path of nested dictionaries, with its interval from `intervals` beside it.

    `n` is the key of the number of cases beside it. Missing values are None.
    """
    for name in path[:-1]:
        entry = entry.get(name) or {}
    low, high = (entry.get("intervals") or {}).get(path[-1]) or (None, None)
    count = entry.get(n) if n else None
    return Estimate(entry.get(path[-1]), low, high, None if count is None else int(count))


def dice_of(group: Mapping[str, Any] | None, key: str, score: str) -> Estimate:
    """Mean Dice (`score`, see CONVENTIONS) of a class or the macro mean in a group of a summary."""
    if not group:
        return NOTHING
    if key == MACRO:
        return estimate(group.get(MACRO) or {}, [score])
    return estimate(group["classes"].get(key) or {}, [score], _N.get(score))


def score_rows(summary: Mapping[str, Any], score: str) -> list[ScoreRow]:
    """One row per class, EDH..SDH, then macro and any; `score` is one of CONVENTIONS."""
    processed, ceiling = summary.get("processed"), summary["ceiling"]
    ratios = summary["ratio"]["classes"]
    return [
        ScoreRow(
            key,
            NAMES[key],
            dice_of(summary["model"]["consensus"], key, score),
            dice_of(processed["consensus"], key, score) if processed else None,
            dice_of(ceiling["others"], key, score),
            dice_of(ceiling["raters"], key, score),
            _ratio(ratios.get(key) or {}),
        )
        for key in (*KEYS, MACRO, ANY)
    ]


def rater_rows(agreement: Mapping[str, Any]) -> list[tuple[str, Estimate, Estimate]]:
    """Rater against rater, from agreement/summary.json: class, Dice in both CONVENTIONS."""
    group = agreement["raters"]
    return [
        (key, dice_of(group, key, "dice_present"), dice_of(group, key, "dice_nnunet"))
        for key in (*KEYS, MACRO, ANY)
    ]


def _ratio(entry: Mapping[str, Any]) -> Estimate:
    low, high = entry.get("interval") or (None, None)
    return Estimate(entry.get("ratio"), low, high)


def measure_rows(summary: Mapping[str, Any]) -> dict[str, list[MeasureRow]]:
    """All other scores in groups: the model, and a rater against the others, per class and macro.

    Measures without a value in any class are left out, and so are groups without measures.
    """
    found = {
        title: [_measured(summary, measure) for measure in measures]
        for title, measures in _GROUPED.items()
    }
    spread = summary.get("distribution") or {}
    found["Against all raters at once"] = [
        MeasureRow(
            measure,
            {
                key: estimate((spread.get("model_others") or {}).get(key) or {}, measure.path)
                for key in (*KEYS, ANY)
            },
            {
                key: estimate((spread.get("ceiling") or {}).get(key) or {}, measure.path)
                for key in (*KEYS, ANY)
            },
        )
        for measure in _SPREAD
    ]
    calibrated = (summary.get("calibration") or {}).get("classes") or {}
    found["Calibration"] = [
        MeasureRow(_ECE, {key: _ece(calibrated.get(key) or {}) for key in (*KEYS, ANY)}, {})
    ]
    known = {
        title: [row for row in rows if any(e.mean is not None for e in row.model.values())]
        for title, rows in found.items()
    }
    return {title: rows for title, rows in known.items() if rows}


def _measured(summary: Mapping[str, Any], measure: Measure) -> MeasureRow:
    sides = []
    for group in (summary["model"]["consensus"], summary["ceiling"]["others"]):
        side = {
            key: estimate(group["classes"].get(key) or {}, measure.path) for key in (*KEYS, ANY)
        }
        if len(measure.path) == 1:
            side[MACRO] = dice_of(group, MACRO, measure.path[0])
        sides.append(side)
    return MeasureRow(measure, *sides)


def _ece(entry: Mapping[str, Any]) -> Estimate:
    low, high = entry.get("interval") or (None, None)
    return Estimate(entry.get("ece"), low, high)


class OrganisersRow(NamedTuple):
    """One of the challenge's scores: of the model, and of a rater against the others."""

    name: str
    model: Estimate
    processed: Estimate | None
    model_others: Estimate
    ceiling: Estimate


def organisers_rows(summary: Mapping[str, Any]) -> list[OrganisersRow]:
    """The challenge's scores in the order of their names; empty if there are none."""
    block = summary.get("organisers") or {}
    model = block.get("model") or {}
    processed = block.get("processed")
    return [
        OrganisersRow(
            name,
            estimate(model, [name]),
            estimate(processed, [name]) if processed else None,
            estimate(block.get("model_others") or {}, [name]),
            estimate(block.get("ceiling") or {}, [name]),
        )
        for name in sorted(model)
        if name.startswith("organisers_")
    ]
