"""Dice over time on a phantom, 256 x 256: the seed's recipe and our default, equally long.

    python benchmarks/time_to_dice.py [--quick] [--minutes 20] [--longer 0] [--epoch-seconds 39]

The seed's recipe: its network, loss, optimizer, schedule and early stopping (config/seed.yaml) at
this image size, float32, one thread within and one between operations, bleeding slices as raw HU
0..255 in memory. Ours: the default network and training of config/config.yaml through
`mbhseg.nn.training.train.train`, on all cores. Both see the same patients and the same consensus.
The clock holds everything from the first step on, compilation and validation included, but stands
still while the test patients are scored. A score is the mean over classes of the mean Dice of
the test patients who have the class. A seed's recipe that has found nothing by then goes on until
`--longer` minutes. Our learning rate follows a cosine over as many epochs as fit, by
`--epoch-seconds`: how long one takes on this machine. The last line is `time_to_dice ratio
<number>`: the seed's time over the time after which we have its score, for which the best that
it ever has is taken.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import (
    CORES,
    TestPatients,
    data_set,
    in_own_process,
    machine,
    prepare_data,
    preset,
    seed_arrays,
    seed_model,
    seed_process,
    train_recipe,
)

from mbhseg.config import experiments

SIZE = 256
MARKS = (10, 20, 30, 45, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1200, 1800, 2400, 3600)
NOTHING = 0.01  # a macro Dice below it is none
EPOCH = 120  # slices in one of ours, so that validation comes often
COMMON = {
    "build": {"datasets": ["phantom"]},
    "shards": 2,
    "split": {"folds": 4, "test": 0.25},
    "slices": {"size": SIZE},
}


def macro_dice(folder: Path) -> Callable[[Any], float]:
    """A function that gives a model's score on the test patients of the data in `folder`."""
    patients = TestPatients(folder, SIZE)
    return lambda model: patients.scores(model)["macro"]


def clock(score: Any, seconds: float, longer: float = 0) -> Any:
    """A callback that scores the test patients at MARKS outside its clock, and stops at the end.

    The end is after `seconds`, or after `longer` if nothing has been found by then.
    """
    import keras

    class Clock(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.scores: list[tuple[float, float]] = []
            self.began = self.paused = 0.0
            last = max(seconds, longer)
            self.marks = iter(sorted({seconds, last, *(m for m in MARKS if m < last)}))
            self.mark = next(self.marks)

        def on_train_begin(self, logs: Any = None) -> None:
            self.began = time.monotonic()

        def elapsed(self) -> float:
            return time.monotonic() - self.began - self.paused

        def look(self) -> None:
            now = self.elapsed()
            if now < self.mark:
                return
            began = time.monotonic()
            self.scores.append((now, score(self.model)))
            print(f"  {now:6.0f} s  {self.scores[-1][1]:.3f}  ({machine()})", flush=True)
            self.paused += time.monotonic() - began
            while now >= self.mark:
                self.mark = next(self.marks, math.inf)
            if now >= seconds and (self.scores[-1][1] >= NOTHING or self.mark == math.inf):
                self.model.stop_training = True
                self.mark = math.inf

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.look()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.look()

    return Clock()


def seed_run(folder: Path, seconds: float, longer: float) -> list[tuple[float, float]]:
    """(seconds, score) of the seed's recipe; the last is that of the best epoch's weights."""
    seed_process()
    import keras

    from mbhseg.nn.feed.store import open_store
    from mbhseg.nn.training.callbacks import KeepBest

    score = macro_dice(folder)
    table = data_set(folder)
    table = table[table["classes"] != ""]  # slices without a bleed are left out
    arrays = {}
    for subset in ("train", "valid"):
        part = table[table["subset"] == subset]
        store = open_store(part, folder / "results/phantom", SIZE, folder / "cache", CORES)
        arrays[subset] = seed_arrays(store)
    training = preset("seed")["training"]
    watch, best = clock(score, seconds, longer), KeepBest("val_loss")
    callbacks = [
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss",
            factor=training["schedule"]["factor"],
            patience=training["schedule"]["patience"],
        ),
        keras.callbacks.EarlyStopping(
            monitor="val_loss", patience=training["early_stopping"]["patience"]
        ),
        best,
        watch,
    ]
    keras.utils.set_random_seed(137)
    model = seed_model(SIZE)
    model.fit(
        *arrays["train"],
        batch_size=training["batch"],
        epochs=training["epochs"],
        validation_data=arrays["valid"],
        callbacks=callbacks,
        verbose=0,
    )
    ended = watch.elapsed()
    best.put_back(model)
    return [*watch.scores, (ended, score(model))]


