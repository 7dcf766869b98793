"""Predict your own scans with a trained model: read, predict and write at the same time."""

import contextlib
import logging
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mbhseg.errors import InputError, disk_errors
from mbhseg.files import write_table
from mbhseg.imaging.nifti import voxel_ml
from mbhseg.imaging.orientation import Turn, turn_of
from mbhseg.imaging.windows import Window
from mbhseg.inference import bundle
from mbhseg.inference.averaging import PlanePredictor
from mbhseg.inference.tiling import Fit, plan
from mbhseg.predictions.gathering import Outcome, gather
from mbhseg.predictions.postprocess import Postprocessing
from mbhseg.runtime.progress import progress
from mbhseg.scans import outcome, outputs
from mbhseg.scans.discovery import FoundScan
from mbhseg.scans.failures import Failure, failed_table
from mbhseg.scans.layout import FAILED, VOLUMES
from mbhseg.scans.scan import Scan, check

log = logging.getLogger(__name__)

Rows = dict[str, list[dict[str, object]]]  # of volumes.csv, by scan
_AHEAD = 1  # scans read ahead, and predicted scans waiting to be written


@dataclass(frozen=True)
class Settings:
    """How scans are predicted and what is written.

    `low_confidence` is the mean probability below which a class is flagged, `fit` how planes come
    to the network's size (`mbhseg.inference.tiling`), `intensity` whether values that cannot
    be HU are refused, `postprocessing` what was chosen on validation.
    """

    wanted: outputs.Wanted
    low_confidence: float
    fit: Fit
    intensity: bool
    postprocessing: Postprocessing | None

    @classmethod
    def of(cls, inference: Mapping[str, Any], postprocessing: Postprocessing | None) -> "Settings":
        """The settings of the config's section `inference`; defaults stand there alone."""
        return cls(
            wanted=outputs.Wanted(
                pictures=inference["overlays"],
                mosaics=inference["mosaics"],
                animations=inference["animations"],
                probabilities=inference["probabilities"],
                entropy=inference["entropy"],
                dicom_seg=inference["dicom_seg"],
                viewer=inference["report"],
            ),
            low_confidence=inference["low_confidence"],
            fit=inference["fit"],
            intensity=not inference["any_intensity"],
            postprocessing=postprocessing,
        )


def load_predictor(
    models: Sequence[str | Path], inference: Mapping[str, Any], threads: int
) -> tuple[PlanePredictor, Settings]:
    """The models as one predictor, and the settings, as the config's section `inference` says.

    `models` are folders, or names of the hub; of several the mean counts. `threads` is the number
    of CPU threads, on which no result depends.

    Raises InputError for a model that cannot be loaded or fits no ensemble with the others.
    """
    from mbhseg.nn import device  # TensorFlow takes seconds to import

    device.configure(threads=threads, deterministic=True)
    predictor, chosen = bundle.load(
        [str(model) for model in models],
        batch=inference["batch_size"],
        precision=inference["precision"],
        mirror=inference["mirror"],
        calibrated=inference["temperature"],
        processed=inference["postprocess"],
    )
    return predictor, Settings.of(inference, chosen)


def predict_scans(
    found: Sequence[FoundScan],
    predictor: PlanePredictor,
    folder: str | Path,
    settings: Settings,
    failures: Sequence[Failure] = (),
) -> tuple[pd.DataFrame, list[Failure]]:
    """Predict the scans one by one into `folder`; volumes.csv and failed.tsv list them all.

    A scan whose reading or writing fails becomes a failure; the others continue. At any moment
    one scan is read, one predicted and one written. A scan's files appear together when it is done,
    its labels last; when interrupted (KeyboardInterrupt), the finished scans stay and are listed.

    Returns the rows of volumes.csv and the failures, those given first. Raises InputError if the
    folder cannot be written.
    """
    folder = Path(folder)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / VOLUMES).exists():  # by it a killed run's folder is known as ours
            write_table(folder / VOLUMES, pd.DataFrame(columns=list(outcome.COLUMNS)))
    done: Rows = {}
    failed = list(failures)
    try:
        _run(found, predictor, folder, settings, done, failed)
    finally:
        rows = [row for name in sorted(done) for row in done[name]]
        table = pd.DataFrame(rows, columns=list(outcome.COLUMNS))
        write_table(folder / VOLUMES, table)
        write_table(folder / FAILED, failed_table(failed))
    return table, failed


