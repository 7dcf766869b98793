"""A run in the report: its training, its scores, and the raters' scores next to them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mbhseg.classes import ANY, KEYS
from mbhseg.figures.examples import Choice, choose_cases
from mbhseg.files import read_json, read_table
from mbhseg.report.assets import Assets, Download, Picture
from mbhseg.report.facts import Fact, as_text, flatten, run_facts
from mbhseg.report.measures import (
    CONVENTIONS,
    MACRO,
    NAMES,
    Estimate,
    MeasureRow,
    OrganisersRow,
    ScoreRow,
    dice_of,
    measure_rows,
    organisers_rows,
    score_rows,
)

DOWNLOADS = 4_000_000  # bytes of all runs' tables together; the largest stay in the results


class Detection(NamedTuple):
    """Whether the model finds a class, per case: counts and shares of `summarise_class`."""

    key: str
    name: str
    found: dict[str, Any]


class Headline(NamedTuple):
    """One line of the table `At a glance`; `run` is its run, if any."""

    label: str
    kind: str  # model, rater or threshold
    run: str | None
    n_cases: int
    macro_present: Estimate
    macro_nnunet: Estimate
    any_present: Estimate
    any_nnunet: Estimate


class Legacy(NamedTuple):
    """The reference project's metric: on probabilities (`soft`), labels (`hard`) and empty masks.

    `blank` is the share of background in the consensus of the scored slices, which is what the
    metric gives for an empty mask. `soft` and `loss` are None where they were not computed.
    """

    soft: float | None
    loss: float | None
    hard: float | None
    blank: float | None
    n_slices: int


class Training(NamedTuple):
    """How a run was trained, or where its weights were imported from (then without curves)."""

    facts: list[Fact]
    windows: list[dict[str, Any]]
    network: list[Fact]
    recipe: list[Fact]
    versions: list[Fact]
    curves: Picture | None
    filmstrip: Picture | None


class RunReport(NamedTuple):
    """All that the page shows of one run, or of predictions made elsewhere.

    `training` is None for predictions made elsewhere; `tables` has Dice per class for each of
    CONVENTIONS, `measures` all other scores; `postprocessing` is what was chosen on validation,
    None without.
    """

    name: str
    slug: str
    subset: str
    training: Training | None
    tables: dict[str, list[ScoreRow]]
    detection: list[Detection]
    measures: dict[str, list[MeasureRow]]
    organisers: list[OrganisersRow]
    postprocessing: list[Fact] | None
    macro: dict[str, dict[str, Any]]
    unequal: bool  # whether the macro means are not all over all five classes
    n_cases: int
    n_patients: int
    n_ceiling: int
    headlines: list[Headline]
    threshold: dict[str, Any]
    legacy: Legacy
    choices: list[Choice]
    pictures: dict[str, Picture]
    files: list[Download]


def model_headlines(summary: dict[str, Any], run: str) -> list[Headline]:
    """The run as predicted, and after post-processing if there is any."""
    lines = [_headline(run, "model", summary["model"]["consensus"], run)]
    if processed := summary.get("processed"):
        label = f"{run}, post-processed"
        lines.append(_headline(label, "model", processed["consensus"], run))
    return lines


def other_headlines(summary: dict[str, Any]) -> list[Headline]:
    """The raters in both comparisons, and the best HU threshold, on the run's test cases."""
    band = summary["threshold"]["band"]
    what = f"{band['low_hu']} to {band['high_hu']} HU" if band else "no band"
    ceiling = summary["ceiling"]
    return [
        _headline("a rater against the other raters' consensus", "rater", ceiling["others"]),
        _headline("a rater against another rater", "rater", ceiling["raters"]),
        _headline(f"best HU threshold, {what}", "threshold", summary["threshold"]),
    ]


def _headline(label: str, kind: str, group: dict[str, Any], run: str | None = None) -> Headline:
    means = [
        dice_of(group, key, score)
        for key in (MACRO, ANY)
        for score in ("dice_present", "dice_nnunet")
    ]
    return Headline(label, kind, run, int(group["n_cases"]), *means)


def legacy(summary: dict[str, Any], scored: dict[str, Any]) -> Legacy:
    """The reference project's metric from summary.json and legacy.json (may be empty)."""
    confusion = np.asarray(summary["confusion"], np.float64)
    total = confusion.sum()
    planes = summary["legacy"]["all_slices"]
    return Legacy(
        scored.get("dice_coef_multiclass"),
        scored.get("categorical_crossentropy"),
        planes["dice_coef_multiclass"],
        float(confusion[0].sum() / total) if total else None,
        int(planes["n_slices"]),
    )


