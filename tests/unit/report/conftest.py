"""A finished data set to report on: small, made by the project's own functions."""

import importlib.util
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

import mbhseg.figures.agreement
import mbhseg.figures.bland_altman
import mbhseg.figures.calibration
import mbhseg.figures.confusion
import mbhseg.figures.dataset
import mbhseg.figures.examples
import mbhseg.figures.scatter
import mbhseg.figures.scores
from mbhseg.classes import ANY, KEYS
from mbhseg.evaluation import agreement, run_summary
from mbhseg.files import manifest_of, read_json, read_table, sha256, write_json, write_table
from mbhseg.imaging.nifti import label_array, nifti_bytes
from mbhseg.imaging.png import write_png
from mbhseg.imaging.windows import Window
from mbhseg.inspect import examine, inventory
from mbhseg.inspect.archive import Archive
from mbhseg.predictions.writing import write_case
from mbhseg.prepare import dataset, rasterize, slices
from mbhseg.prepare.consensus import Consensus, consensus
from mbhseg.report.page import build
from mbhseg.split import partition

RUNS = ("flexunet-f0-s137", "wide-f0-s7")
SEVERAL = (*RUNS, "other")  # the last was not trained here
OUT_OF_RANGE, CUT_SHORT = "ID_0000000e_ID_0000000e0e", "ID_0000000f_ID_0000000f0f"
THUMBNAILS = "inventory/shards/1-of-1.thumbnails"
WINDOWS = (Window("brain", 40, 80), Window("subdural", 75, 215), Window("bone", 600, 2800))
REPORT: dict[str, Any] = {
    "config": {"slices": {"size": 32, "channels": ["brain"]}, "qc": {"on_error": "fail"}},
    "windows": WINDOWS,
    "window": WINDOWS[0],
    "command": "snakemake --cores 2",
    "commit": "c0ffee",
}


