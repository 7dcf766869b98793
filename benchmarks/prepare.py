"""Time the data stages: images, consensus and masks of 512 x 512 x 31 cases with three raters.

    python benchmarks/prepare.py [--quick]

Compares, in one run and on the same planes, the project's slice and rasterize stages with the
seed's procedure written plainly (whole volume to float64, cv2.resize, cv2.imwrite at its
defaults, one rater) and with the floor (inflate the input, encode the PNGs, nothing else).
Times are CPU seconds of all threads, so that a busy machine does not decide. The last line is
`prepare ratio <number>`: the plain procedure's core-seconds a slice over the project's.
"""

import argparse
import itertools
import multiprocessing
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the package is not installed

from mbhseg import raster, raters, slices
from mbhseg.archive import Archive
from mbhseg.classes import CLASSES
from mbhseg.deflate import gzip_inflater
from mbhseg.phantom import PhantomSpec, make_case
from mbhseg.phantom.writer import TOP_FOLDER, case_members
from mbhseg.windows import Window

SHAPE = (512, 512, 31)
RATERS = 3
SEED_WINDOW = (Window("seed", 127.5, 255),)
THREE_WINDOWS = (Window("brain", 40, 80), Window("subdural", 75, 215), Window("bone", 600, 2800))
ROUNDS = 3


def make_archive(path: Path, cases: int) -> None:
    """Write `cases` phantom cases of 512 x 512 x 31 int32 with three raters each."""
    spec = PhantomSpec(cases=1, size=SHAPE[0], slices=SHAPE[2], seed=1)
    made = (make_case(spec, index) for index in itertools.count())
    drawn = (case for case in made if len(case.labels) >= RATERS)
    with zipfile.ZipFile(path, "w") as archive:
        for case in itertools.islice(drawn, cases):
            labels = dict(sorted(case.labels.items())[-RATERS:])  # so that rater 3 is among them
            case = case._replace(hu=case.hu.astype(np.int32), labels=labels)
            for name, data in case_members(case):
                archive.writestr(f"{TOP_FOLDER}/{name}", data)


def plain(folder: Path, out: Path) -> None:
    """The seed's procedure on the unpacked cases."""
    (out / "images").mkdir(parents=True)
    (out / "masks").mkdir()
    for case in sorted(folder.iterdir()):
        volume = _voxels(case / "image.nii.gz")
        labels = _voxels(case / "label_annot_3.nii.gz")
        volume = np.clip(volume, 0, 255)
        for k in range(volume.shape[2]):
            grey = np.rot90(volume[:, :, k]).astype(np.uint8)
            image = cv2.resize(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), SHAPE[:2])
            cv2.imwrite(str(out / "images" / f"{case.name}_{k:03d}.png"), image)
            plane = np.rot90(labels[:, :, k])
            mask = np.zeros((*plane.shape, 3), np.uint8)
            for c in CLASSES[1:]:
                mask[plane == c.label] = c.rgb[::-1]
            mask = cv2.resize(mask, SHAPE[:2], interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(out / "masks" / f"{case.name}_{k:03d}.png"), mask)


def _voxels(path: Path) -> Any:
    image: Any = nib.load(path)
    return image.get_fdata()


def ours(
    archive: Path,
    cases: list[str],
    out: Path,
    windows: tuple[Window, ...] = SEED_WINDOW,
    per_rater: bool = False,
) -> None:
    """The project's slice and rasterize stages."""
    planes = {case: list(range(SHAPE[2])) for case in cases}
    slices.run(archive, planes, windows, None, out / "images")
    raster.run(archive, planes, raters.Consensus(), None, per_rater, out / "masks")


def floor(archive: Path, cases: list[str], images: list[Any], masks: list[Any]) -> None:
    """Inflate every member that the stages read, encode every PNG that they write."""
    with Archive(archive) as source:
        for case in cases:
            files = source.cases[case]
            for member in (files.image, *files.labels.values()):
                inflate(source.read(member))
    for image in images:
        slices.encode_png(image)
    for mask in masks:
        raster.encode_mask(mask)


def inflate(data: bytes) -> None:
    """Inflate a gzip file, and do nothing with it."""
    inflater = gzip_inflater()
    inflater.decompress(data)


def core_seconds(
    works: dict[str, Callable[[Path], None]], slice_count: int, rounds: int
) -> dict[str, float]:
    """The least CPU time a slice of each work over `rounds` rounds, each into a fresh folder.

    The works take turns, so that a busy spell of the machine meets all of them.
    """
    best = dict.fromkeys(works, float("inf"))
    for _, (name, work) in itertools.product(range(rounds), works.items()):
        with tempfile.TemporaryDirectory() as out:
            start = time.process_time()
            work(Path(out))
            best[name] = min(best[name], (time.process_time() - start) / slice_count)
    return best


def _worker(archive: Path, cases: list[str], start: Any, results: Any) -> None:
    cv2.setNumThreads(1)
    start.wait()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as out:
        ours(archive, cases, Path(out))
    results.put((began, time.monotonic(), peak_mib()))


def peak_mib() -> float:
    """The process's own peak memory; getrusage would count its parent's from before the exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def shards(archive: Path, cases: list[str], count: int) -> tuple[float, float]:
    """Wall seconds of `count` processes that share the cases, and the largest peak MiB."""
    context = multiprocessing.get_context("spawn")  # a fresh process, as a job of the workflow is
    start, results = context.Barrier(count), context.Queue()
    workers = [
        context.Process(target=_worker, args=(archive, cases[i::count], start, results))
        for i in range(count)
    ]
    for worker in workers:
        worker.start()
    done = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return max(d[1] for d in done) - min(d[0] for d in done), max(d[2] for d in done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two cases and one round")
    quick = parser.parse_args().quick
    cv2.setNumThreads(1)
    rounds = 1 if quick else ROUNDS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive = folder / "archive.zip"
        make_archive(archive, 2 if quick else 6)
        with Archive(archive) as source:
            cases = list(source.cases)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder / "unpacked")
        n = len(cases) * SHAPE[2]
        ours(archive, cases, folder / "made")
        images = [slices.read_image(p) for p in sorted((folder / "made/images").glob("*.png"))]
        masks = [
            raster.read_mask(p) for p in sorted((folder / "made/masks/consensus").glob("*.png"))
        ]

        plain_name, our_name, floor_name = (
            "plain procedure, one rater",
            "slice + rasterize, three raters",
            "floor: inflate + encode",
        )
        works: dict[str, Callable[[Path], None]] = {
            plain_name: lambda out: plain(folder / "unpacked" / TOP_FOLDER, out),
            our_name: lambda out: ours(archive, cases, out),
            floor_name: lambda out: floor(archive, cases, images, masks),
            "with three windows": lambda out: ours(archive, cases, out, THREE_WINDOWS),
            "with every rater's masks": lambda out: ours(archive, cases, out, per_rater=True),
        }
        times = core_seconds(works, n, rounds)
        one, peak = shards(archive, cases, 1)
        two, _ = shards(archive, cases, 2)

    print(f"slices                                {n}")
    for name, seconds in times.items():
        print(f"{name:36s} {1000 * seconds:6.2f} ms/slice {1 / seconds:7.1f} slices/core-s")
    print(f"over the floor                       {times[our_name] / times[floor_name]:.2f}")
    print(f"2 shards over 1                      {one / two:.2f}")
    print(f"peak memory of a worker              {peak:.0f} MiB")
    print(f"prepare ratio {times[plain_name] / times[our_name]:.2f}")


if __name__ == "__main__":
    main()
