"""What the recipe learns from three dozen real slices: five-fold cross-validation.

    python benchmarks/real_ct.py [--quick] [--data FOLDER] [--epochs 6] [--pretrain 12]

`--data` holds images/*.png (HU 0..255 as grey) and masks/*.png (RGB), by the same names; where it
is not there the benchmark says so and ends. The recipe is the default with a narrower network,
which sees more slices in the same time. Every fold trains three networks for `--epochs` of 240
slices each, in less than ten minutes together, on all cores, from the weights of a network that was
trained `--pretrain` epochs on a varied phantom, counted apart; what that one finds by itself is
printed as well. The folds train on the phantom's slices, too, or the networks would forget what few
real ones show (`--pretrain 0` leaves the phantom out of both). Fewer epochs suit a slower machine:
the learning rate falls to nothing over all of them. Slices whose names differ in the last three
digits alone (136009, 136013) are taken for one patient's and stay together. The three networks'
predictions are averaged, with those of the mirror image. Dice is pooled over all held-out slices,
at their own size. The last line is `real_ct ratio <number>`: the mean over the five classes over
that of `seed_predictions/`, which were made by a network that had seen other slices as well (1
where there are none).
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _common import (
    CORES,
    ROOT,
    data_set,
    in_own_process,
    machine,
    prepare_data,
    preset,
    train_recipe,
)

from mbhseg.classes import KEYS
from mbhseg.config import experiments
from mbhseg.imaging.display import from_display, network_input, resize_labels
from mbhseg.imaging.masks import encode_rgb, read_mask
from mbhseg.imaging.png import read_image, write_png
from mbhseg.imaging.windows import Window
from mbhseg.metrics.overlap import class_counts, confusion, dice
from mbhseg.split.stratify import deal

DATA = ROOT.parent / "shared/real_ct/slices"
SIZE = 256
FOLDS = 5
EPOCH = 240  # slices
MEMBERS = 3  # of a fold's ensemble: the same training from other seeds
REPEATED = 12  # times that a real slice stands among the phantom's
NETWORK = {"filters": 12, "max_filters": 96}
FINE_TUNING: dict[str, Any] = {
    "batch": 4,  # so few slices take many steps
    "optimizer": {"learning_rate": 0.001},
    "augmentation": {"elastic": 0.3},
    "time_budget_minutes": 9.3 / MEMBERS,  # the epoch that is on then is the last
}
# Nothing below 0 HU is left in these images, so no window reaches below it, in the phantom neither.
WINDOWS = {
    "brain": {"level": 40, "width": 80},
    "blood": {"level": 65, "width": 90},
    "seed": {"level": 127.5, "width": 255},
}
PHANTOM = {
    "datasets": {"phantom": {"phantom": {"cases": 60, "size": SIZE, "slices": 12, "varied": True}}},
    "build": {"datasets": ["phantom"]},
    "shards": 2,
    "windows": WINDOWS,
    "slices": {"size": SIZE, "channels": list(WINDOWS)},
}


def channels() -> list[dict[str, Any]]:
    return [{"name": name, **window} for name, window in WINDOWS.items()]


def table_of(data: Path, out: Path) -> pd.DataFrame:
    """The real slices as PNGs of the network's input below `out`, and their table."""
    windows = [Window(**window) for window in channels()]
    (out / "images").mkdir(parents=True)
    (out / "masks").mkdir()
    rows = []
    for number, path in enumerate(sorted((data / "images").glob("*.png"))):
        hu = from_display(read_image(path)[..., 0])[:, :, None].astype(np.int16)
        labels = read_mask(data / "masks" / path.name)
        names = [f"{kind}/{path.name}" for kind in ("images", "masks")]
        write_png(out / names[0], network_input(hu, windows, SIZE)[0])
        write_png(out / names[1], encode_rgb(resize_labels(labels, SIZE)))
        drawn = ",".join(KEYS[label - 1] for label in np.unique(labels) if label)
        rows.append((path.stem[:-3], path.stem, number, *names, drawn))
    return pd.DataFrame(rows, columns=["patient", "case", "slice", "image", "mask", "classes"])


def folds_of(table: pd.DataFrame) -> pd.Series:
    """The fold of each row: patients dealt so that every fold has its share of each class."""
    strata = {
        str(patient): frozenset(",".join(rows).split(","))
        for patient, rows in table.groupby("patient")["classes"]
    }
    sizes = [len(part) for part in np.array_split(range(len(strata)), FOLDS)]
    parts = deal(strata, sizes, 137, "folds")
    return table["patient"].map({p: k for k, part in enumerate(parts) for p in part})


def fit(
    table: pd.DataFrame, root: Path, out: Path, epochs: int, start: str | None, seed: int = 137
) -> float:
    """Train the recipe on `table` (column subset); the seconds that it took."""
    recipe = {key: preset()[key] for key in experiments.RECIPE}
    changes = {
        "epochs": epochs,
        "threads": CORES,
        "sampling": {"slices_per_epoch": EPOCH},
    }
    recipe = experiments.merged(recipe, {"network": NETWORK, "training": changes})
    if start is not None:
        recipe = experiments.merged(recipe, {"training": {"start_from": start, **FINE_TUNING}})
    began = time.monotonic()
    seen = {"root": root, "size": SIZE, "windows": channels(), "cache": root / "cache"}
    train_recipe(recipe, table=table, out=out, seed=seed, **seen)
    return time.monotonic() - began