_PICTURES = {
    "scores": "Dice per class of {} next to the raters' on the same cases; tables have the means",
    "scatter": "Dice of every case of {}, against its volume and against its raters' agreement",
    "volumes": "Volume differences of {} against mean volumes, with limits of agreement",
    "confusion": "Which classes {} confuses, as a percentage of the voxels of each class",
    "calibration": "Reliability curves of {}: frequency against predicted probability",
    "overlays": "Best, median and worst case of {}: image, reference and prediction",
}


def run_report(
    root: Path, model: Path, slug: str, assets: Assets, downloads: int = DOWNLOADS
) -> RunReport:
    """Read the model's folder and evaluation/<run> below `root`; copy their pictures and tables.

    The run has the name of the model's folder. `slug` names it in links and folders, `downloads`
    is how many bytes of tables to copy, the smaller ones first. Without a model's folder the
    predictions count as made elsewhere. Raises FileNotFoundError if a file is missing.
    """
    run = model.name
    scored = root / "evaluation" / run
    summary, cases = read_json(scored / "summary.json"), read_table(scored / "cases.csv")
    other = scored / "legacy.json"
    consensus = summary["model"]["consensus"]
    ceiling = summary["ceiling"]["others"]
    macro = {
        "model": consensus.get("macro", {}),
        "others": ceiling.get("macro", {}),
        "raters": summary["ceiling"]["raters"].get("macro", {}),
    }
    chosen = summary.get("postprocessing")
    calibrated = summary.get("calibration") is not None
    return RunReport(
        name=run,
        slug=slug,
        subset=summary["subset"],
        training=_training(model, slug, assets),
        tables={score: score_rows(summary, score) for score in CONVENTIONS},
        detection=[Detection(key, NAMES[key], consensus["classes"][key]) for key in (*KEYS, ANY)],
        measures=measure_rows(summary),
        organisers=organisers_rows(summary),
        postprocessing=None if chosen is None else _chosen(chosen),
        macro=macro,
        unequal=any(
            len(classes) < len(KEYS)
            for group in macro.values()
            for classes in group.get("macro_classes", {}).values()
        ),
        n_cases=int(consensus["n_cases"]),
        n_patients=int(consensus["n_patients"]),
        n_ceiling=int(ceiling["n_cases"]),
        headlines=model_headlines(summary, run),
        threshold=summary["threshold"],
        legacy=legacy(summary, read_json(other) if other.is_file() else {}),
        choices=choose_cases(cases),
        pictures={
            name: assets.picture(scored / f"{name}.png", f"img/{slug}/{name}", alt.format(run))
            for name, alt in _PICTURES.items()
            if name != "calibration" or calibrated
        },
        files=_files([model, scored], slug, assets, downloads),
    )


def _chosen(settings: dict[str, Any]) -> list[Fact]:
    """The choice in postprocess.json, in words."""
    least = ", ".join(f"{key} {as_text(ml)}" for key, ml in settings["min_ml"].items() if ml)
    on = settings["chosen_on"]
    return [
        Fact("chosen on", f"{on['n_cases']} cases of the {on['subset']} subset"),
        Fact("EDH and SDH reconciled", "yes" if settings["reconcile"] else "no"),
        Fact("components removed below, ml", least or "none"),
    ]


def _files(folders: list[Path], slug: str, assets: Assets, budget: int) -> list[Download]:
    tables = [
        path
        for folder in folders
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix in (".csv", ".json", ".md")
    ]
    kept = set()
    for path in sorted(tables, key=lambda path: path.stat().st_size):
        budget -= path.stat().st_size
        if budget < 0:
            break
        kept.add(path)
    return [assets.download(p, f"data/{slug}/{p.name}") for p in tables if p in kept]


def _training(model: Path, slug: str, assets: Assets) -> Training | None:
    if not model.is_dir():
        return None
    run, info = model.name, read_json(model / "run.json")
    imported = info.get("imported")
    digests = {
        "data": info["data"].get("manifest_sha256"),
        "weights": imported["sha256"] if imported else None,
    }
    return Training(
        facts=run_facts(info, None if imported else read_table(model / "history.csv")),
        windows=info["input"]["windows"],
        network=flatten(info["network"]),
        recipe=flatten(info["training"]),
        versions=[
            *flatten(info["versions"]),
            *(Fact(f"{of}, sha256", digest) for of, digest in digests.items() if digest),
        ],
        curves=assets.picture_if_any(
            model / "curves.png",
            f"img/{slug}/curves",
            f"Training curves of {run}: loss, validation Dice and learning rate by epoch",
        ),
        filmstrip=assets.picture_if_any(
            model / "previews" / "filmstrip.png",
            f"img/{slug}/filmstrip",
            f"Validation slices of {run}: image, reference and prediction after successive epochs",
        ),
    )
