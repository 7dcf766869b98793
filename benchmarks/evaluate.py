"""Time the scores of 512 x 512 x 31 cases with three raters: all of them, from files to rows.

    python benchmarks/evaluate.py [--quick] [--memory CASES]

Compares, in one run and on the same cases, the project's evaluation with a plain implementation
of the same scores on whole dense volumes: boolean masks of the whole scan for every class and
pair, distance transforms and components of the whole scan (once a volume and class, as anyone
would), the organisers' scores and calibration on whole arrays. Both read the same files and score
the same pairs. Times are CPU seconds, on one core. Then the peak memory of an evaluation of many
cases in a process of its own. The last line is `evaluate ratio <number>`: the plain seconds over
the project's.
"""

import argparse
import concurrent.futures
import functools
import itertools
import multiprocessing
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the package is not installed

from mbhseg.evaluation.case_scores import Task, evaluate_case, evaluate_cases
from mbhseg.evaluation.run_summary import summarise_evaluation
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.phantom import PhantomSpec, make_case
from mbhseg.phantom.zip_archive import TOP_FOLDER, case_members
from mbhseg.predictions.postprocess import Postprocessing
from mbhseg.predictions.writing import write_case
from mbhseg.prepare.consensus import Consensus, consensus

SHAPE = (512, 512, 31)
RATERS = 3
POST = Postprocessing(True, dict.fromkeys(("EDH", "IPH", "IVH", "SAH", "SDH"), 0.1))
N_BINS, REGION_MM, SMALL = 15, 10, 1e-8
ANY = 6
EVERYWHERE = np.ones((3, 3, 3))
Volume = NDArray[Any]


def make_archive(path: Path, cases: int) -> list[Path]:
    """Phantom cases with three raters each in an archive, and unpacked beside it."""
    spec = PhantomSpec(cases=1, size=SHAPE[0], slices=SHAPE[2], seed=1)
    made = (make_case(spec, index) for index in itertools.count())
    drawn = (case for case in made if len(case.labels) >= RATERS and case.labels[3].any())
    with zipfile.ZipFile(path, "w") as archive:
        for case in itertools.islice(drawn, cases):
            case = case._replace(labels=dict(sorted(case.labels.items())[-RATERS:]))
            for name, data in case_members(case):
                archive.writestr(f"{TOP_FOLDER}/{name}", data)
                target = path.parent / "unpacked" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
    return sorted((path.parent / "unpacked").iterdir())


def predict(archive_path: Path, folder: Path) -> None:
    """Predictions that are a little off the consensus, with probabilities."""
    with Archive(archive_path) as archive:
        for case, files in archive.cases.items():
            drawn = {rater: archive.labels(member) for rater, member in files.labels.items()}
            volumes = {rater: planes.volume() for rater, planes in drawn.items()}
            truth = consensus(volumes, *Consensus())
            found = np.roll(truth, (3, 2, 0), (0, 1, 2))
            likely = np.zeros((*SHAPE, 5), np.uint8, order="F")
            for label in range(1, 6):
                near = ndimage.gaussian_filter((found == label).astype(np.float32), (2, 2, 0))
                likely[..., label - 1] = np.rint(near * 255)
            scan = archive.nifti(files.image)
            write_case(folder, case, found, scan, Window("brain", 40, 80), False, likely)


# --- the plain way


class Plain:
    """One volume's masks, borders, distance transforms and components, on the whole scan."""

    def __init__(self, labels: Volume, spacing: tuple[float, ...]) -> None:
        self.labels, self.spacing = labels, spacing
        self.known: dict[tuple[str, int], Any] = {}

    def once(self, what: str, key: int, make: Any) -> Any:
        if (what, key) not in self.known:
            self.known[what, key] = make()
        return self.known[what, key]

    def mask(self, key: int) -> Volume:
        return self.labels > 0 if key == ANY else self.labels == key

    def border(self, key: int) -> Volume:
        mask = self.mask(key)
        return self.once("border", key, lambda: mask & ~ndimage.binary_erosion(mask))

    def distance(self, key: int) -> Volume:
        def transform() -> Volume:
            away = ndimage.distance_transform_edt(~self.border(key), sampling=self.spacing)
            return np.asarray(away, np.float32)

        return self.once("distance", key, transform)

    def parts(self, key: int) -> tuple[Volume, int]:
        return self.once("parts", key, lambda: ndimage.label(self.mask(key), EVERYWHERE))


def plain_pair(reference: Plain, candidate: Plain, ml: float) -> list[dict[str, float]]:
    """Counts, Dice, surface and lesion scores of all classes of one pair."""
    rows = []
    for key in range(1, ANY + 1):
        r, c = reference.mask(key), candidate.mask(key)
        counts = int(r.sum()), int(c.sum()), int((r & c).sum())
        row = {"reference": counts[0] * ml, "candidate": counts[1] * ml}
        if counts[0] and counts[1]:
            row["dice"] = 2 * counts[2] / (counts[0] + counts[1])
            there = candidate.distance(key)[reference.border(key)]
            back = reference.distance(key)[candidate.border(key)]
            both = np.concatenate([there, back])
            row |= {f"nsd_{mm}": float((both <= mm).mean()) for mm in (1, 2, 3)}
            row["hd95"] = float(max(np.percentile(there, 95), np.percentile(back, 95)))
        if counts[0] or counts[1]:
            row |= plain_lesions(reference.parts(key), candidate.parts(key))
        rows.append(row)
    return rows


