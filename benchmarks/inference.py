"""Time the prediction of scans at the seed's network, 512 x 512 x 32: the seed's way and ours.

    python benchmarks/inference.py [--quick]

The seed's way: PNG slices one by one, one image a call, float32, one thread; a mask PNG each. Ours:
`mbhseg.scans.pipeline.predict_scans` from a zip of NIfTI files, that is what `python -m mbhseg
infer` and the target `scans` do, with label volumes, tables, masks, overlays and mosaics, on all
cores; once as a model trained on whole slices, and once as one trained on patches of 384 x 384,
which sees the
box around the head alone; in int8, which is what a user in a hurry asks for (docs/scans.md says
what it costs in Dice), and in bfloat16 and float32, as models are trained. Each way runs in a
process of its own. The networks have random weights, and call one pixel in a hundred a bleed, as
on a scan with a large one: what is written depends on it, what the network computes does not.
Where a scan takes hardly longer than its network alone, reading and writing overlap with it. The
last line is `inference ratio <number>`: the seed's seconds a scan over ours.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from _common import CORES, first_scan, in_own_process, machine, preset, seed_process, write_model

from mbhseg.classes import CLASSES
from mbhseg.config import experiments
from mbhseg.imaging.display import network_input
from mbhseg.imaging.windows import Window
from mbhseg.phantom import PhantomSpec, write_archive

SIZE, PLANES, SEED_SLICES = 512, 32, 4
BLEED = 0.01  # share of the pixels
WINDOW = Window("seed", 127.5, 255.0)
PATCH = {"rows": 384, "columns": 384, "multiple": 128}


class Cost(NamedTuple):
    """Seconds a scan, those of the network alone, and the process's peak memory in MB."""

    seconds: float
    network: float
    peak_mb: float


def seed_network(size: int | None, images: np.ndarray | None = None) -> Any:
    """The seed's network, untrained; of the pixels of `images` it calls BLEED a bleed."""
    import keras

    from mbhseg.nn.network.models import build_model

    network = experiments.recipe(preset("seed"), "seed")["network"]
    model = build_model(network, size=size, channels=3, classes=len(CLASSES), seed=137)
    if images is not None:
        last = model.get_layer("probabilities")
        features = keras.Model(model.inputs, last.input).predict_on_batch(images)
        logits = features @ np.asarray(last.kernel)[0, 0]
        margin = logits[..., 1:].max(axis=-1) - logits[..., 0]
        last.bias.assign([np.quantile(margin, 1 - BLEED)] + [0.0] * (len(CLASSES) - 1))
    return model


def seed_way(archive: Path, folder: Path) -> Cost:
    """Slices of the first scan, already PNGs, through the network one by one."""
    seed_process()
    hu = first_scan(archive)
    middle = hu.shape[2] // 2
    names = [str(folder / f"{z}.png") for z in range(SEED_SLICES + 1)]
    for name, image in zip(names, network_input(hu[..., middle:], [WINDOW], SIZE), strict=False):
        cv2.imwrite(name, image)
    model = seed_network(SIZE)
    seconds = []
    for name in names:
        began = time.perf_counter()
        image = cv2.imread(name)[None].astype(np.float32)
        labels = model.predict(image, verbose=0).argmax(axis=-1)[0]
        cv2.imwrite(name.replace(".png", "_mask.png"), (40 * labels).astype(np.uint8))
        seconds.append(time.perf_counter() - began)
    each = PLANES * float(np.mean(seconds[1:]))  # the first one compiles
    return Cost(each, each, _peak_mb())


def make_model(archive: Path, folder: Path, patch: dict[str, int] | None) -> None:
    """Write a model folder with the seed's network; not where memory is measured."""
    middle = first_scan(archive)[..., PLANES // 2 : PLANES // 2 + 2]
    images = network_input(middle, [WINDOW], SIZE)
    model = seed_network(SIZE if patch is None else None, images)
    write_model(folder, model, images, WINDOW, patch)


def our_way(archive: Path, folder: Path, precision: str) -> Cost:
    """All scans of the archive, after a first pass that compiles."""
    from mbhseg.config.defaults import defaults
    from mbhseg.inference.predictor import Predictor
    from mbhseg.nn import device
    from mbhseg.scans import pipeline
    from mbhseg.scans.discovery import find

    device.configure(threads=CORES, deterministic=False)
    predictor = Predictor.load(folder, batch=4, precision=precision)
    found, _ = find([archive])
    hu = found[0].read().hu
    wanted = defaults()["inference"] | {"probabilities": False, "report": False}
    settings = pipeline.Settings.of(wanted, None)
    pipeline.predict_scans(found, predictor, folder / "first", settings)  # compiles
    began = time.perf_counter()
    for _ in predictor.planes(hu):
        pass
    network = time.perf_counter() - began
    began = time.perf_counter()
    _, failed = pipeline.predict_scans(found, predictor, folder / "scans", settings)
    seconds = (time.perf_counter() - began) / len(found)
    assert not failed, failed
    return Cost(seconds, network, _peak_mb())


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _show(what: str, cost: Cost) -> float:
    print(
        f"{what}: {cost.seconds:.1f} s a scan, {60 / cost.seconds:.2f} scans a minute, "
        f"network alone {cost.network:.1f} s, peak {cost.peak_mb:.0f} MB ({machine()})",
        flush=True,
    )
    return cost.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one scan, no float32")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        spec = PhantomSpec(cases=1 if quick else 6, size=SIZE, slices=PLANES, seed=1)
        write_archive(place / "scans.zip", spec)
        ways = [("patches", PATCH, "int8"), ("whole slices", None, "int8")]
        ways += [("patches", PATCH, "bfloat16")]
        ways += [] if quick else [("patches", PATCH, "float32")]
        seed = _show("the seed's way", in_own_process(seed_way, place / "scans.zip", place))
        ours = []
        for number, (trained, patch, precision) in enumerate(ways):
            folder = place / str(number)
            folder.mkdir()
            in_own_process(make_model, place / "scans.zip", folder, patch)
            cost = in_own_process(our_way, place / "scans.zip", folder, precision)
            ours.append(_show(f"ours, trained on {trained}, {precision}", cost))
            print(f"  the seed's seconds a scan over ours {seed / ours[-1]:.2f}")
    print(f"inference ratio {seed / min(ours):.2f}")


if __name__ == "__main__":
    main()