@pytest.fixture(scope="session")
def archive_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve heads of eleven patients, tilted; raters 1 to 3, one case with a single rater.

    Two more that the inspection excludes: one with a label out of range, one cut short.
    """
    path = tmp_path_factory.mktemp("archive") / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(12):
            case = f"ID_{n // 11 * 4 + n % 11:08x}_ID_{n:010x}"
            for name, volume, affine in _head(n):
                image = nib.Nifti1Image(volume, affine)
                archive.writestr(f"set/{case}/{name}.nii.gz", nifti_bytes(image))
        for name, volume, affine in _head(20):
            odd = volume + np.uint16(7) * (volume > 0) if name == "label_annot_2" else volume
            data = nifti_bytes(nib.Nifti1Image(odd, affine))
            archive.writestr(f"set/{OUT_OF_RANGE}/{name}.nii.gz", data)
            data = nifti_bytes(nib.Nifti1Image(volume, affine))
            archive.writestr(f"set/{CUT_SHORT}/{name}.nii.gz", data[: len(data) // 2])
    return path


def _head(n: int) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
    """The files of one case: a skull, a brain, and bleeds that depend on n."""
    rng = np.random.default_rng([25, n])
    x, y = np.meshgrid(np.linspace(-1, 1, 44), np.linspace(-1, 1, 40), indexing="ij")
    radius = np.hypot(x * 1.05, y * 0.9)
    plane = np.select([radius < 0.78, radius < 0.88], [36.0, 900.0], -1000.0)
    hu = np.repeat(plane[..., None], 7, axis=2) + rng.normal(0, 4, (44, 40, 7))
    truth = np.zeros(hu.shape, np.uint8)
    if n != 3:  # a head without a bleed
        for label in {1 + n % 5, 1 + (n * 2 + 1) % 5, 2}:
            centre = rng.uniform([10, 10, 1.5], [34, 30, 5.5])
            size = rng.uniform([3, 3, 1], [7, 6, 2])
            grid = np.stack(np.indices(hu.shape), axis=-1)
            truth[(((grid - centre) / size) ** 2).sum(axis=-1) < 1] = label
    hu[truth > 0] += 28
    affine = np.diag([-0.5, -0.5, 5.0, 1.0])
    affine[1, 2] = 0.9 * (n % 3)
    yield "image", np.rint(hu).astype(np.int16), affine
    for rater in (1, 2, 3)[: 1 if n == 5 else 3]:
        moved = np.roll(truth, rng.integers(-1, 2, 2), axis=(0, 1))
        if rater == 3 and n % 4 == 1:
            moved[moved == 5] = 1  # takes SDH for EDH
        yield f"label_annot_{rater}", moved.astype(np.uint16), affine


def degraded(labels: np.ndarray, seed: int) -> np.ndarray:
    """What a middling model makes of the truth: edges off, a class missed, a false positive."""
    rng = np.random.default_rng([7, seed])
    found = np.roll(labels, rng.integers(0, 3), axis=0)
    lost = rng.choice(6)
    if lost != 2:
        found[found == lost] = 0
    swapped = ndimage.binary_dilation(found == 5) & (rng.random(found.shape) < 0.3)
    found[swapped & (labels == 5)] = 1
    found[4:6, 6:9, 0] = 4
    return found


def write_inventory(archive: Archive, root: Path) -> None:
    """The inspection of all cases, with findings that tempt a careless page."""
    found = examine.inspect_cases(archive, archive.cases, WINDOWS[0], root / THUMBNAILS)
    tables = inventory.merge([found])
    write_table(root / "inventory/cases.tsv", tables.cases)
    write_table(root / "inventory/slices.tsv", tables.slices)
    hostile = ("<b>&\"x'</b>", "<script>alert(1)</script>", "error", "a < b & c", "Rename it")
    first = next(iter(archive.cases))
    odd = (first, f"{first}/image.nii.gz", "warning", "<i>HU</i> up to 31701", "Look at the scan")
    findings = pd.DataFrame([odd, hostile], columns=tables.findings.columns)
    write_table(root / "inventory/findings.tsv", pd.concat([tables.findings, findings]))


def write_run(archive_path: Path, root: Path, run: str, seed: int, pictures: bool = False) -> None:
    """Predictions of a middling model, their evaluation, and what a training leaves behind."""
    fold = root / "split/fold0.tsv"
    folder = root / "predictions" / run / "test"
    with Archive(archive_path) as archive:
        for n, case in enumerate(partition.members(read_table(fold), "test")):
            files = archive.cases[case]
            labels = {k: label_array(archive.nifti(m), m) for k, m in files.labels.items()}
            predicted = degraded(consensus(labels, "majority"), seed + n)
            write_case(folder, case, predicted, archive.nifti(files.image), WINDOWS[0], pictures)
    write_table(folder.with_suffix(".tsv"), manifest_of(folder))
    out = root / "evaluation" / run
    run_summary.evaluate_run(archive_path, fold, "test", folder, run, out)
    legacy = {"categorical_crossentropy": 0.0152, "dice_coef_multiclass": 0.9948, "n_slices": 28}
    write_json(out / "legacy.json", legacy)
    epochs = np.arange(1, 13)
    history = pd.DataFrame(
        {
            "epoch": epochs,
            "loss": 1.1 * np.exp(-epochs / 4),
            "val_loss": 1.2 * np.exp(-epochs / 5),
            "val_dice": 0.7 - 0.7 * np.exp(-epochs / 4),
            "learning_rate": 1e-3 * np.cos(epochs / 8),
        }
    )
    models = root / "models" / run
    write_table(models / "history.csv", history)
    write_png(models / "curves.png", np.full((40, 120, 3), 200, np.uint8))
    write_png(models / "previews/filmstrip.png", np.full((30, 150, 3), 90, np.uint8))
    experiment, fold_name, seed_name = run.split("-")
    write_json(
        models / "run.json",
        {
            "run": run,
            "experiment": experiment,
            "fold": int(fold_name[1:]),
            "seed": int(seed_name[1:]),
            "input": {"size": 32, "windows": [w._asdict() for w in WINDOWS]},
            "classes": ["background", *KEYS],
            "network": {"name": "flexunet", "levels": 4, "base_filters": 16},
            "training": {"epochs": 12, "batch": 8, "loss": {"name": "ce_dice"}},
            "parameters": 1234567,
            "best": {"epoch": 11, "val_dice": float(history["val_dice"].max())},
            "data": {"manifest_sha256": "ab" * 32, "train_slices": 42, "valid_slices": 14},
            "versions": {"python": "3.11.9", "tensorflow": "2.21.0", "keras": "3.15.0"},
            "device": {
                "kind": "cpu",
                "name": "CPU <2 cores>",
                "count": 1,
                "precision": "float32",
                "threads": 2,
            },
            "timings": {"total_seconds": 312.5},
        },
    )


def finish(archive_path: Path, root: Path, size: int = 32, runs: tuple[str, ...] = RUNS) -> None:
    """Run the data stages on an archive, and pretend to have trained `runs`."""
    (root / "raw").mkdir(parents=True)
    os.link(archive_path, root / "raw/archive.zip")
    digest = sha256(archive_path)
    (root / "raw/archive.zip.sha256").write_text(f"{digest}  archive.zip\n")
    write_json(root / "raw/source.json", {"kind": "archive", "sha256": digest})
    with Archive(archive_path) as archive:
        write_inventory(archive, root)
    every = read_table(root / "inventory/cases.tsv")
    cases = every[every["status"] != "excluded"]
    names = list(cases["case"])
    counts = read_table(root / "inventory/slices.tsv")
    agreement.run(archive_path, names, root / "agreement/shards/1-of-1.csv")
    agreement.summarise_shards(
        [root / "agreement/shards/1-of-1.csv"],
        root / "agreement/pairs.csv",
        root / "agreement/summary.json",
    )
    folds = partition.make(cases, folds=2, test=0.34, valid=0.2, seed=137)
    for k, table in enumerate(folds):
        write_table(root / f"split/fold{k}.tsv", table)
    balances = [
        partition.balance(fold, cases, counts).assign(fold=k) for k, fold in enumerate(folds)
    ]
    write_table(root / "split/balance.tsv", pd.concat(balances, ignore_index=True))
    planes = {
        case: list(range(n)) for case, n in zip(cases["case"], cases["n_slices"], strict=True)
    }
    images = slices.run(archive_path, planes, WINDOWS, size, root / "slices/1-of-1")
    masks = rasterize.run(archive_path, planes, Consensus(), size, False, root / "masks/1-of-1")
    dataset.assemble(
        folds[0],
        dataset.index_shards([(root / "slices/1-of-1", images)]),
        dataset.index_shards([(root / "masks/1-of-1", masks)], under="consensus"),
        root=root,
        out_dir=root / "dataset",
        out_table=root / "dataset.tsv",
    )
    for seed, run in enumerate(runs):
        write_run(archive_path, root, run, seed)


@pytest.fixture(scope="session")
def results(archive_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder results/<dataset> of a finished workflow; read it, do not write into it."""
    root = tmp_path_factory.mktemp("results") / "phantom"
    finish(archive_path, root)
    return root