def plain_lesions(reference: tuple[Volume, int], candidate: tuple[Volume, int]) -> dict[str, float]:
    """Lesions found and false, by any overlap and by an IoU of at least .1."""
    (first, n), (second, m) = reference, candidate
    sizes = (
        np.bincount(first.ravel(), minlength=n + 1),
        np.bincount(second.ravel(), minlength=m + 1),
    )
    both = (first > 0) & (second > 0)
    shared = np.zeros((n, m))
    np.add.at(shared, (first[both] - 1, second[both] - 1), 1)
    iou = shared / (sizes[0][1:, None] + sizes[1][None, 1:] - shared) if n and m else shared
    rows, columns = linear_sum_assignment(np.where(iou >= 0.1, 1 + iou, 0), maximize=True)
    return {
        "found_any": float((shared.sum(axis=1) > 0).sum()),
        "false_any": float((shared.sum(axis=0) == 0).sum()),
        "found_iou": float((iou[rows, columns] >= 0.1).sum()),
    }


def plain_group(raters: list[Volume], prediction: Volume) -> dict[str, float]:
    """GED and soft Dice of all classes, and the organisers' scores, on whole volumes."""
    scores: dict[str, float] = {}
    for key in range(1, ANY + 1):
        masks = [rater > 0 if key == ANY else rater == key for rater in raters]
        own = prediction > 0 if key == ANY else prediction == key
        between = np.mean([_distance(own, mask) for mask in masks])
        within = np.mean([_distance(a, b) for a in masks for b in masks])
        share = np.mean(masks, axis=0)
        scores[f"ged{key}"] = float(2 * between - within)
        scores[f"soft{key}"] = float(
            2 * np.minimum(own, share).sum() / (own.sum() + share.sum() + SMALL)
        )
    binary = (prediction > 0).astype(int)
    for version in ("v1", "v3"):
        dices = []
        for rater in raters:
            drawn = [int(label) for label in np.unique(rater) if label]
            found = [_dice(rater == label, prediction == label) for label in drawn]
            dices.append(np.mean(found) if drawn else 0)
        scores[f"{version}_dice"] = float(np.mean(dices))
        between = np.mean([_classes_distance(rater, binary) for rater in raters])
        within = np.mean([_classes_distance(a, b) for a in raters for b in raters])
        own_distance = _classes_distance(binary, binary)
        scores[f"{version}_ged"] = float(2 * between - within - own_distance)
    rated = np.mean(np.stack(raters).astype("f4"), 0)
    cuts = [_dice(rated > cut, prediction > cut) for cut in (0.1, 0.3, 0.5, 0.7, 0.9)]
    return {**scores, "soft": float(np.mean(cuts))}


def _distance(a: Volume, b: Volume) -> float:
    union = (a | b).sum()
    return float(1 - (a & b).sum() / union) if union else 0.0


def _dice(a: Volume, b: Volume) -> float:
    return float((2 * (a & b).sum() + SMALL) / (a.sum() + b.sum() + SMALL))


def _classes_distance(a: Volume, b: Volume) -> float:
    overlaps = [
        ((a == c) & (b == c)).sum() / (((a == c) | (b == c)).sum() + SMALL) for c in range(1, 6)
    ]
    return float(1 - np.mean(overlaps))


def plain_calibration(
    likely: Volume, raters: list[Volume], spacing: tuple[float, ...]
) -> list[float]:
    """ECE of each rater and class in the region around the drawings, on whole volumes."""
    region = np.zeros(SHAPE, bool)
    drawn = np.any([rater > 0 for rater in raters], axis=0)
    for z in range(SHAPE[2]):
        if drawn[:, :, z].any():
            away = ndimage.distance_transform_edt(~drawn[:, :, z], sampling=spacing[:2])
            region[:, :, z] = away <= REGION_MM
    errors = []
    for rater, key in itertools.product(raters, range(1, 6)):
        p, y = likely[..., key - 1][region], (rater == key)[region]
        place = np.minimum((p * N_BINS).astype(int), N_BINS - 1)
        gaps = [abs(y[place == b].sum() - p[place == b].sum()) for b in range(N_BINS)]
        errors.append(float(np.sum(gaps) / max(len(p), 1)))
    return errors


def plain_post(labels: Volume, ml: float) -> Volume:
    """The post-processing of `POST`, on whole volumes."""
    result = labels.copy()
    parts, n = ndimage.label((labels == 1) | (labels == 5), EVERYWHERE)
    counts = [np.bincount(parts[labels == label], minlength=n + 1) for label in (1, 5)]
    for part in range(1, n + 1):
        if counts[0][part] and counts[1][part]:
            result[parts == part] = 1 if counts[0][part] > counts[1][part] else 5
    for label in range(1, 6):
        parts, n = ndimage.label(result == label, EVERYWHERE)
        sizes = np.bincount(parts.ravel(), minlength=n + 1)
        sizes[0] = SHAPE[0] * SHAPE[1] * SHAPE[2]
        result[(sizes * ml < 0.1)[parts]] = 0
    return result


