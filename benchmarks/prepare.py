"""Time the data stages: images, consensus and masks of 512 x 512 x 31 cases with three raters.

    python benchmarks/prepare.py [--quick]

Compares, in one run and on the same slices, the project's slice and rasterize stages with a plain
version of the reference project's procedure (whole volume to float64, cv2.resize, cv2.imwrite at
its defaults, one rater) and with the minimum (inflate the input, encode the PNGs, nothing else).
Times are CPU seconds of all threads, so that a busy machine does not matter. The share of creating
files is shown, too: it differed tenfold between folders of one ext4, so measure where the results
will lie (TMPDIR=...). The last line is `prepare ratio <number>`: the plain procedure's
core-seconds per slice over the project's.
"""

import argparse
import functools
import io
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
from zlib_ng import gzip_ng

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the package is not installed

from mbhseg.classes import CLASSES
from mbhseg.imaging import png
from mbhseg.imaging.masks import encode_mask, read_mask
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.phantom import PhantomSpec, make_case
from mbhseg.phantom.zip_archive import TOP_FOLDER, case_members
from mbhseg.prepare import consensus, rasterize, slices

SHAPE = (512, 512, 31)
RATERS = 3
SEED_WINDOW = (Window("seed", 127.5, 255),)
THREE_WINDOWS = (Window("brain", 40, 80), Window("subdural", 75, 215), Window("bone", 600, 2800))
ROUNDS = 5
PASSES = 4  # over the cases in a shard, so that start-up time does not dominate


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
    """The reference project's procedure on the unpacked cases."""
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
    rasterize.run(archive, planes, consensus.Consensus(), None, per_rater, out / "masks")


def floor(archive: Path, cases: list[str], made: Path) -> Callable[[], None]:
    """Inflate every member that the stages read, encode every PNG that they write.

    What is to be encoded is read from `made` beforehand, outside the measured work returned.
    """
    images = [png.read_image(p) for c in cases for p in sorted(made.glob(f"images/{c}_*"))]
    masks = [read_mask(p) for c in cases for p in sorted(made.glob(f"masks/*/{c}_*"))]

    def work() -> None:
        with Archive(archive) as source:
            for case in cases:
                files = source.cases[case]
                for member in (files.image, *files.labels.values()):
                    inflate(source.read(member))
        for image in images:
            png.encode_png(image)
        for mask in masks:
            encode_mask(mask)

    return work


def inflate(data: bytes) -> None:
    """Inflate a gzip file over and over into one buffer, the least that can be done."""
    buffer = bytearray(2**20)
    with gzip_ng.open(io.BytesIO(data)) as stream:
        while stream.readinto(buffer):
            pass


def write_alone(made: Path) -> Callable[[Path], None]:
    """Make the files that the stages make, in a folder given, and do nothing else."""
    files = {f"{n}.png": p.read_bytes() for n, p in enumerate(sorted(made.rglob("*.png")))}

    def work(out: Path) -> None:
        for name, data in files.items():
            (out / name).write_bytes(data)

    return work


def core_seconds(
    works: dict[str, Callable[[Path], Any]], rounds: int, folder: Path
) -> dict[str, float]:
    """The least CPU time of each work over `rounds` rounds, each into a fresh folder.

    The works take turns, so that a busy spell of the machine meets all of them. Nothing is
    deleted: a file system finds no place as fast for new files where old ones have just gone.
    """
    best = dict.fromkeys(works, float("inf"))
    for _, (name, work) in itertools.product(range(rounds), works.items()):
        out = Path(tempfile.mkdtemp(dir=folder))
        start = time.process_time()
        work(out)
        best[name] = min(best[name], time.process_time() - start)
    return best


def _worker(archive: Path, cases: list[str], out: Path, start: Any, results: Any) -> None:
    cv2.setNumThreads(1)
    start.wait()
    began = time.monotonic()
    for number in range(PASSES):
        ours(archive, cases, out / str(number))
    results.put((began, time.monotonic(), peak_mib()))


def peak_mib() -> float:
    """The process's own peak memory; getrusage would count its parent's from before the exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def shards(archive: Path, cases: list[str], folder: Path, count: int) -> tuple[float, float]:
    """Wall seconds of `count` processes that share the cases, and the largest peak MiB."""
    context = multiprocessing.get_context("spawn")  # a fresh process, as a job of the workflow is
    start, results = context.Barrier(count), context.Queue()
    outs = [Path(tempfile.mkdtemp(dir=folder)) for _ in range(count)]
    workers = [
        context.Process(target=_worker, args=(archive, cases[i::count], out, start, results))
        for i, out in enumerate(outs)
    ]
    for worker in workers:
        worker.start()
    done = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return max(d[1] for d in done) - min(d[0] for d in done), max(d[2] for d in done)


PLAIN, OURS, FLOOR, FILES = (
    "plain procedure, one rater",
    "slice + rasterize, three raters",
    "floor: inflate + encode",
    "making the files alone",
)


def measure(folder: Path, archive: Path, cases: list[str], rounds: int) -> dict[str, float]:
    """CPU seconds a slice of each work, case by case."""
    total: dict[str, float] = {}
    for case in cases:
        unpacked = folder / case
        with zipfile.ZipFile(archive) as packed:
            names = [name for name in packed.namelist() if f"/{case}/" in name]
            packed.extractall(unpacked, names)
        made = folder / "made" / case
        ours(archive, [case], made)
        bare = floor(archive, [case], made)
        works: dict[str, Callable[[Path], Any]] = {
            PLAIN: functools.partial(plain, unpacked / TOP_FOLDER),
            OURS: functools.partial(ours, archive, [case]),
            FLOOR: functools.partial(_without_folder, bare),
            FILES: write_alone(made),
            "with three windows": functools.partial(ours, archive, [case], windows=THREE_WINDOWS),
            "with every rater's masks": functools.partial(ours, archive, [case], per_rater=True),
        }
        for name, seconds in core_seconds(works, rounds, folder).items():
            total[name] = total.get(name, 0) + seconds
    return {name: seconds / len(cases) / SHAPE[2] for name, seconds in total.items()}


def _without_folder(work: Callable[[], None], out: Path) -> None:
    work()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two cases, two rounds")
    quick = parser.parse_args().quick
    cv2.setNumThreads(1)
    rounds = 2 if quick else ROUNDS
    with tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "archive.zip"
        make_archive(archive, 2 if quick else 6)
        with Archive(archive) as source:
            cases = list(source.cases)
        times = measure(Path(temporary), archive, cases, rounds)
        work = functools.partial(shards, archive, cases, Path(temporary))
        one, peak = zip(*(work(1) for _ in range(rounds)), strict=True)
        two, _ = zip(*(work(2) for _ in range(rounds)), strict=True)

    print(f"{'slices':36s} {len(cases) * SHAPE[2]}")
    for name, seconds in times.items():
        print(f"{name:36s} {1000 * seconds:6.2f} ms/slice {1 / seconds:7.1f} slices/core-s")
    print(f"{'over the floor':36s} {times[OURS] / times[FLOOR]:.2f}")
    print(f"{'2 shards over 1':36s} {min(one) / min(two):.2f}")
    print(f"{'peak memory of a worker':36s} {max(peak):.0f} MiB")
    print(f"prepare ratio {times[PLAIN] / times[OURS]:.2f}")


if __name__ == "__main__":
    main()
