"""Time training and inference at the seed's network, 512 x 512: the seed's way and ours.

    python benchmarks/train_step.py [--quick]

The seed's way: float32, one thread within and one between operations, batches of two from arrays
in memory; one image a call in inference. Ours: the same network, loss and optimizer through
`mbhseg.nn.training.train.train`, and `mbhseg.inference.predictor.Predictor`, on all cores, in
larger batches; on whole slices, and on the part around the head, 384 x 384 pixels in
training. Inference is also timed in int8, `inference.precision` for a user in a hurry.
Every way runs in a process of its own, one after the other, and is timed by the wall clock after a
first step that compiles. `peak` is what a large matrix product reaches here, which bounds them all.
The last line is `train_step ratio <number>`: the seed's seconds an image in training over ours.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _common import (
    CORES,
    data_set,
    first_scan,
    in_own_process,
    machine,
    prepare_data,
    preset,
    seed_arrays,
    seed_model,
    seed_process,
    write_model,
)

from mbhseg.classes import CLASSES
from mbhseg.config import experiments
from mbhseg.imaging.display import network_input
from mbhseg.imaging.windows import Window

SIZE = 512
GFLOP_FORWARD = 73.5  # an image through the seed's network; a training step takes three times that
DATA = {
    "datasets": {"phantom": {"phantom": {"cases": 8, "size": SIZE, "slices": 12, "seed": 1}}},
    "build": {"datasets": ["phantom"]},
    "slices": {"size": SIZE, "channels": ["seed"]},
    "split": {"folds": 2, "test": 0.25},
}


class Way(NamedTuple):
    """How we compute; the fields are keys of the config's `training` object."""

    precision: str
    batch: int
    threads: int
    patch: tuple[float, float] | None = None


HEAD = (0.75, 0.75)
WAYS = [Way("bfloat16", 8, CORES, HEAD), Way("bfloat16", 8, CORES), Way("float32", 8, CORES)]
INFERENCE = [Way("int8", 8, CORES, HEAD), Way("int8", 8, CORES), *WAYS]
WINDOW = {"name": "seed", "level": 127.5, "width": 255.0}


def seed_training(folder: Path, images: int) -> float:
    """Seconds an image of the seed's training, the best of two epochs after the first."""
    seed_process()
    from mbhseg.nn.feed.store import open_store
    from mbhseg.nn.training.callbacks import EpochTimes

    table = data_set(folder)
    chosen = table[table["subset"] == "train"].head(images)
    with tempfile.TemporaryDirectory() as cache:
        store = open_store(chosen, folder / "results/phantom", SIZE, cache)
        x, y = seed_arrays(store)
    model, times = seed_model(SIZE), EpochTimes()
    model.fit(x[:2], y[:2], batch_size=2, verbose=0)  # compiles
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[times])
    return min(times.training) / len(x)


def our_training(folder: Path, images: int, way: Way) -> float:
    """Seconds an image of our training, the best of two epochs after the first."""
    from mbhseg.files import read_json
    from mbhseg.nn.training.fit import TrainOutputs
    from mbhseg.nn.training.train import train

    recipe = preset("seed")
    training = recipe["training"] | {
        **way._asdict(),
        "epochs": 3,
        "metrics": [],
        "previews": {"slices": 0, "every": 1},
        "sampling": {"foreground": None, "slices_per_epoch": images},
    }
    table = data_set(folder)
    some = table["subset"].eq("train") | table["case"].eq(
        table["case"][table["subset"] == "valid"].iloc[0]
    )
    with tempfile.TemporaryDirectory() as out:
        train(
            slices=table[some],
            root=folder / "results/phantom",
            network=recipe["network"],
            training=training,
            input={"size": SIZE, "windows": [WINDOW]},
            identity={"run": "seed-f0-s137", "experiment": "seed", "fold": 0, "seed": 137},
            outputs=TrainOutputs.within(Path(out)),
        )
        run = read_json(Path(out) / "run.json")
    return min(run["timings"]["epoch_seconds"][1:]) / images


def seed_inference(images: int) -> float:
    """Seconds an image, one image a call."""
    seed_process()
    model, image = seed_model(SIZE), _noise(1)
    return _best([lambda: model.predict(image, verbose=0).argmax(axis=-1)] * images)


def our_inference(folder: Path, images: int, way: Way) -> float:
    """Seconds an image of a scan through `Predictor.labels`, HU to labels."""
    from mbhseg.inference.predictor import Predictor
    from mbhseg.nn import device
    from mbhseg.nn.network.models import build_model
    from mbhseg.nn.patches import Patch

    device.configure(threads=way.threads, deterministic=True)
    network = experiments.recipe(preset("seed"), "seed")["network"]
    patch = Patch.of(way.patch, SIZE, network)
    model = build_model(
        network, size=SIZE if patch is None else None, channels=3, classes=len(CLASSES)
    )
    hu = first_scan(folder / "results/phantom/raw/archive.zip")[..., : way.batch]
    window = Window(**WINDOW)
    seen = network_input(hu[..., :2], [window], SIZE)
    with tempfile.TemporaryDirectory() as out:
        write_model(Path(out), model, seen, window, patch._asdict() if patch is not None else None)
        predictor = Predictor.load(out, batch=way.batch, precision=way.precision)
    return _best([lambda: predictor.labels(hu)] * max(2, images // way.batch)) / way.batch


def peak(precision: str, threads: int) -> float:
    """GFLOP/s of a product of two matrices 4096 x 4096."""
    import tensorflow as tf

    from mbhseg.nn import device

    device.configure(threads=threads, deterministic=False)
    n = 4096
    a = tf.cast(tf.random.normal((n, n)), precision)
    return 2 * n**3 / _best([lambda: tf.linalg.matmul(a, a).numpy()] * 3) / 1e9


def _noise(images: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (images, SIZE, SIZE, 3)).astype(np.float32)


def _best(calls: list[Callable[[], Any]]) -> float:
    """Seconds of the fastest call, after a first one that compiles."""
    calls[0]()
    seconds = []
    for call in calls:
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images, one way of ours")
    quick = parser.parse_args().quick
    images, some = (8, slice(1)) if quick else (16, slice(None))
    print(f"machine: {machine()}")
    for precision in ("float32", "bfloat16"):
        for threads in sorted({1, CORES}):
            speed = in_own_process(peak, precision, threads)
            print(f"peak {precision}, {threads} threads: {speed:.0f} GFLOP/s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        prepare_data(place, DATA)
        baseline = _show("training, the seed's way", 3, in_own_process(seed_training, place, 4))
        trained = [
            _show(f"training, {way}", 3, in_own_process(our_training, place, images, way))
            for way in WAYS[some]
        ]
        seed = _show("inference, the seed's way", 1, in_own_process(seed_inference, 4))
        inferred = [
            _show(f"inference, {way}", 1, in_own_process(our_inference, place, images, way))
            for way in INFERENCE[some]
        ]
    print(f"inference: the seed's seconds an image over ours {seed / min(inferred):.2f}")
    print(f"train_step ratio {baseline / min(trained):.2f}")


def _show(what: str, passes: int, seconds: float) -> float:
    speed = passes * GFLOP_FORWARD / seconds  # as if the whole slice were computed
    print(f"{what}: {seconds:.3f} s an image, {speed:.0f} GFLOP/s ({machine()})", flush=True)
    return seconds


if __name__ == "__main__":
    main()