def pretrain(folder: Path, epochs: int) -> float:
    """Train on the phantom in `folder`; the model lies in `folder`/model.keras."""
    return fit(data_set(folder), folder / "results/phantom", folder, epochs, None)


def found_by(models: Sequence[Path], data: Path, names: Iterable[str]) -> np.ndarray:
    """The confusion [6, 6] of the pixels of the slices `names` by the models in the folders."""
    from mbhseg.inference.averaging import Ensemble
    from mbhseg.inference.predictor import Predictor

    ensemble = Ensemble([Predictor.load(model, mirror=True) for model in models])
    counts = np.zeros((6, 6), np.int64)
    for name in names:
        hu = from_display(read_image(data / f"images/{name}.png")[..., 0])[:, :, None]
        truth = from_display(read_mask(data / f"masks/{name}.png"))[:, :, None]
        for _, plane in ensemble.planes(hu.astype(np.int16)):
            counts += confusion(truth, plane.argmax(axis=-1).astype(np.uint8)[:, :, None])
    return counts


def train_fold(
    table: pd.DataFrame, fold: int, place: Path, data: Path, epochs: int, phantom: Path | None
) -> tuple[float, np.ndarray]:
    """Train members on all folds but one; seconds, and the confusion [6, 6] of that one's pixels.

    `phantom`: where `pretrain` was, below `place`.
    """
    learnt = table[table["fold"] != fold]
    # nothing is chosen by validation: it looks at what is trained on, and the last epochs win
    parts = [learnt.assign(subset="train")] * REPEATED + [learnt.assign(subset="valid")]
    start = None
    if phantom is not None:
        drawn = data_set(phantom).assign(subset="train")
        root = (phantom / "results/phantom").relative_to(place)
        for column in ("image", "mask"):
            drawn[column] = [str(root / name) for name in drawn[column]]
        parts.append(drawn)
        start = str(phantom / "model.keras")
    columns = ["case", "slice", "image", "mask", "classes", "subset"]
    both = pd.concat([part[columns] for part in parts], ignore_index=True)
    members = [place / f"fold{fold}" / str(member) for member in range(MEMBERS)]
    spent = 0.0
    for seed, out in enumerate(members):
        out.mkdir(parents=True)
        spent += fit(both, place, out, epochs, start, seed)
    return spent, found_by(members, data, table["case"][table["fold"] == fold])


def pooled(counts: np.ndarray) -> dict[str, float]:
    """Dice of each class, of any bleed, and the mean over the five classes, from pooled counts."""
    scores = {key: float(dice(*n)) for key, n in class_counts(counts).items()}
    return {"macro": float(np.mean([scores[key] for key in KEYS])), **scores}


def show(what: str, scores: dict[str, float]) -> None:
    print(f"{what}: " + "  ".join(f"{k} {v:.3f}" for k, v in scores.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one epoch of each training")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of images/ and masks/")
    parser.add_argument("--epochs", type=int, default=6, help="of each network")
    parser.add_argument("--pretrain", type=int, default=12, help="epochs on the phantom")
    options = parser.parse_args()
    data: Path = options.data
    if not (data / "images").is_dir():
        print(f"real_ct skipped: no {data}/images")
        return
    epochs, before = (1, 1) if options.quick else (options.epochs, options.pretrain)
    print(f"machine: {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        table = table_of(data, place)
        table["fold"] = folds_of(table)
        print(f"{len(table)} slices, {table['patient'].nunique()} patients as far as names tell")
        phantom = None
        if before:
            phantom = place / "phantom"
            prepare_data(phantom, PHANTOM)
            spent = in_own_process(pretrain, phantom, before)
            untuned = in_own_process(found_by, [phantom], data, list(table["case"]))
            show(f"pretrained {spent:.0f} s on the phantom, and no more", pooled(untuned))
        found = []
        for k in range(FOLDS):
            found.append(in_own_process(train_fold, table, k, place, data, epochs, phantom))
            show(f"fold {k}, {found[-1][0]:.0f} s", pooled(found[-1][1]))
    ours = pooled(sum(counts for _, counts in found))
    show("all folds, pooled over slices", ours)
    theirs = ours["macro"]
    if (data / "seed_predictions").is_dir():
        pairs = [
            confusion(
                *(
                    read_mask(data / kind / f"{name}.png")[None]
                    for kind in ("masks", "seed_predictions")
                )
            )
            for name in table["case"]
        ]
        show("the seed's predictions", pooled(sum(pairs)))
        theirs = pooled(sum(pairs))["macro"]
    print(f"real_ct ratio {ours['macro'] / theirs:.2f}")


if __name__ == "__main__":
    main()
