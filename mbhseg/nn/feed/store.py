"""Slices decoded once from PNG into arrays on disk, so that memory does not grow with them.

The arrays are read slice by slice with `pread` and not mapped: mapped pages count as memory of the
process until the system reclaims them.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.files import atomic_dir, sha256
from mbhseg.imaging.masks import read_mask
from mbhseg.imaging.png import read_image

CHANNELS = 3
_IMAGES, _LABELS, _RATERS = "images.npy", "labels.npy", "raters.npy"

Pixels = NDArray[np.uint8]


class StoredPlanes:
    """The uint8 array [N, ...] of an `.npy` file, read where it is indexed, by number or list."""

    def __init__(self, path: str | Path) -> None:
        mapped = np.load(path, mmap_mode="r")  # for the header; no page of it is touched
        self.shape: tuple[int, ...] = mapped.shape
        self._offset = int(mapped.offset)
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - open as long as the planes

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Pixels:
        numbers = np.asarray(index)
        if numbers.dtype.kind not in "iu" and numbers.size:
            raise IndexError("planes are read by number")
        out = np.empty((*numbers.shape, *self.shape[1:]), np.uint8)
        planes = out.reshape(-1, *self.shape[1:])
        for number, plane in zip(numbers.ravel().tolist(), planes, strict=True):
            if not 0 <= number < len(self):
                raise IndexError(f"plane {number} of {len(self)}")
            self._read(number, plane)
        return out

    def _read(self, number: int, plane: Pixels) -> None:
        view = plane.data.cast("B")
        start = self._offset + number * plane.nbytes
        while view:
            count = os.preadv(self._file.fileno(), [view], start)
            if not count:
                raise EOFError(f"{self._file.name} is cut short")
            view, start = view[count:], start + count


class SliceStore(NamedTuple):
    """Slices by index: the table's rows, and their pixels on disk.

    table: case, slice, classes, ... one row per slice, with raters also `drawn`, the classes that
    any rater annotated; images uint8 [N, H, W, 3]; labels, the consensus, uint8 [N, H, W]; raters
    uint8 [M, H, W]: rows first[i] to first[i + 1] are of slice i, in the order of the raters.
    """

    table: pd.DataFrame
    images: StoredPlanes | Pixels
    labels: StoredPlanes | Pixels
    raters: StoredPlanes | Pixels | None = None
    first: NDArray[np.int64] | None = None
    locks: tuple[IO[str], ...] = ()  # held as long as the store, so that nobody removes its arrays

    def __len__(self) -> int:
        return len(self.table)

    def subset(self, name: str) -> NDArray[np.int64]:
        """Indices of the slices of a subset: train, valid or test."""
        return np.flatnonzero((self.table["subset"] == name).to_numpy())

    def raters_of(self, index: int) -> NDArray[np.int64]:
        """The rows of `raters` that are this slice's; there is at least one."""
        assert self.first is not None
        return np.arange(self.first[index], self.first[index + 1])


def content_hash(slices: pd.DataFrame, root: str | Path, raters: pd.DataFrame | None = None) -> str:
    """Hex digest of the files of `slices`, from the manifest's digests or, without, their bytes.

    With `raters` (mask, and if known mask_sha256) their masks are part of it.
    """
    digest = hashlib.sha256()
    tables = [(slices, "image"), (slices, "mask")]
    tables += [] if raters is None else [(raters, "mask")]
    for table, kind in tables:
        names = table[kind].tolist()
        column = f"{kind}_sha256"
        known = table[column] if column in table else [sha256(Path(root) / name) for name in names]
        for name, value in zip(names, known, strict=True):
            digest.update(f"{name}\t{value}\n".encode())
    return digest.hexdigest()


def open_store(
    slices: pd.DataFrame,
    root: str | Path,
    size: int,
    folder: str | Path,
    threads: int = 2,
    raters: pd.DataFrame | None = None,
) -> SliceStore:
    """Decode the PNGs of `slices` (columns image, mask: paths below `root`) and open the result.

    raters: the data set's annotations (case, slice, annotation, mask, classes, and if known
        mask_sha256), of which those called `rater<k>` are used.

    The arrays lie in `folder`/<hash of the content>; what is there is not decoded again, and arrays
    of other contents that no process has open are removed. Several processes may
    share a folder; one decodes and the others wait for it.
    An empty table gives an empty store. Raises InputError if a PNG is unreadable, not
    size x size, its mask has a colour of no class, or a slice has no rater.
    """
    table = slices.reset_index(drop=True)
    if table.empty:
        none = np.zeros((0, size, size), np.uint8)
        return SliceStore(table, np.zeros((0, size, size, CHANNELS), np.uint8), none)
    rated, first = None, None
    if raters is not None:
        rated = _in_order(table, raters)
        first = np.concatenate([[0], np.cumsum(rated.groupby("row").size())]).astype(np.int64)
        table = table.assign(drawn=rated.groupby("row")["classes"].agg(_joined))
    root, folder = Path(root), Path(folder)
    images = [root / name for name in table["image"]]
    masks = [root / name for name in table["mask"]]
    shape, key = (size, size), content_hash(table, root)[:16]
    parts = {
        _IMAGES: _Part(images, read_image, (*shape, CHANNELS)),
        _LABELS: _Part(masks, read_mask, shape),
    }
    arrays, lock = _opened(folder / f"slices-{key}-{size}", parts, threads)
    store = SliceStore(table, arrays[_IMAGES], arrays[_LABELS], locks=(lock,))
    if rated is None:
        return store
    # apart from the slices, which trainings on the consensus also use
    key = content_hash(table.iloc[:0], root, rated)[:16]
    part = _Part([root / name for name in rated["mask"]], read_mask, shape)
    arrays, own = _opened(folder / f"raters-{key}-{size}", {_RATERS: part}, threads)
    return SliceStore(table, store.images, store.labels, arrays[_RATERS], first, locks=(lock, own))