def draw_figures(archive_path: Path, root: Path, out: Path, runs: Iterable[str]) -> None:
    """Draw every figure of the data set and of some runs, laid out as below results/<dataset>."""
    table = read_table(root / "dataset.tsv")
    folds = {k: read_table(root / f"split/fold{k}.tsv") for k in (0, 1)}
    balances = dict(tuple(read_table(root / "split/balance.tsv").groupby("fold")))
    folder = out / "figures"
    mbhseg.figures.dataset.statistics(table, folds[0], folder / "statistics.png")
    mbhseg.figures.dataset.split_balance(balances, folder / "split_balance.png")
    samples = folder / "sample_images.png", folder / "sample_masks.png"
    mbhseg.figures.dataset.sample_grid(table, root, "train", 4, *samples)
    mbhseg.figures.agreement.agreement(
        read_table(root / "agreement/pairs.csv"), folder / "agreement.png"
    )
    for run in runs:
        cases, ceiling = (
            read_table(root / "evaluation" / run / f"{name}.csv") for name in ("cases", "ceiling")
        )
        folder = out / "evaluation" / run
        summary = read_json(root / "evaluation" / run / "summary.json")
        mbhseg.figures.scores.scores(cases, ceiling, folder / "scores.png", f"{run}: Dice")
        mbhseg.figures.scatter.scatter(cases, ceiling, folder / "scatter.png", f"{run}: cases")
        mbhseg.figures.bland_altman.bland_altman(
            cases, ceiling, folder / "volumes.png", f"{run}: ml"
        )
        mbhseg.figures.calibration.reliability(
            summary.get("calibration"), folder / "calibration.png", f"{run}: reliability"
        )
        mbhseg.figures.confusion.confusion(
            summary["confusion"], folder / "confusion.png", f"{run}: classes"
        )
        with Archive(archive_path) as archive:
            predictions = root / "predictions" / run / "test"
            panels = [
                mbhseg.figures.examples.read_panel(
                    archive, choice, predictions, Consensus(), WINDOWS[0]
                )
                for choice in mbhseg.figures.examples.choose_cases(cases)
            ]
        mbhseg.figures.examples.overlay_panel(panels, folder / "overlays.png", f"{run}: cases")


