"""From CT volumes to 8-bit RGB slices: which planes, how they lie, how they are windowed.

The display orientation is the seed's: the voxel plane [x, y] turned 90 degrees
counter-clockwise, so image rows are y from high to low and columns are x from low to high.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.files import MANIFEST_COLUMNS, atomic_dir
from mbhseg.imaging.png import encode_png, read_image, write_png
from mbhseg.imaging.windows import Window, to_grey
from mbhseg.inspect.archive import Archive, CaseFiles

__all__ = [
    "KEEP",
    "Row",
    "check_planes",
    "display_shape",
    "encode_png",
    "from_display",
    "network_input",
    "read_image",
    "resize_image",
    "resize_labels",
    "run",
    "save",
    "select_planes",
    "slice_name",
    "to_display",
    "write_case",
    "write_png",
]

Size = int | tuple[int, int] | None
KEEP = ("all", "bleeding", "bleeding_plus")
CHANNELS = 3


class Row(NamedTuple):
    """One row of a manifest: the file's name below its folder, its size, its digest."""

    file: str
    bytes: int
    sha256: str


def slice_name(case: str, plane: int) -> str:
    """File name of one slice: `<case>_<zzz>.png`, zzz the voxel plane counted from 0."""
    return f"{case}_{plane:03d}.png"


def to_display(plane: NDArray[Any]) -> NDArray[Any]:
    """Turn a voxel plane [x, y] (further axes follow) to the image [row, column]; a view."""
    return plane.swapaxes(0, 1)[::-1]  # np.rot90 at a tenth of its overhead


def from_display(image: NDArray[Any]) -> NDArray[Any]:
    """Turn an image [row, column] back to the voxel plane [x, y]; undoes `to_display`."""
    return image[::-1].swapaxes(0, 1)


def display_shape(shape: Sequence[int], size: Size) -> tuple[int, int]:
    """Rows and columns of the images of a volume of `shape` [x, y, ...], resized to `size`."""
    return _target((shape[1], shape[0]), size)