def _run(
    found: Sequence[FoundScan],
    predictor: PlanePredictor,
    folder: Path,
    settings: Settings,
    done: Rows,
    failed: list[Failure],
) -> None:
    writing: deque[tuple[str, Future[None]]] = deque()

    def settle(limit: int) -> None:
        while len(writing) > limit:
            name, future = writing.popleft()
            with _failing(name, failed):
                future.result()

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        try:
            for scan in _read_ahead(found, reader, settings.intensity, failed):
                turn, result = predict_scan(scan, predictor, settings)
                window = predictor.window
                job = writer.submit(_finish, folder, scan, turn, result, window, settings, done)
                writing.append((scan.name, job))
                settle(_AHEAD)
        finally:
            settle(0)  # what was predicted is written, also after an error


def predict_scan(scan: Scan, predictor: PlanePredictor, settings: Settings) -> tuple[Turn, Outcome]:
    """What the network says about one scan that `check` accepted, and how its voxels were turned.

    The outcome lies on the turned voxels and is not post-processed.
    """
    turn = turn_of(scan.image.shape, scan.affine, predictor.orientation, scan.measured)
    hu = turn.there(scan.hu)
    tiling = plan(hu, turn.field_mm, predictor.size, predictor.field_mm, settings.fit)
    result = gather(
        predictor.planes(hu, tiling),
        hu.shape,
        entropy=settings.wanted.entropy,
        probabilities=settings.wanted.probabilities,
    )
    return turn, result


def measure_scan(
    scan: Scan, result: Outcome, settings: Settings
) -> tuple[Outcome, list[dict[str, object]]]:
    """The outcome of `predict_scan` post-processed, and its six rows of volumes.csv."""
    ml = voxel_ml(scan.affine) if scan.measured else float("nan")
    result = outcome.processed(result, settings.postprocessing, ml)
    return result, outcome.rows(scan.name, result, ml, settings.low_confidence)


def _read_ahead(
    found: Sequence[FoundScan], reader: ThreadPoolExecutor, intensity: bool, failed: list[Failure]
) -> Iterator[Scan]:
    """The scans in their order; the next is read while one is used. Bad ones become failures."""
    waiting: deque[tuple[str, Future[Scan]]] = deque()
    coming = iter(found)
    for _ in progress(found, label="infer", unit="scans"):
        while len(waiting) <= _AHEAD and (scan := next(coming, None)) is not None:
            waiting.append((scan.name, reader.submit(_read, scan, intensity)))
        name, future = waiting.popleft()
        with _failing(name, failed):
            yield future.result()


def _read(found: FoundScan, intensity: bool) -> Scan:
    scan = found.read()
    return check(scan, intensity=intensity and scan.kind != "png")


def _finish(
    folder: Path,
    scan: Scan,
    turn: Turn,
    result: Outcome,
    window: Window,
    settings: Settings,
    done: Rows,
) -> None:
    """Write the scan's files and store its rows of volumes.csv (in a thread, so uninterrupted)."""
    result, rows = measure_scan(scan, result, settings)
    with disk_errors(folder), _gathered(folder) as partial:
        outputs.write(partial, scan, turn, result, settings.wanted, window)
    done[scan.name] = rows


@contextlib.contextmanager
def _gathered(folder: Path) -> Iterator[Path]:
    """A folder whose files are moved to `folder` at the end, the top-level files last."""
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        yield partial
        files = [path.relative_to(partial) for path in partial.rglob("*") if path.is_file()]
        for name in sorted(files, key=lambda name: (-len(name.parts), name)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).replace(folder / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _failing(name: str, failed: list[Failure]) -> Iterator[None]:
    """Turn an InputError into a failure and a line in the log."""
    try:
        yield
    except InputError as error:
        log.error("%s: %s", name, error)
        failed.append(Failure.of(name, error))
