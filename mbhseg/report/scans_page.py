"""The page of predicted scans, which have no ground truth: tables, a viewer, what was run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mbhseg import __version__
from mbhseg.classes import ANY
from mbhseg.errors import InputError
from mbhseg.files import atomic_dir, read_json, read_table
from mbhseg.imaging.windows import Window
from mbhseg.report.assets import Assets, static
from mbhseg.report.facts import Fact, flatten, imported_weights, kept_weights, trained_on
from mbhseg.report.render import render
from mbhseg.report.viewer_settings import display, script
from mbhseg.scans.failures import Failure
from mbhseg.scans.layout import FAILED, VIEWER, VOLUMES

INDEX = "index.html"
_LISTED = ("run", "experiment", "fold", "seed", "parameters", "data", "best", "imported", "git")


class Model(NamedTuple):
    """A model on the page: its name, the main facts, and more of its run.json."""

    name: str
    facts: list[Fact]
    more: list[Fact]


class VolumeRow(NamedTuple):
    """A row of volumes.csv; None where there is no value."""

    case: str
    key: str
    ml: float | None
    voxels: int
    components: int
    slices: int
    mean_probability: float | None
    low_confidence: bool


def build_scans(
    out_dir: str | Path,
    predicted: str | Path,
    models: Sequence[tuple[str, str | Path]],
    *,
    settings: Mapping[str, Any],
    command: str | None = None,
    commit: str | None = None,
) -> None:
    """Write the page of a folder of predicted scans to the folder `out_dir`, whole or not at all.

    Args:
        out_dir: becomes the folder of index.html; what was there before is replaced.
        predicted: what `mbhseg.scans.pipeline.predict_scans` wrote: volumes.csv, failed.tsv, and
            viewer/<name>.webp and .json for each scan that the viewer shows.
        models: name and run.json of each model that predicted; several are an ensemble. The
            viewer offers their windows.
        settings: how it was predicted, to print.
        command: the command line to print, if known.
        commit: the state of the code to print, if known.

    The folder needs no network and no server, and nothing in it depends on the time it was made.
    Without a predicted scan there is no viewer, without a failed one no table of them.

    Raises InputError if a table or a run.json is missing.
    """
    predicted, out = Path(predicted), Path(out_dir)
    if out.resolve() == predicted.resolve() or out.resolve() in predicted.resolve().parents:
        raise ValueError(f"the page cannot replace {predicted}")
    try:
        system = system_name([name for name, _ in models])
        rows = volume_rows(read_table(predicted / VOLUMES))
        failed = failures(read_table(predicted / FAILED))
        records = [read_json(path) for _, path in models]
        told = [model_of(name, info) for (name, _), info in zip(models, records, strict=True)]
        with atomic_dir(out) as partial:
            assets = Assets(partial)
            maps, scripts = _viewer(predicted, rows, system, windows_of(records), assets)
            context = {
                "system": system,
                "models": told,
                "rows": rows,
                "cases": [row for row in rows if row.key == ANY],
                "doubted": [row for row in rows if row.low_confidence and row.key != ANY],
                "failed": failed,
                "limit": settings.get("low_confidence"),
                "settings": flatten(dict(settings)),
                "command": command,
                "commit": commit,
                "version": __version__,
                "style": assets.text("report.css", static("report.css")),
                "viewer_style": assets.text("viewer.css", static("viewer.css")),
                "scripts": [*scripts, assets.text("scans.js", static("scans.js"))],
                "maps": maps,
                "files": [
                    assets.download(predicted / name, f"data/{name}") for name in (VOLUMES, FAILED)
                ],
            }
            assets.text(INDEX, render("scans.html.j2", context))
    except FileNotFoundError as error:
        raise InputError(error.filename, "is missing", "Predict the scans again") from error


def system_name(names: Sequence[str]) -> str:
    """The name of what predicted: the one model's, or `mean of 3 models`."""
    return names[0] if len(names) == 1 else f"mean of {len(names)} models"


def windows_of(records: Sequence[Mapping[str, Any]]) -> list[Window]:
    """The windows that the models' run.json name, in their order, each name once."""
    named: dict[str, Window] = {}
    for info in records:
        for window in info["input"]["windows"]:
            named.setdefault(window["name"], Window(**window))
    return list(named.values())


def volume_rows(table: pd.DataFrame) -> list[VolumeRow]:
    """The rows of volumes.csv in their order."""
    return [
        VolumeRow(
            row["case"],
            row["class"],
            _known(row["ml"]),
            int(row["voxels"]),
            int(row["components"]),
            int(row["slices"]),
            _known(row["mean_probability"]),
            bool(row["low_confidence"]),
        )
        for row in table.to_dict("records")
    ]


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)


def failures(table: pd.DataFrame) -> list[Failure]:
    """The rows of failed.tsv in their order."""
    return [Failure(*row) for row in table[list(Failure._fields)].itertuples(index=False)]


def model_of(name: str, info: Mapping[str, Any]) -> Model:
    """A model by its run.json; what that lacks is left out."""
    data = info.get("data") or {}
    given = info["input"]
    windows = ", ".join(f"{w['name']} {w['level']:g}/{w['width']:g}" for w in given["windows"])
    facts = [Fact("input", f"{given['size']} × {given['size']}, windows {windows} HU")]
    if "train_slices" in data:
        facts.append(trained_on(info))
    if "val_dice" in (info.get("best") or {}):
        facts.append(kept_weights(info))
    if info.get("imported"):
        facts.append(imported_weights(info))
    if data.get("manifest_sha256"):
        facts.append(Fact("training data, sha256", data["manifest_sha256"]))
    more = {key: info[key] for key in (*_LISTED, "versions") if info.get(key) is not None}
    return Model(name, facts, flatten(more))


def _viewer(
    predicted: Path,
    rows: Sequence[VolumeRow],
    system: str,
    windows: Sequence[Window],
    assets: Assets,
) -> tuple[list[str], list[str]]:
    """Write the viewer's data to the page's viewer/; return its maps and the scripts to load.

    Both are empty if there is no scan to show.
    """
    shown: dict[str, list[VolumeRow]] = {}
    for row in rows:
        if (predicted / VIEWER / f"{row.case}.json").is_file():
            shown.setdefault(row.case, []).append(row)
    source = f"model:{system}"
    index, doubted = [], False
    for n, (case, measured) in enumerate(shown.items()):
        stem = f"{VIEWER}/scan{n:04d}"  # a scan's own name may mean something in a link
        picture = assets.download(predicted / VIEWER / f"{case}.webp", f"{stem}.webp")
        data = read_json(predicted / VIEWER / f"{case}.json")
        data |= {"id": case, "sources": {source: data.pop("labels")}}
        doubted = doubted or "doubt" in data
        file = assets.text(f"{stem}.js", script("open", data))
        measures = {
            row.key: {"ml": row.ml, "mean": row.mean_probability, "low": row.low_confidence}
            for row in measured
        }
        index.append(
            {
                "id": case,
                "script": file,
                "sprite": picture.href,
                "scores": {system: {}},
                "measures": measures,
            }
        )
    if not index:
        return [], []
    maps = ["labels", "doubt"] if doubted else ["labels"]
    page = {
        "cases": index,
        "runs": [system],
        "scores": [],
        **display(maps, windows, compared=False),
    }
    data_script = assets.text(f"{VIEWER}/index.js", script("index", page))
    return maps, [assets.text("viewer.js", static("viewer.js")), data_script]