def resize_image(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize an image [H, W] or [H, W, C], C up to 4; to size x size, (rows, columns), or not.

    An axis that shrinks is averaged over the area, one that grows is interpolated linearly.
    """
    rows, columns = _target(image.shape, size)
    small = min(rows, image.shape[0]), min(columns, image.shape[1])
    if small != image.shape[:2]:
        image = _resized(image, small, cv2.INTER_AREA)
    if small != (rows, columns):
        image = _resized(image, (rows, columns), cv2.INTER_LINEAR)
    return image


def _resized(image: NDArray[np.uint8], shape: tuple[int, int], method: int) -> NDArray[np.uint8]:
    resized = cv2.resize(image, (shape[1], shape[0]), interpolation=method)
    # cv2 drops a channel axis of length 1
    return np.asarray(resized, np.uint8).reshape(*shape, *image.shape[2:])


def resize_labels(labels: NDArray[Any], size: Size) -> NDArray[Any]:
    """Resize labels [H, W, ...] to size x size, or to (rows, columns), by the nearest pixel.

    Pixel centres are compared in whole numbers, so no value is made up, enlarging and then
    reducing to the first size gives the first labels, and None keeps the array as it is.
    """
    rows, columns = _target(labels.shape, size)
    if (rows, columns) == labels.shape[:2]:
        return labels
    return labels[np.ix_(_nearest(labels.shape[0], rows), _nearest(labels.shape[1], columns))]


def _nearest(source: int, target: int) -> NDArray[np.intp]:
    """For each target pixel the source pixel that holds its centre: floor((i + 1/2) s / t)."""
    return (2 * np.arange(target) + 1) * source // (2 * target)


def _target(shape: Sequence[int], size: Size) -> tuple[int, int]:
    if size is None:
        return shape[0], shape[1]
    return (size, size) if isinstance(size, int) else size


def network_input(
    planes: NDArray[Any], windows: Sequence[Window], size: Size = None
) -> NDArray[np.uint8]:
    """Grey images in display orientation from HU planes, for slicing and for inference alike.

    Args:
        planes: HU values [x, y, k], k planes.
        windows: one window fills all three channels, two leave the third black, three fill it.
        size: side of the square images, or their (rows, columns); None keeps the matrix as it is.

    Returns:
        uint8 [k, rows, columns, 3]; no planes give an array of length 0.

    Raises:
        ValueError: no window, or more than an RGB image holds.
    """
    if not 1 <= len(windows) <= CHANNELS:
        raise ValueError(f"an RGB image holds 1 to {CHANNELS} windows, not {len(windows)}")
    shown = to_display(planes)
    shape = display_shape(planes.shape, size)
    images = np.empty((planes.shape[2], *shape, CHANNELS), np.uint8)
    for k, image in enumerate(images):
        grey = [resize_image(to_grey(shown[:, :, k], window), size) for window in windows]
        if len(grey) == 1:
            grey *= CHANNELS
        grey += [np.zeros_like(grey[0])] * (CHANNELS - len(grey))
        cv2.merge(grey, image)  # writes into `images`
    return images


def select_planes(
    counts: pd.DataFrame,
    n_slices: int,
    keep: str,
    fraction: float,
    seed: int,
    case: str,
    raters: Iterable[int] | None = None,
) -> list[int]:
    """Planes of one case to keep, ascending.

    Args:
        counts: inventory/slices.tsv, whole or of this case: case, slice, rater, and one column
            of voxel counts a class; planes that a rater left empty have no row.
        n_slices: number of planes of the case.
        keep: `all`; `bleeding`: planes where a rater drew a bleed; `bleeding_plus`: those and a
            random share of the others.
        fraction: that share, 0 to 1, rounded to whole planes. A larger one keeps the same planes
            and adds to them.
        seed: of the draw, which also depends on the case and on nothing else.
        case: the case's id.
        raters: whose drawings count; None: everyone's.

    Raises:
        ValueError: unknown `keep`.
        InputError: the table names a plane that the case does not have.
    """
    if keep not in KEEP:
        raise ValueError(f"keep is {keep!r}, not one of {', '.join(KEEP)}")
    if keep == "all":
        return list(range(n_slices))
    drawn = counts[(counts["case"] == case) & (counts[list(KEYS)].sum(axis=1) > 0)]
    if raters is not None:
        drawn = drawn[drawn["rater"].isin(list(raters))]
    bleeding = sorted({int(plane) for plane in drawn["slice"]})
    if bleeding and bleeding[-1] >= n_slices:
        raise InputError(
            case,
            f"plane {bleeding[-1]} is in slices.tsv, but the scan has {n_slices}",
            "Run inspect again",
        )
    if keep == "bleeding":
        return bleeding
    others = sorted(set(range(n_slices)) - set(bleeding))
    key = int.from_bytes(hashlib.sha256(case.encode()).digest()[:8])
    order = np.random.default_rng([seed, key]).permutation(others)
    return sorted(bleeding + [int(plane) for plane in order[: round(fraction * len(others))]])


def write_case(
    archive: Archive,
    case_files: CaseFiles,
    planes: Sequence[int],
    windows: Sequence[Window],
    size: int | None,
    out_dir: str | Path,
) -> list[Row]:
    """Write the case's images of `planes` to `out_dir`/<case>_<zzz>.png; one row a file.

    Without planes the scan is not even read. Raises InputError if the scan cannot be read or
    does not have such a plane.
    """
    if not planes:
        return []
    reader = archive.planes(case_files.image)
    count, last = reader.shape[2], max(planes)
    check_planes(planes, count, archive.where(case_files.image))
    rows, wanted = [], set(planes)
    # the rest of the scan is not inflated; to the end, for the checksum, if it is needed whole
    for k, plane in enumerate(islice(reader, last + 1 if last + 1 < count else None)):
        if k in wanted:
            image = network_input(plane[:, :, None], windows, size)[0]
            rows.append(save(Path(out_dir), slice_name(case_files.case, k), encode_png(image)))
    return rows


def check_planes(planes: Sequence[int], count: int, where: str) -> None:
    """Raise InputError if a plane is not below `count`, the number of planes of the file."""
    if max(planes, default=-1) >= count:
        raise InputError(
            where, f"has {count} planes, not a plane {max(planes)}", "Run inspect again"
        )


def save(root: Path, name: str, data: bytes) -> Row:
    """Write one file below `root`, which must exist, and give its row of the manifest.

    It is written in place: `root` is a folder that becomes visible as a whole.
    """
    (root / name).write_bytes(data)
    return Row(name, len(data), hashlib.sha256(data).hexdigest())


def run(
    archive_path: str | Path,
    planes: Mapping[str, Sequence[int]],
    windows: Sequence[Window],
    size: int | None,
    out_dir: str | Path,
) -> pd.DataFrame:
    """Write the images of one shard to the folder `out_dir`, whole or not at all.

    `planes` maps each case of the shard to the planes to keep. Returns the manifest: file,
    bytes, sha256; sorted by file. Raises InputError for a case that the archive does not hold.
    """
    rows: list[Row] = []
    with Archive(archive_path) as archive, atomic_dir(out_dir) as partial:
        for case in sorted(planes):
            files = find_case(archive, case)
            rows += write_case(archive, files, planes[case], windows, size, partial)
    return pd.DataFrame(sorted(rows), columns=list(MANIFEST_COLUMNS))


def find_case(archive: Archive, case: str) -> CaseFiles:
    """The case's files; InputError if the archive has no such case."""
    if case not in archive.cases:
        raise InputError(archive.path, f"has no case {case}", "Run inspect again")
    return archive.cases[case]
