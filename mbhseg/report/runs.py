"""What the report says about a run: what was trained, how it scored, and beside whom."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mbhseg.classes import ANY, FOREGROUND, KEYS
from mbhseg.figures.cases import Choice, choose_cases
from mbhseg.files import read_json, read_table
from mbhseg.report.assets import Assets, Download, Picture
from mbhseg.report.dataset import Fact

NAMES = {**{c.key: c.name for c in FOREGROUND}, ANY: "any hemorrhage"}


class ScoreRow(NamedTuple):
    """Scores of one class: the model against the consensus, and the raters on the same cases.

    `model`, `others` (a rater against the other raters' consensus) and `raters` (a rater against
    another) hold the keys of `metrics.summary.summarise_class`; `ratio` is the model against
    single raters over rater against rater, None without a case of two raters.
    """

    key: str
    name: str
    model: dict[str, Any]
    others: dict[str, Any]
    raters: dict[str, Any]
    ratio: float | None


class Headline(NamedTuple):
    """One line of the table that sums all up; a mean is None where no case contributes."""

    label: str
    kind: str  # model, rater or threshold
    n_cases: int
    macro_present: float | None
    macro_nnunet: float | None
    any_present: float | None
    any_nnunet: float | None


class Legacy(NamedTuple):
    """The seed's metric: of the network's soft output, and of a mask without any bleed.

    `blank` is the share of background in the consensus of the scored slices: what the metric
    gives for finding nothing. `soft` and `loss` are None where they were not computed.
    """

    soft: float | None
    loss: float | None
    hard: float | None
    blank: float | None
    n_slices: int


class RunReport(NamedTuple):
    """All that the page shows of one run."""

    name: str
    slug: str
    subset: str
    facts: list[Fact]
    windows: list[dict[str, Any]]
    network: list[Fact]
    training: list[Fact]
    versions: list[Fact]
    rows: list[ScoreRow]
    macro: dict[str, dict[str, Any]]
    unequal: bool  # whether the macro means are not all over all five classes
    n_cases: int
    n_patients: int
    n_ceiling: int
    headline: Headline
    threshold: dict[str, Any]
    legacy: Legacy
    choices: list[Choice]
    curves: Picture
    filmstrip: Picture | None
    scores: Picture
    overlays: Picture
    files: list[Download]


def flatten(settings: Any, prefix: str = "") -> list[Fact]:
    """Nested settings as lines `outer.inner: value`, in the order they have."""
    if not isinstance(settings, dict):
        return [Fact(prefix, as_text(settings))]
    if not settings:
        return [Fact(prefix, "none")] if prefix else []
    return [
        fact
        for key, value in settings.items()
        for fact in flatten(value, f"{prefix}.{key}" if prefix else str(key))
    ]


def as_text(value: Any) -> str:
    """A setting as the config file would write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(as_text(item) for item in value) + "]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def headlines(summary: dict[str, Any], run: str) -> list[Headline]:
    """The run, the raters in both comparisons, and the HU threshold, on the run's test cases."""
    band = summary["threshold"]["band"]
    what = f"{band['low_hu']} to {band['high_hu']} HU" if band else "no band"
    return [
        _headline(run, "model", summary["model"]["consensus"]),
        _headline(
            "a rater against the other raters' consensus", "rater", summary["ceiling"]["others"]
        ),
        _headline("a rater against another rater", "rater", summary["ceiling"]["raters"]),
        _headline(f"best plain threshold, {what}", "threshold", summary["threshold"]),
    ]


def _headline(label: str, kind: str, group: dict[str, Any]) -> Headline:
    macro = group.get("macro", {})
    whole = group["classes"].get(ANY, {})
    return Headline(
        label,
        kind,
        int(group["n_cases"]),
        macro.get("dice_present"),
        macro.get("dice_nnunet"),
        whole.get("dice_present"),
        whole.get("dice_nnunet"),
    )


def score_rows(summary: dict[str, Any]) -> list[ScoreRow]:
    """One row a class, EDH..SDH and any, from evaluation/<run>/summary.json."""
    model, ceiling = summary["model"]["consensus"]["classes"], summary["ceiling"]
    return [
        ScoreRow(
            key,
            NAMES[key],
            model[key],
            ceiling["others"]["classes"].get(key, {}),
            ceiling["raters"]["classes"].get(key, {}),
            summary["ratio"]["classes"].get(key, {}).get("ratio"),
        )
        for key in (*KEYS, ANY)
    ]


