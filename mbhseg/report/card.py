"""The model card of a run as Markdown: intended use, data, scores, limits and recipe."""

from pathlib import Path
from typing import Any

from mbhseg import __version__
from mbhseg.classes import ANY, KEYS
from mbhseg.files import atomic_file, read_json
from mbhseg.report.dataset import inventory
from mbhseg.report.facts import flatten
from mbhseg.report.measures import CONVENTIONS, NAMES, score_rows
from mbhseg.report.render import render

FEW_CASES = 10  # with fewer, a class's mean is unreliable, and the card says so
OFTEN = 0.8  # specificity below which the card warns of false positives


def write_card(
    path: str | Path,
    dataset: str,
    run_json: str | Path,
    summary_json: str | Path,
    cases_tsv: str | Path,
    source_json: str | Path,
    trained_on: str | None = None,
) -> None:
    """Write the card of a run, scored on `dataset` and trained on it or on another, to `path`.

    Its contents come from models/<run>/run.json, evaluation/<run>/summary.json,
    inventory/cases.tsv and raw/source.json. Raises FileNotFoundError if one is missing.
    """
    info, summary = read_json(run_json), read_json(summary_json)
    source = read_json(source_json)
    shown = {
        "dataset": dataset,
        "trained_on": trained_on or dataset,
        "version": __version__,
        "info": info,
        "imported": info.get("imported"),
        "summary": summary,
        "processed": summary.get("processed") is not None,
        "source": flatten(source),
        "inventory": inventory(Path(cases_tsv)),
        "tables": {title: score_rows(summary, score) for score, title in CONVENTIONS.items()},
        "network": flatten(info["network"]),
        "recipe": flatten(info["training"]),
        "versions": flatten(info["versions"]),
        "limits": limits(summary, source),
    }
    with atomic_file(path) as partial:
        partial.write_text(render("model_card.md.j2", shown), encoding="utf-8", newline="\n")


def limits(summary: dict[str, Any], source: dict[str, Any]) -> list[str]:
    """Warnings that follow from the scores, one sentence each."""
    group = summary["model"]["consensus"]
    warnings = []
    if source.get("kind") == "phantom":
        warnings.append("Tested on generated heads, not on patients.")
    for key in (*KEYS, ANY):
        entry = group["classes"][key]
        name = NAMES[key]
        present, absent = entry["n_present"], entry["n_absent"]
        if present < FEW_CASES:
            held = f"only {present} test case{'s have' if present != 1 else ' has'} it"
            warnings.append(f"{name}: {held}, so its scores are unreliable.")
        if entry["n_missed"]:
            warnings.append(f"{name}: missed completely in {entry['n_missed']} of {present} cases.")
        if entry["specificity"] is not None and entry["specificity"] < OFTEN:
            warnings.append(
                f"{name}: false positive in {entry['n_spurious']} of {absent} cases without it."
            )
    if summary.get("calibration") is None:
        warnings.append("The calibration of its probabilities was not measured.")
    return warnings