class _Part(NamedTuple):
    """Images that become one array: their files, how they are read, the shape of each."""

    paths: list[Path]
    read: Callable[[Path], Pixels]
    shape: tuple[int, ...]


def _opened(
    place: Path, parts: Mapping[str, _Part], threads: int
) -> tuple[dict[str, StoredPlanes], IO[str]]:
    """The arrays in `place`, decoded if need be, and the lock that keeps them there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with _shared(place) as lock:
        if not place.is_dir():
            with _alone(place):
                if not place.is_dir():  # unless another process made it meanwhile
                    with atomic_dir(place) as partial:
                        for name, part in parts.items():
                            _decode(part, partial / name, threads)
                    _tidy(place)
    return {name: StoredPlanes(place / name) for name in parts}, lock


def _in_order(table: pd.DataFrame, raters: pd.DataFrame) -> pd.DataFrame:
    """The raters' masks of the slices of `table`, in its order; `row` is the slice's number."""
    numbered = table[["case", "slice"]].assign(row=np.arange(len(table)))
    own = raters[raters["annotation"].str.startswith("rater")]
    joined = numbered.merge(own, on=["case", "slice"], how="left")
    lost = joined[joined["mask"].isna()]
    if len(lost):
        where = f"{lost['case'].iloc[0]}, slice {lost['slice'].iloc[0]}"
        raise InputError(where, "has no rater's own mask", "Set raters.masks: true")
    return joined.sort_values(["row", "annotation"], ignore_index=True)


def _joined(classes: pd.Series) -> str:
    drawn = {key for keys in classes.fillna("") for key in str(keys).split(",")}
    return ",".join(key for key in KEYS if key in drawn)


def _decode(part: _Part, target: Path, threads: int) -> None:
    """Write the images into one `.npy` array uint8 [N, *shape]."""
    paths, read, shape = part
    with open(target, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), *shape)}
        np.lib.format.write_array_header_2_0(file, header)
        file.flush()
        start, length = file.tell(), int(np.prod(shape))

        def decode(index: int) -> None:
            pixels = read(paths[index])
            if pixels.shape[:2] != shape[:2]:
                rows, columns = pixels.shape[:2]
                raise InputError(
                    paths[index],
                    f"is {rows} x {columns} pixels and not {shape[0]} x {shape[1]}",
                    "Make the slices again with slices.size as configured",
                )
            view = np.ascontiguousarray(pixels, np.uint8).data.cast("B")
            place = start + index * length
            while view:
                count = os.pwrite(file.fileno(), view, place)
                view, place = view[count:], place + count

        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(decode, range(len(paths))):
                pass


def _lock_file(place: Path) -> Path:
    return place.with_name(f"{place.name}.lock")


def _flock(lock: IO[str], how: int) -> None:
    with contextlib.suppress(OSError):  # without locks, slices are decoded twice at worst
        fcntl.flock(lock, how)


@contextlib.contextmanager
def _shared(place: Path) -> Iterator[IO[str]]:
    """Share `place` with others while the lock file is open; it is removed if the body fails."""
    lock = _locked(_lock_file(place), fcntl.LOCK_SH)
    try:
        yield lock
    except BaseException:
        _lock_file(place).unlink(missing_ok=True)
        lock.close()
        raise


@contextlib.contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Let one process make `place`; the others wait and then find it made.

    A second lock, so that a writer does not wait for a running training, which holds the first.
    """
    path = place.with_name(f"{place.name}.making")
    with _locked(path, fcntl.LOCK_EX):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path, how: int) -> IO[str]:
    """The lock file `path`, made if need be and held until it is closed."""
    while True:
        lock = open(path, "w")  # noqa: SIM115 - open as long as it is held
        _flock(lock, how)
        with contextlib.suppress(FileNotFoundError):  # removed while this one waited for it
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()


def _tidy(kept: Path) -> None:
    """Remove the arrays beside `kept`, of its kind, that no process has open."""
    kind = kept.name.split("-")[0]
    for path in kept.parent.glob(f"{kind}-*.lock"):
        if path == _lock_file(kept):
            continue
        with contextlib.suppress(OSError), open(path) as lock:  # held, or gone meanwhile
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.with_suffix(".making").unlink(missing_ok=True)  # of one that was killed
            path.unlink(missing_ok=True)