def plain(folder: Path, predictions: Path) -> int:
    """All scores of one unpacked case; the number of pairs."""
    image: Any = nib.load(folder / "image.nii.gz")
    ml = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    spacing = tuple(float(size) for size in np.linalg.norm(image.affine[:3, :3], axis=0))
    raters = {path.name: _labels(path) for path in sorted(folder.glob("label_*"))}
    prediction = _labels(predictions / f"{folder.name}.nii.gz")
    volumes = {**raters, "model": prediction, "post": plain_post(prediction, ml)}
    votes = np.stack([np.sum([rater == k for rater in raters.values()], axis=0) for k in range(6)])
    volumes["consensus"] = votes.argmax(axis=0).astype(np.uint8)
    for left_out in raters:
        others = [rater for name, rater in raters.items() if name != left_out]
        agreed = np.where(others[0] == others[1], others[0], 0)
        volumes[f"without {left_out}"] = agreed
    held = {name: Plain(volume, spacing) for name, volume in volumes.items()}
    pairs = [(a, b) for a in ("model", "post") for b in ("consensus", *raters)]
    pairs += [(a, b) for a in raters for b in raters if a != b]
    pairs += [(a, "consensus") for a in raters] + [(a, f"without {a}") for a in raters]
    for candidate, reference in pairs:
        plain_pair(held[reference], held[candidate], ml)
    for candidate in ("model", "post"):
        plain_group(list(raters.values()), volumes[candidate])
        for left_out in raters:
            others = [rater for name, rater in raters.items() if name != left_out]
            plain_group(others, volumes[candidate])
    for left_out in raters:
        others = [rater for name, rater in raters.items() if name != left_out]
        plain_group(others, raters[left_out])
    stored: Any = nib.load(predictions / "probabilities" / f"{folder.name}.nii.gz")
    likely = stored.get_fdata(dtype=np.float32)
    plain_calibration(likely, list(raters.values()), spacing)
    return len(pairs)


def _labels(path: Path) -> Volume:
    image: Any = nib.load(path)
    return np.rint(image.get_fdata()).astype(np.uint8)


# --- measuring


def seconds(work: Any, rounds: int) -> float:
    """The least CPU time of a work over some rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def repeated(source: Path, predictions: Path, folder: Path, count: int) -> tuple[Path, Path]:
    """The cases over and over under new names, as an archive and predictions of `count` cases."""
    target, found = folder / "many.zip", folder / "many"
    (found / "probabilities").mkdir(parents=True)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        cases = sorted({name.split("/")[1] for name in old.namelist()})
        for n in range(count):
            case, name = cases[n % len(cases)], f"ID_{n:08x}_ID_{n:010x}"
            for member in old.namelist():
                if f"/{case}/" in member:
                    new.writestr(member.replace(case, name), old.read(member))
            for below in ("", "probabilities/"):
                copy = found / f"{below}{name}.nii.gz"
                copy.hardlink_to(predictions / f"{below}{case}.nii.gz")
    return target, found


def _evaluate_many(archive_path: Path, predictions: Path) -> tuple[float, float]:
    began = time.process_time()
    with Archive(archive_path) as archive:
        cases = dict.fromkeys(archive.cases)
        summarise_evaluation(evaluate_cases(archive, cases, predictions, "model", post=POST))
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    return peak, time.process_time() - began


def memory(archive_path: Path, predictions: Path) -> tuple[float, float]:
    """Peak MiB and CPU seconds of an evaluation in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_evaluate_many, archive_path, predictions).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one case, one round")
    parser.add_argument("--memory", type=int, help="cases to measure the memory on")
    options = parser.parse_args()
    n_cases, rounds = (1, 1) if options.quick else (3, 2)
    many = options.memory or (4 if options.quick else 24)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive_path, predictions = folder / "archive.zip", folder / "predictions"
        unpacked = make_archive(archive_path, n_cases)
        predict(archive_path, predictions)
        task = Task(archive_path, predictions, "model:m", Consensus(), POST, True)
        ours, theirs = [], []
        with Archive(archive_path) as archive:
            for case in unpacked:
                work = functools.partial(evaluate_case, archive, case.name, None, task)
                ours.append(seconds(work, rounds + 1))
                theirs.append(seconds(functools.partial(plain, case, predictions), rounds))
        peak, spent = memory(*repeated(archive_path, predictions, folder, many))

    for case, fast, slow in zip(unpacked, ours, theirs, strict=True):
        print(f"{case.name}   plain {slow:6.1f} s   ours {fast:5.2f} s   ratio {slow / fast:.1f}")
    print(f"slowest case, all scores     {max(ours):.2f} s on one core")
    print(f"evaluation of {many} cases     {peak:.0f} MiB at most, {spent:.0f} s with the summary")
    print(f"evaluate ratio {sum(theirs) / sum(ours):.2f}")


if __name__ == "__main__":
    main()
