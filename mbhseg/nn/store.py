"""Slices decoded once from PNG into arrays on disk, so that memory does not grow with them."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.errors import InputError
from mbhseg.files import atomic_dir, sha256
from mbhseg.raster import read_mask
from mbhseg.slices import read_image

CHANNELS = 3
_IMAGES, _LABELS = "images.npy", "labels.npy"


class SliceStore(NamedTuple):
    """Slices by index: the table's rows, and their pixels on disk, mapped into memory.

    table: case, slice, classes, … one row a slice; images uint8 [N, H, W, 3]; labels uint8
    [N, H, W].
    """

    table: pd.DataFrame
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.table)

    def subset(self, name: str) -> NDArray[np.int64]:
        """Indices of the slices of a subset: train, valid or test."""
        return np.flatnonzero((self.table["subset"] == name).to_numpy())


def content_hash(slices: pd.DataFrame, root: str | Path) -> str:
    """Hex digest of the files of `slices`, from the manifest's digests or, without, their bytes."""
    digest = hashlib.sha256()
    for kind in ("image", "mask"):
        column = f"{kind}_sha256"
        for row, name in enumerate(slices[kind]):
            known = slices[column].iloc[row] if column in slices else sha256(Path(root) / name)
            digest.update(f"{name}\t{known}\n".encode())
    return digest.hexdigest()


def open_store(
    slices: pd.DataFrame, root: str | Path, size: int, folder: str | Path, threads: int = 2
) -> SliceStore:
    """Decode the PNGs of `slices` (columns image, mask: paths below `root`) and map the result.

    The arrays lie in `folder`/<hash of the content>; what is there already is not decoded again.
    An empty table gives an empty store. Raises InputError if a PNG is unreadable, not
    size x size, or its mask has a colour of no class.
    """
    table = slices.reset_index(drop=True)
    if table.empty:
        shape = (0, size, size)
        return SliceStore(table, np.zeros((*shape, CHANNELS), np.uint8), np.zeros(shape, np.uint8))
    place = Path(folder) / f"{content_hash(table, root)[:16]}-{size}"
    if not (place / _LABELS).exists():
        with atomic_dir(place) as partial:
            _decode(table, Path(root), size, partial, threads)
    return SliceStore(
        table,
        np.load(place / _IMAGES, mmap_mode="r"),
        np.load(place / _LABELS, mmap_mode="r"),
    )


def _decode(table: pd.DataFrame, root: Path, size: int, folder: Path, threads: int) -> None:
    shape = (len(table), size, size)
    images = np.lib.format.open_memmap(
        folder / _IMAGES, mode="w+", dtype=np.uint8, shape=(*shape, CHANNELS)
    )
    labels = np.lib.format.open_memmap(folder / _LABELS, mode="w+", dtype=np.uint8, shape=shape)

    def decode(index: int) -> None:
        row = table.iloc[index]
        for path, read, target in (
            (root / row["image"], read_image, images),
            (root / row["mask"], read_mask, labels),
        ):
            pixels = read(path)
            if pixels.shape[:2] != (size, size):
                rows, columns = pixels.shape[:2]
                raise InputError(
                    path,
                    f"is {rows} x {columns} pixels and not {size} x {size}",
                    "Make the slices again with slices.size as configured",
                )
            target[index] = pixels

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(decode, range(len(table))):
            pass
    images.flush()
    labels.flush()
