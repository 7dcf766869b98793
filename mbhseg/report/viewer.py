"""The case viewer: a page that shows every scored case slice by slice, from the file system.

A browser lets a page from the file system load scripts and show pictures, but not read other
files. So the data of a case are a small script that passes its labels to the page, and a sprite
of its slices; both are loaded when the case is chosen.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.classes import ANY, KEYS
from mbhseg.config.run_names import RUN, Run
from mbhseg.evaluation.agreement import CONSENSUS, WITHOUT
from mbhseg.evaluation.case_scores import model_name
from mbhseg.figures.examples import rank_cases
from mbhseg.files import read_json, read_table
from mbhseg.imaging import geometry, sprites
from mbhseg.imaging.display import to_display
from mbhseg.imaging.nifti import image_array, voxel_ml
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.predictions.reading import read_prediction
from mbhseg.prepare.annotations import rater_name, read_raters
from mbhseg.prepare.consensus import Consensus, consensus
from mbhseg.report.viewer_settings import display, script
from mbhseg.split import partition

FOLDER = "viewer"
SPRITES = 12_000_000  # bytes of all sprites, at most
BUDGET = 18_000_000  # bytes of sprites and labels, unless the page has less left
_SAMPLE_CASES = 4


class Score(NamedTuple):
    """A score to list and sort cases by: its column, its name on the page, its digits.

    `averaged` scores have a mean over the classes in the consensus.
    """

    key: str
    name: str
    digits: int = 3
    averaged: bool = True


RATERS_DICE = "raters_dice"
SCORES = (
    Score("dice", "Dice"),
    Score("nsd_1mm", "surface Dice at 1 mm"),
    Score("nsd_2mm", "surface Dice at 2 mm"),
    Score("nsd_3mm", "surface Dice at 3 mm"),
    Score("hd95_mm", "HD95, mm", 1),
    Score("lesion_f1_any", "lesion F1, any overlap"),
    Score("lesion_f1_iou", "lesion F1, IoU ≥ 0.1"),
    Score("max_probability", "largest probability"),
    Score("reference_ml", "volume of the consensus, ml", 2, averaged=False),
    Score("candidate_ml", "volume of the prediction, ml", 2, averaged=False),
    Score("difference_ml", "prediction minus consensus, ml", 2, averaged=False),
    Score(RATERS_DICE, "Dice of a rater against the others"),
)


class Shown(NamedTuple):
    """A case of the viewer: its id, its slices (None for all), and the runs that predicted it."""

    case: str
    planes: list[int] | None
    runs: list[str]


class Viewer(NamedTuple):
    """What was written: scripts to load in order, number of cases shown and in all."""

    scripts: list[str]
    n_shown: int
    n_cases: int


def write_viewer(
    folder: Path,
    root: Path,
    runs: Sequence[str],
    windows: Sequence[Window],
    first_fold: int = 0,
    budget: int = BUDGET,
) -> Viewer | None:
    """Write the data of all cases that the runs were scored on to `folder`/viewer.

    `root` is results/<dataset>: the archive, the fold tables, predictions/<run>/<subset>/ and
    evaluation/<run>/ are read; predictions made elsewhere, whose names are no run's, were scored
    on the test set of `first_fold`. The viewer offers `windows` and starts with the first. Labels
    are exact; the sprites share the bytes of `budget` that the labels leave, `SPRITES` at most, at
    the best quality that fits. Where even the lowest does not fit, cases are left out evenly from
    best to worst.

    Returns None without a run. Raises InputError if a case or a prediction cannot be read.
    """
    if not runs:
        return None
    summaries = {run: read_json(root / "evaluation" / run / "summary.json") for run in runs}
    scores = {run: read_scores(root / "evaluation" / run) for run in runs}
    rule = Consensus(**summaries[runs[0]]["consensus"])
    known = known_scores(scores)
    there = _cases(root, summaries, first_fold)
    (folder / FOLDER).mkdir(parents=True)
    with Archive(root / "raw" / "archive.zip") as archive:
        ranked = _ranked(there, scores[runs[0]])
        stems = {case: f"{FOLDER}/case{n:04d}" for n, case in enumerate(ranked)}
        written = {}
        for case, stem in stems.items():
            predictions = {
                run: root / "predictions" / run / summaries[run]["subset"]
                for run in there[case].runs
            }
            file = folder / f"{stem}.js"
            written[case] = _write_labels(archive, there[case], predictions, rule, file)
        texts = {case: (folder / f"{stem}.js").stat().st_size for case, stem in stems.items()}
        rung, kept = _fit(archive, ranked, _sizes(root, there), texts, budget)
        for case in set(ranked).difference(kept):
            (folder / f"{stems[case]}.js").unlink()
        index = []
        for case in kept:
            images = _images(archive.scan(case), there[case].planes)
            (folder / f"{stems[case]}.webp").write_bytes(sprites.sprite(images, rung))
            files = {"script": f"{stems[case]}.js", "sprite": f"{stems[case]}.webp"}
            found = _case_scores(case, there[case].runs, scores, known)
            index.append({**written[case], **files, "scores": found})
    page = {
        "cases": sorted(index, key=lambda entry: entry["id"]),
        "runs": list(runs),
        "scores": [score._asdict() for score in known],
        **display(["labels", "errors", "raters"], windows, compared=True),
    }
    (folder / FOLDER / "index.js").write_text(script("index", page), encoding="utf-8")
    return Viewer([f"{FOLDER}/index.js"], len(kept), len(there))


def _cases(
    root: Path, summaries: Mapping[str, Mapping[str, Any]], first_fold: int
) -> dict[str, Shown]:
    """All cases on which some run was scored, in the order of their ids."""
    found: dict[str, Shown] = {}
    for run, summary in summaries.items():
        number = Run.parse(run).fold if re.fullmatch(RUN, run) else first_fold
        fold = read_table(root / "split" / f"fold{number}.tsv")
        for case, planes in partition.members(fold, summary["subset"]).items():
            found.setdefault(case, Shown(case, planes, [])).runs.append(run)
    return dict(sorted(found.items()))


def _sizes(root: Path, there: Mapping[str, Shown]) -> dict[str, int]:
    """How many slices of each case the viewer would show."""
    table = read_table(root / "inventory" / "cases.tsv")
    depth = dict(zip(table["case"], table["n_slices"], strict=True))
    return {
        case: int(depth[case]) if shown.planes is None else len(shown.planes)
        for case, shown in there.items()
    }


def _ranked(there: Mapping[str, Shown], scores: pd.DataFrame) -> list[str]:
    """The cases from best to worst by the first run; those without a rank last."""
    ranked = [case for case in rank_cases(scores)["case"] if case in there]
    return ranked + sorted(set(there) - set(ranked))


def _fit(
    archive: Archive,
    ranked: Sequence[str],
    sizes: Mapping[str, int],
    texts: Mapping[str, int],
    budget: int,
) -> tuple[sprites.Rung, list[str]]:
    """The picture quality, and the cases to show at it: all, or every n-th of the ranked.

    `sizes` are the slices of each case, `texts` the bytes of its labels.
    """
    step = max(1, len(ranked) // _SAMPLE_CASES)
    samples = [_images(archive.scan(case), None) for case in ranked[::step][:_SAMPLE_CASES]]
    for step in range(1, len(ranked) + 1):
        kept = list(ranked[::step])
        room = min(SPRITES, budget - sum(texts[case] for case in kept))
        rung = sprites.choose_rung(samples, sum(sizes[case] for case in kept), room)
        if rung is not None:
            return rung, kept
    return sprites.LADDER[-1], list(ranked[:1])


def _images(scan: nib.Nifti1Image, planes: Sequence[int] | None) -> list[NDArray[np.uint8]]:
    hu = image_array(scan)
    chosen = range(hu.shape[2]) if planes is None else planes
    return [to_display(sprites.to_tone(hu[:, :, plane])) for plane in chosen]


def _write_labels(
    archive: Archive,
    shown: Shown,
    predictions: Mapping[str, Path],
    rule: Consensus,
    file: Path,
) -> dict[str, Any]:
    """Write the script with a case's labels; return the case's entry for the index."""
    scan = archive.scan(shown.case)
    rated = read_raters(archive, shown.case, scan)
    volumes = {rater_name(rater): volume for rater, volume in rated.labels.items()}
    volumes[CONSENSUS] = consensus(rated.labels, *rule, where=shown.case)
    for run, path in predictions.items():
        volumes[model_name(run)] = read_prediction(path, rated)
    planes = list(range(scan.shape[2])) if shown.planes is None else shown.planes
    columns, rows = scan.shape[:2]  # of the picture, which is turned
    zooms = [float(zoom) for zoom in scan.header.get_zooms()[:2]]
    data = {
        "id": shown.case,
        "rows": rows,
        "columns": columns,
        "aspect": columns * zooms[0] / (rows * zooms[1]),
        "planes": planes,
        "voxelMl": voxel_ml(rated.affine),
        "sides": geometry.sides_shown(geometry.orientation(rated.affine)),
        "across": min(sprites.COLUMNS, len(planes)),
        "sources": {
            source: sprites.encode_planes(volume, planes) for source, volume in volumes.items()
        },
    }
    file.write_text(script("open", data), encoding="utf-8")
    return {
        "id": shown.case,
        "patient": rated.patient,
        "slices": len(planes),
        "raters": len(rated.labels),
    }


def read_scores(folder: Path) -> pd.DataFrame:
    """Scores of a run's cases against the consensus, from evaluation/<run>/.

    cases.csv with difference_ml, and `raters_dice`: the mean Dice of the case's raters, each
    against the consensus of the others, from ceiling.csv.
    """
    every, ceiling = read_table(folder / "cases.csv"), read_table(folder / "ceiling.csv")
    rows = every[every["reference"] == CONSENSUS]
    others = ceiling[ceiling["reference"].str.startswith(WITHOUT)]
    human = others.groupby(["case", "class"])["dice"].mean().rename(RATERS_DICE)
    rows = rows.assign(difference_ml=rows["candidate_ml"] - rows["reference_ml"])
    return rows.merge(human.reset_index(), on=["case", "class"], how="left")


def _case_scores(
    case: str, runs: Sequence[str], scores: Mapping[str, pd.DataFrame], known: Sequence[Score]
) -> dict[str, dict[str, Any]]:
    """Run -> score -> class (and `mean` over the classes in the consensus) -> value.

    None where there is no value.
    """
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        table = scores[run]
        rows = table[table["case"] == case].set_index("class")
        present = rows.index.isin(KEYS) & (rows["reference_voxels"] > 0)
        found[run] = {}
        for score in known:
            values = rows[score.key]
            mean = values[present].mean() if score.averaged else None
            by_class = {key: values.get(key) for key in (*KEYS, ANY)}
            found[run][score.key] = {k: _rounded(v) for k, v in {**by_class, "mean": mean}.items()}
    return found


def known_scores(scores: Mapping[str, pd.DataFrame]) -> list[Score]:
    """Those of SCORES for which some run has a value."""
    return [
        score
        for score in SCORES
        if any(score.key in table and table[score.key].notna().any() for table in scores.values())
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else round(float(value), 6)