@pytest.fixture(scope="session")
def draw(archive_path: Path, results: Path) -> Callable[[Path], None]:
    """Draw the figures of the data set and of its first run below a folder."""
    return lambda out: draw_figures(archive_path, results, out, RUNS[:1])


@pytest.fixture(scope="session")
def drawn(draw: Callable[[Path], None], results: Path) -> Path:
    """The folder results/<dataset>, figures drawn for the data set and the first run only."""
    draw(results)
    return results


@pytest.fixture(scope="session")
def report(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report on one run."""
    folder = tmp_path_factory.mktemp("page") / "report"
    build(folder, drawn, "phantom", RUNS[:1], thumbnails=[drawn / THUMBNAILS], **REPORT)
    return folder


@pytest.fixture(scope="session")
def compared(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """results/<dataset> of two trained runs and another system, and their comparison."""
    root = tmp_path_factory.mktemp("compared") / "phantom"
    shutil.copytree(drawn, root)
    for run in SEVERAL[1:]:
        folder = root / "evaluation" / run
        shutil.copytree(root / "evaluation" / RUNS[0], folder, dirs_exist_ok=True)
        summary = read_json(folder / "summary.json")
        write_json(folder / "summary.json", {**summary, "run": run})
        shutil.copytree(
            root / "predictions" / RUNS[0], root / "predictions" / run, dirs_exist_ok=True
        )
    (root / "evaluation/other/legacy.json").unlink()
    write_comparison(root / "comparison")
    return root


def write_comparison(folder: Path) -> None:
    """Tables of a comparison with numbers that can be told apart."""
    keys = {"candidate": "raw", "reference": "consensus", "score": "dice_present"}
    runs, experiments, differences = [], [], []
    for n, key in enumerate(("macro", ANY, *KEYS)):
        counts = {"class": key, **keys, "n_cases": 4, "n_patients": 3}
        for k, run in enumerate(SEVERAL):
            mean = 0.5 + k / 10 + n / 100
            value = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}
            own = run.split("-")[0]
            runs.append({"run": run, "experiment": own, "fold": 0, "seed": 1, **counts, **value})
            spread = {"n_runs": 2, "sd": 0.004 + n / 1000, "min": mean, "max": mean}
            experiments.append({"experiment": own, **counts, **value, **spread})
        pair = {"first": "flexunet", "second": "wide", **counts, "difference": -0.1 + n / 100}
        differences.append({"level": "experiment", **pair, "low": -0.2 + n / 20, "high": 0.02})
    for name, rows in (("runs", runs), ("experiments", experiments), ("differences", differences)):
        write_table(folder / f"{name}.csv", pd.DataFrame(rows))


@pytest.fixture(scope="session")
def several(compared: Path) -> Path:
    """The folder of a report on several runs."""
    build(compared / "report", compared, "phantom", SEVERAL, **REPORT)
    return compared / "report"


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """What `report` was built with."""
    return REPORT


@pytest.fixture(scope="session")
def browser() -> Callable[..., Any]:
    """Open a tab of a real browser: `with browser(width, height) as tab`; see browser.py."""
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    program = module.find_browser()
    if program is None:
        pytest.skip("no Chromium here; set MBHSEG_CHROMIUM to its path")
    return lambda *size: module.Tab(program, *size)


@pytest.fixture(scope="module")
def tab(browser: Callable[..., Any]) -> Iterator[Any]:
    """A tab that the tests of a file share."""
    with browser(1280, 1000) as opened:
        yield opened
