"""Memory and waiting of a training on many slices, against the same training on few.

A manifest of 20,000 slices (its PNGs come again and again under other names) and one of 200 are
trained on for the same number of steps, each in a process of its own, with the demo's network and
the default augmentation. Memory is the peak of the process's own (anonymous) pages and of all its
resident pages, decoding included. Then the feed alone: processor time of an image, by one thread.
The last line is the peak with many over the peak with few.

    .venv/bin/python benchmarks/feed.py [--quick] [--slices N] [--size N] [--steps N]
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from _common import in_own_process, machine, preset

PNGS = 64
FEW = 200
_MIB = 1 << 20


def write_slices(folder: Path, size: int) -> list[str]:
    """PNGS smooth pictures and masks with a disc of each class, by name."""
    import cv2
    import numpy as np

    from mbhseg.imaging.masks import encode_rgb
    from mbhseg.imaging.png import write_png

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    names = []
    for k in range(PNGS):
        noise = rng.normal(0, 255, (size, size, 3)).astype(np.float32)
        image = 90 + 6 * cv2.GaussianBlur(noise, (0, 0), size / 40)
        labels = np.zeros((size, size), np.uint8)
        for label in range(1, 6):
            row, column = rng.uniform(size * 0.2, size * 0.8, 2)
            labels[(rows - row) ** 2 + (columns - column) ** 2 < (size / 16) ** 2] = label
        image[labels > 0] += 40
        write_png(folder / f"{k}_image.png", np.clip(image, 0, 255).astype(np.uint8))
        write_png(folder / f"{k}_mask.png", encode_rgb(labels))
        names.append(str(k))
    return names


def resident() -> tuple[int, int]:
    """Bytes of this process's own pages, and of all resident ones."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, whole = (int(fields[key].split()[0]) * 1024 for key in ("RssAnon", "VmRSS"))
    return own, whole


class Peak(threading.Thread):
    """The largest of `resident` while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own = self.whole = 0
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.05):
            own, whole = resident()
            self.own, self.whole = max(self.own, own), max(self.whole, whole)

    def end(self) -> None:
        self._done.set()
        self.join()


def manifest(names: list[str], slices: int) -> Any:
    """A manifest of so many slices that all hold everything, 16 of them to validate on."""
    import pandas as pd

    valid = 16
    rows = [
        (
            "valid" if k < valid else "train",
            f"case{k // 30}",
            k % 30,
            f"{names[k % PNGS]}_image.png",
            f"{names[k % PNGS]}_mask.png",
            "EDH,IPH,IVH,SAH,SDH",
            f"{k}a",
            f"{k}b",
        )
        for k in range(slices)
    ]
    columns = ["subset", "case", "slice", "image", "mask", "classes", "image_sha256", "mask_sha256"]
    return pd.DataFrame(rows, columns=columns)


def windows_of(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": n, **config["windows"][n]} for n in config["slices"]["channels"]]


def seconds_an_image(pngs: Path, names: list[str], size: int) -> float:
    """Processor time that the feed takes to draw, augment and stack an image, by one thread."""
    import cv2

    from mbhseg.nn.feed.loader import TrainingFeed
    from mbhseg.nn.feed.store import open_store
    from mbhseg.nn.recipe import TrainingRecipe
    from mbhseg.nn.training.train import channel_windows

    cv2.setNumThreads(1)
    config = preset()
    recipe, batches = TrainingRecipe.from_config(config["training"]), 8
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(manifest(names, FEW), pngs, size, Path(folder))
        feed = TrainingFeed(
            store,
            store.subset("train"),
            batch=recipe.batch,
            sampling=recipe.sampling,
            augmentation=recipe.augmentation,
            windows=channel_windows(windows_of(config)),
            seed=1,
            targets="consensus",
            patch=None,
            threads=1,
            ahead=1,
        )
        began = time.process_time()
        for step in range(batches):
            feed.make_batch(0, step)
        seconds = time.process_time() - began
        feed.close()
    return seconds / (batches * recipe.batch)


def train_on(pngs: Path, names: list[str], slices: int, size: int, steps: int) -> dict[str, Any]:
    """Train for `steps` steps on `slices` slices; peaks in bytes, seconds, waiting."""
    from mbhseg.files import read_json
    from mbhseg.nn.training.fit import TrainOutputs
    from mbhseg.nn.training.train import train

    config = preset("demo")
    training = config["training"]
    training |= {"epochs": 2, "threads": 2}
    training["previews"] |= {"slices": 0}
    training["sampling"] |= {"slices_per_epoch": steps * training["batch"]}
    peak = Peak()
    peak.start()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outputs = TrainOutputs.within(Path(folder))
        train(
            slices=manifest(names, slices),
            root=pngs,
            network=config["network"],
            training=training,
            input={"size": size, "windows": windows_of(config)},
            identity={"run": "feed-f0-s1", "experiment": "feed", "fold": 0, "seed": 1},
            outputs=outputs,
        )
        timings = read_json(outputs.run_json)["timings"]
    peak.end()
    return {
        "own": peak.own,
        "whole": peak.whole,
        "seconds": time.perf_counter() - began,
        "images_per_second": timings["images_per_second"],
        "waiting": timings["data_wait_seconds"] / timings["training_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 slices of 128 pixels")
    parser.add_argument("--slices", type=int, default=None)
    parser.add_argument("--size", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None)
    options = parser.parse_args()
    slices = options.slices or (2_000 if options.quick else 20_000)
    size = options.size or (128 if options.quick else 256)
    steps = options.steps or (10 if options.quick else 60)
    print(f"{machine()}; {size} x {size}, 2 epochs of {steps} steps")
    with tempfile.TemporaryDirectory() as folder:
        pngs = Path(folder)
        names = in_own_process(write_slices, pngs, size)
        image = in_own_process(seconds_an_image, pngs, names, size)
        found = {n: in_own_process(train_on, pngs, names, n, size, steps) for n in (FEW, slices)}
    for count, peaks in found.items():
        print(
            f"{count:6d} slices: own memory {peaks['own'] / _MIB:.0f} MiB, all resident "
            f"{peaks['whole'] / _MIB:.0f} MiB, {peaks['images_per_second']:.1f} images/s, waiting "
            f"for data at most {peaks['waiting']:.1%} of the time, {peaks['seconds']:.0f} s in all"
        )
    print(f"the feed alone: {image * 1000:.1f} ms of one thread an image, {1 / image:.0f} images/s")
    few, many = found[FEW], found[slices]
    print(f"{slices} slices add {(many['whole'] - few['whole']) / _MIB:.0f} MiB")
    print(f"feed ratio {many['whole'] / few['whole']:.2f}")


if __name__ == "__main__":
    main()