def legacy(summary: dict[str, Any], found: dict[str, Any]) -> Legacy:
    """The seed's figures from summary.json and legacy.json (may be empty)."""
    confusion = np.asarray(summary["confusion"], np.float64)
    total = confusion.sum()
    planes = summary["legacy"]["all_slices"]
    return Legacy(
        found.get("dice_coef_multiclass"),
        found.get("categorical_crossentropy"),
        planes["dice_coef_multiclass"],
        float(confusion[0].sum() / total) if total else None,
        int(planes["n_slices"]),
    )


def run_report(root: Path, model: Path, slug: str, assets: Assets) -> RunReport:
    """Read the model's folder and evaluation/<run> below `root`; copy their pictures and tables.

    The run is named as the model's folder. `slug` names it in links and folder names. Raises
    FileNotFoundError if a file is missing.
    """
    run = model.name
    scored = root / "evaluation" / run
    info, summary = read_json(model / "run.json"), read_json(scored / "summary.json")
    other = scored / "legacy.json"
    history = read_table(model / "history.csv")
    cases = read_table(scored / "cases.csv")
    consensus = summary["model"]["consensus"]
    ceiling = summary["ceiling"]["others"]
    macro = {
        "model": consensus.get("macro", {}),
        "others": ceiling.get("macro", {}),
        "raters": summary["ceiling"]["raters"].get("macro", {}),
    }
    files = [
        assets.download(model / "run.json", f"data/{slug}/run.json"),
        assets.download(model / "history.csv", f"data/{slug}/history.csv"),
        *(
            assets.download(path, f"data/{slug}/{path.name}")
            for path in sorted(scored.iterdir())
            if path.suffix in (".csv", ".json")
        ),
    ]
    return RunReport(
        name=run,
        slug=slug,
        subset=summary["subset"],
        facts=run_facts(info, history),
        windows=info["input"]["windows"],
        network=flatten(info["network"]),
        training=flatten(info["training"]),
        versions=[
            *flatten(info["versions"]),
            Fact("data, sha256", info["data"]["manifest_sha256"]),
        ],
        rows=score_rows(summary),
        macro=macro,
        unequal=any(
            len(classes) < len(KEYS)
            for group in macro.values()
            for classes in group.get("macro_classes", {}).values()
        ),
        n_cases=int(consensus["n_cases"]),
        n_patients=int(consensus["n_patients"]),
        n_ceiling=int(ceiling["n_cases"]),
        headline=headlines(summary, run)[0],
        threshold=summary["threshold"],
        legacy=legacy(summary, read_json(other) if other.is_file() else {}),
        choices=choose_cases(cases),
        curves=assets.picture(
            model / "curves.png",
            f"img/{slug}/curves.png",
            f"Training curves of {run}: loss, validation Dice and learning rate by epoch",
        ),
        filmstrip=assets.picture_if_any(
            model / "previews" / "filmstrip.png",
            f"img/{slug}/filmstrip.png",
            f"Validation slices of {run}: image, reference and prediction after successive epochs",
        ),
        scores=assets.picture(
            scored / "scores.png",
            f"img/{slug}/scores.png",
            f"Dice per class of {run} beside the raters' on the same cases; the table below holds "
            "the means",
        ),
        overlays=assets.picture(
            scored / "overlays.png",
            f"img/{slug}/overlays.png",
            f"Best, median and worst case of {run}: image, reference and prediction",
        ),
        files=files,
    )


def run_facts(info: dict[str, Any], history: pd.DataFrame) -> list[Fact]:
    """What a run.json and its history say in a few lines."""
    best, size = info["best"], info["input"]["size"]
    device = ", ".join(f"{key} {as_text(value)}" for key, value in info["device"].items())
    score = best.get("val_dice")
    chosen = f"epoch {best['epoch']:.0f} of {len(history)}"
    if score is not None:
        chosen += f", validation Dice {score:.3f}"
    seconds = info["timings"]["total_seconds"]
    return [
        Fact("experiment", f"{info['experiment']}, fold {info['fold']}, seed {info['seed']}"),
        Fact("parameters", f"{info['parameters']:,}"),
        Fact("input", f"{size} × {size}, {len(info['input']['windows'])} channels"),
        Fact("trained on", f"{info['data']['train_slices']:,} slices"),
        Fact("validated on", f"{info['data']['valid_slices']:,} slices"),
        Fact("weights kept", chosen),
        Fact("training time", duration(seconds)),
        Fact("device", device),
    ]


def duration(seconds: float) -> str:
    """Seconds as `2 h 05 min`, `3 min 20 s` or `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"
