"""The report of a data set and its runs: gathered, rendered, and written to one folder."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mbhseg import __version__
from mbhseg.errors import InputError
from mbhseg.files import atomic_dir, read_json
from mbhseg.imaging.windows import Window
from mbhseg.report import comparison
from mbhseg.report.assets import Assets, static
from mbhseg.report.dataset import (
    image_counts,
    inventory,
    split_rows,
)
from mbhseg.report.facts import flatten
from mbhseg.report.measures import rater_rows
from mbhseg.report.quality import MAX_FINDINGS, MAX_THUMBNAILS, quality
from mbhseg.report.render import render
from mbhseg.report.run_page import DOWNLOADS, RunReport, other_headlines, run_report
from mbhseg.report.viewer import BUDGET, write_viewer

INDEX = "index.html"
VIEWER = "viewer.html"
COMPARE = "compare.html"
LIMIT = 19_000_000  # bytes of the whole folder, small enough to send by mail


def build(
    out_dir: str | Path,
    root: str | Path,
    dataset: str,
    runs: Sequence[str],
    *,
    config: Mapping[str, Any],
    windows: Sequence[Window],
    window: Window,
    thumbnails: Sequence[str | Path] = (),
    models: str | Path | None = None,
    first_fold: int = 0,
    command: str | None = None,
    commit: str | None = None,
) -> None:
    """Write the report of a data set and its runs to the folder `out_dir`, whole or not at all.

    Args:
        out_dir: becomes the folder of index.html; what was there before is replaced.
        root: results/<dataset>; the report reads raw/, inventory/, split/, dataset.tsv,
            agreement/, figures/, for each run models/<run>/ and evaluation/<run>/, and for several
            runs comparison/.
        dataset: the data set's name.
        runs: names of the runs to show; without any, a report of the data alone.
        config: the settings to print.
        windows: those that the case viewer offers, in this order; it starts with the first.
        window: the one that thumbnails and overlays were drawn in.
        thumbnails: folders of `<case>.png` from the inspection.
        models: the folder of the runs' models, if it is not root/models.
        first_fold: the fold whose subsets dataset/ has.
        command: the command line to print, if known.
        commit: the state of the code to print, if known.

    The folder needs no network and no server: pictures, tables and style are copied into it and
    linked relatively. Nothing in it depends on when or where it was made.

    Raises InputError if a file that the report needs is missing.
    """
    root, out = Path(root), Path(out_dir)
    models = root / "models" if models is None else Path(models)
    if out.resolve() == root.resolve() or out.resolve() in root.resolve().parents:
        raise ValueError(f"the report cannot replace {root}")
    try:
        with atomic_dir(out) as partial:
            assets = Assets(partial)
            context = {
                "dataset": dataset,
                "index": INDEX,
                "compare": None,
                "command": command,
                "commit": commit,
                "version": __version__,
                "config": flatten(dict(config)),
                "window": window,
                **_data(root, first_fold, [Path(folder) for folder in thumbnails], assets),
                **_runs(root, models, runs, assets),
                "style": assets.text("report.css", static("report.css")),
            }
            context["viewer"] = _viewer(partial, root, runs, windows, first_fold, context, assets)
            if len(runs) > 1:
                if (root / "comparison").is_dir():
                    context["compare"] = _comparison(root, runs, context, assets)
                for run in context["runs"]:
                    own = {**context, "run": run}
                    assets.text(context["links"][run.name], render("run_page.html.j2", own))
            assets.text(INDEX, render("index.html.j2", context))
    except FileNotFoundError as error:
        raise InputError(error.filename, "is missing", "Run the workflow again") from error


def _data(
    root: Path, first_fold: int, thumbnails: Sequence[Path], assets: Assets
) -> dict[str, Any]:
    tables = root / "inventory"
    digest = (root / "raw" / "archive.zip.sha256").read_text().split()[0]
    folder = root / "figures"
    pictures = {
        "statistics": "Images, slices and patients by class in train, valid and test",
        "split_balance": "Share of patients with each class in each subset and fold",
        "sample_images": "Sample slices as the network sees them",
        "sample_masks": "Consensus masks of the same slices in the colour code",
        "agreement": "Dice of two raters on one case, per class; the table has the means",
    }
    return {
        "digest": digest,
        "source": flatten(read_json(root / "raw" / "source.json")),
        "inventory": inventory(tables / "cases.tsv"),
        "quality": quality(tables / "cases.tsv", tables / "findings.tsv", thumbnails, assets),
        "max_findings": MAX_FINDINGS,
        "max_thumbnails": MAX_THUMBNAILS,
        "split": split_rows(root / "split" / "balance.tsv"),
        "counts": image_counts(root / "dataset.tsv", root / "split" / f"fold{first_fold}.tsv"),
        "agreement": rater_rows(read_json(root / "agreement" / "summary.json")),
        "pictures": {
            name: assets.picture(folder / f"{name}.png", f"img/{name}", alt)
            for name, alt in pictures.items()
        },
        "data_files": [
            assets.download(root / place, f"data/{Path(place).name}")
            for place in (
                "inventory/cases.tsv",
                "inventory/findings.tsv",
                "split/balance.tsv",
                "agreement/pairs.csv",
                "agreement/summary.json",
            )
        ],
    }


def _viewer(
    folder: Path,
    root: Path,
    runs: Sequence[str],
    windows: Sequence[Window],
    first_fold: int,
    context: Mapping[str, Any],
    assets: Assets,
) -> str | None:
    """Write the case viewer; return the link to it, or None without a run."""
    used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    viewer = write_viewer(folder, root, runs, windows, first_fold, min(BUDGET, LIMIT - used))
    if viewer is None:
        return None
    script = assets.text("viewer.js", static("viewer.js"))
    shown = {
        **context,
        "viewer_style": assets.text("viewer.css", static("viewer.css")),
        "scripts": [script, *viewer.scripts],
        "n_shown": viewer.n_shown,
        "n_cases": viewer.n_cases,
    }
    return assets.text(VIEWER, render("viewer.html.j2", shown))


def _runs(root: Path, models: Path, names: Sequence[str], assets: Assets) -> dict[str, Any]:
    slugs = unique_slugs(names)
    each = DOWNLOADS // max(len(names), 1)
    runs = [
        run_report(root, models / name, slug, assets, each)
        for name, slug in zip(names, slugs, strict=True)
    ]
    lines = [line for run in runs for line in run.headlines]
    if names:  # the raters and the threshold on the first run's cases, which all runs share
        lines += other_headlines(read_json(root / "evaluation" / names[0] / "summary.json"))
    return {
        "runs": runs,
        "links": {run.name: _link(run, len(runs)) for run in runs},
        "headlines": lines,
        "n_trained": sum(run.training is not None for run in runs),
    }


def _comparison(root: Path, runs: Sequence[str], context: Mapping[str, Any], assets: Assets) -> str:
    """Write the page that compares several runs; return the link to it."""
    summary = read_json(root / "evaluation" / runs[0] / "summary.json")
    shown = {
        **context,
        "comparison": comparison.comparison(
            root / "comparison", runs, summary["ceiling"]["others"], assets
        ),
        "comparison_classes": comparison.CLASSES,
    }
    return assets.text(COMPARE, render("compare.html.j2", shown))


def _link(run: RunReport, n_runs: int) -> str:
    """Link to the run's section: on the index if it is the only run, else on its own page."""
    return f"#run-{run.slug}" if n_runs == 1 else f"run-{run.slug}.html"


def unique_slugs(names: Iterable[str]) -> list[str]:
    """Unique names for files and links, of letters, digits, dash and underscore."""
    slugs: list[str] = []
    for name in names:
        slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "run"
        while slug in slugs:
            slug += "-2"
        slugs.append(slug)
    return slugs