def our_run(folder: Path, seconds: float, epoch_seconds: float) -> list[tuple[float, float]]:
    """(seconds, score) of our default; the last is that of the weights that the training keeps."""
    from mbhseg.nn.network.saving import load_model

    config = preset()
    recipe = {key: config[key] for key in experiments.RECIPE}
    changes = {
        "threads": CORES,
        "sampling": {"slices_per_epoch": EPOCH},
        "epochs": max(2, round(seconds / epoch_seconds)),
    }
    score = macro_dice(folder)
    watch = clock(score, seconds)
    with tempfile.TemporaryDirectory() as out:
        train_recipe(
            experiments.merged(recipe, {"training": changes}),
            table=data_set(folder),
            root=folder / "results/phantom",
            size=SIZE,
            windows=experiments.windows(config),
            out=Path(out),
            cache=folder / "cache",
            callbacks=[watch],
        )
        kept = score(load_model(Path(out) / "model.keras"))
    return [*watch.scores, (watch.elapsed(), kept)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute each, fewer patients")
    parser.add_argument("--minutes", type=float, help="of each training; 20, or 1 with --quick")
    parser.add_argument(
        "--longer", type=float, default=0, help="of a seed's recipe that has found nothing"
    )
    parser.add_argument("--epoch-seconds", type=float, default=39, help="of one epoch of ours")
    options = parser.parse_args()
    minutes = options.minutes or (1 if options.quick else 20)
    cases = 24 if options.quick else 68  # of 65 patients
    source = {"phantom": {"phantom": {"cases": cases, "size": SIZE, "slices": 12}}}
    print(f"machine: {machine()}; {cases} scans, {minutes:g} minutes each")
    with tempfile.TemporaryDirectory() as folder:
        ours, seed = Path(folder) / "ours", Path(folder) / "seed"
        prepare_data(ours, COMMON | {"datasets": source})
        windows = {"slices": {"size": SIZE, "channels": preset("seed")["slices"]["channels"]}}
        prepare_data(seed, COMMON | {"datasets": source} | windows)
        check_same_patients(ours, seed)
        print("seconds, macro Dice of the test patients: the seed's recipe", flush=True)
        theirs = in_own_process(seed_run, seed, minutes * 60, options.longer * 60)
        print("our default", flush=True)
        found = in_own_process(our_run, ours, minutes * 60, options.epoch_seconds)
    ended, most, best = theirs[-2][0], max(score for _, score in theirs), found[-1][1]
    reached = next((t for t, score in found if score >= most and score > 0), math.inf)
    print(f"seed {most:.3f} after {ended:.0f} s; ours {best:.3f} after {found[-1][0]:.0f} s")
    if most < NOTHING:
        print(f"the seed's recipe has found next to nothing in {ended / 60:.0f} minutes")
    print(f"ours is {best - most:+.3f} above, and has the seed's score after {reached:.0f} s")
    print(f"time_to_dice ratio {ended / reached:.1f}")


def check_same_patients(*folders: Path) -> None:
    """Stop unless the data sets hold the same cases in the same subsets."""
    tables = [data_set(folder)[["case", "subset"]].drop_duplicates() for folder in folders]
    first, second = (set(table.itertuples(index=False, name=None)) for table in tables)
    assert first == second, "the two data sets are split differently"


if __name__ == "__main__":
    main()
