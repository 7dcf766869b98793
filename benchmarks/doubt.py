"""What temperature, ensembles and mirror images are worth on the phantom's test patients.

    python benchmarks/doubt.py [--quick] [--folder DIR]

Trains the demo's recipe on three folds, whose test patients are the same, into DIR (a temporary
folder unless given; what is there already is not trained again). Then, for each model, fits the
temperature on its validation patients and measures the calibration error on the test patients
before and after; and predicts them by each model, by each with its mirror images, by all models,
and by all with mirror images. Dice is the mean over classes of the mean over patients who have the
class. The last line is `doubt ratio <number>`: the ensemble's Dice over the mean of its members'.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _common import ROOT, data_set, machine, preset

from mbhseg.config.experiments import merged
from mbhseg.imaging.display import from_display
from mbhseg.imaging.masks import read_mask
from mbhseg.imaging.nifti import image_array
from mbhseg.inspect.archive import Archive
from mbhseg.metrics.pairs import CaseLabels, Pair, PairScores
from mbhseg.metrics.summary import score_table, summarise
from mbhseg.predictions import temperature

QUICK = {"training": {"epochs": 3}, "datasets": {"phantom": {"phantom": {"cases": 24}}}}
SEED = 137


def trained(folder: Path, folds: Sequence[int], changes: dict[str, Any]) -> list[Path]:
    """Folders of the demo's models on `folds`, trained by the workflow in `folder`."""
    config = merged(merged(preset("demo"), changes), {"build": {"folds": list(folds)}})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "benchmark.yaml"
    path.write_text(yaml.safe_dump(config))
    models = [f"results/phantom/models/flexunet-f{fold}-s{SEED}" for fold in folds]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "rules"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    targets = [f"{model}/model.keras" for model in models]
    subprocess.run([*command, *targets, "--configfile", str(path)], check=True, cwd=folder)
    return [folder / model for model in models]


def references(folder: Path) -> dict[str, np.ndarray]:
    """The raters' consensus of each test case, labels uint8 [x, y, z], from the mask PNGs."""
    table = data_set(folder)
    root = folder / "results/phantom"
    found = {}
    for case, rows in table[table["subset"] == "test"].groupby("case"):
        masks = [read_mask(root / name) for name in rows.sort_values("slice")["mask"]]
        found[str(case)] = np.stack([from_display(mask) for mask in masks], axis=2)
    return found


def dice(
    predictor: Any, archive: Archive, truth: dict[str, np.ndarray]
) -> tuple[dict[str, float], float]:
    """Mean Dice over classes (macro) and of any bleed of the test cases, and seconds a scan."""
    rows, seconds = [], []
    for case, reference in truth.items():
        scan = archive.nifti(archive.cases[case].image)
        hu = image_array(scan)
        began = time.perf_counter()
        predicted = np.zeros(hu.shape, np.uint8, order="F")
        for z, plane in predictor.planes(hu):
            predicted[:, :, z] = plane.argmax(axis=-1)
        seconds.append(time.perf_counter() - began)
        volumes = {"reference": np.asfortranarray(reference), "model": predicted}
        pairs = PairScores(CaseLabels(case, case, volumes, scan.affine))
        rows += pairs.rows([Pair("model", "reference")])
    summary = summarise(score_table(rows))
    scores = {
        "macro": summary["macro"]["dice_present"],
        "any": summary["classes"]["any"]["dice_present"],
    }
    return scores, float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two folds, three epochs, fewer heads")
    parser.add_argument("--folder", type=Path, help="keeps the trained models")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(options.folder or Path(temporary), options.quick)


def run(folder: Path, quick: bool) -> None:
    models = trained(folder.resolve(), (0, 1) if quick else (0, 1, 2), QUICK if quick else {})
    from mbhseg.inference.averaging import Ensemble
    from mbhseg.inference.fit_temperature import calibrate, case_voxels
    from mbhseg.inference.predictor import Predictor
    from mbhseg.nn import device

    device.configure(threads=2, deterministic=True)
    truth = references(folder)
    print(f"machine: {machine()}; {len(truth)} test cases")
    path = folder / "results/phantom/raw/archive.zip"
    single, mirrored = ([Predictor.load(m, mirror=mirror) for m in models] for mirror in (0, 1))
    with Archive(path) as archive:
        for fold, predictor in enumerate(single):
            table = data_set(folder, fold)
            valid = sorted(set(table["case"][table["subset"] == "valid"]))
            found = calibrate(path, valid, predictor)["temperature"]
            voxels = [case_voxels(archive, case, predictor) for case in truth]
            before, after = (temperature.mean_calibration_error(voxels, t) for t in (1.0, found))
            print(f"fold {fold}: temperature {found:.3f}, ECE on test {before:.4f} -> {after:.4f}")
        ways = {f"fold {n}": one for n, one in enumerate(single)}
        ways |= {f"fold {n}, mirrored": one for n, one in enumerate(mirrored)}
        ways |= {"ensemble": Ensemble(single), "ensemble, mirrored": Ensemble(mirrored)}
        scores = {}
        for name, predictor in ways.items():
            scores[name], seconds = dice(predictor, archive, truth)
            shown = ", ".join(f"{key} {value:.3f}" for key, value in scores[name].items())
            print(f"{name}: Dice {shown}; {seconds:.2f} s a scan", flush=True)
    mean = np.mean([scores[f"fold {n}"]["macro"] for n in range(len(single))])
    print(f"doubt ratio {scores['ensemble']['macro'] / mean:.3f}")


if __name__ == "__main__":
    main()
