"""Label volumes as RGB mask PNGs, and back: the seed's colour code, exact both ways.

Soft targets are stored as the votes themselves: one 8-bit grey PNG a slice, 6 H x W, the six
labels' images one below the other (background first), each pixel the number of raters who chose
that label. The six numbers of a pixel sum to the number of raters, so fractions are exact.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.classes import CLASSES, FOREGROUND
from mbhseg.errors import InputError
from mbhseg.files import atomic_dir
from mbhseg.imaging.drawn_planes import DrawnPlanes
from mbhseg.imaging.png import encode_png, read_grey, read_image, write_png
from mbhseg.inspect.archive import Archive, CaseFiles
from mbhseg.prepare.consensus import (
    Consensus,
    Labels,
    Votes,
    count_votes,
    decide,
    plane_votes,
    single_rater,
)
from mbhseg.prepare.slices import (
    check_planes,
    display_shape,
    find_case,
    resize_labels,
    save,
    slice_name,
    to_display,
)

__all__ = [
    "decode_rgb",
    "encode_rgb",
    "read_mask",
    "read_soft",
    "read_votes",
    "run",
    "votes_of",
    "write_png",
]

PALETTE = np.array([c.rgb for c in CLASSES], np.uint8)
_SHIFTS = np.array([1 << 16, 1 << 8, 1], np.int32)  # a colour as one number, 0xRRGGBB
_CODES = np.sort(PALETTE[1:].astype(np.int32) @ _SHIFTS)
_CODE_LABELS = (np.argsort(PALETTE[1:].astype(np.int32) @ _SHIFTS) + 1).astype(np.uint8)
COLUMNS = ("file", "bytes", "sha256", "classes")


class MaskRow(NamedTuple):
    """One row of a manifest of masks; `classes` as in `IPH,SAH`, empty without a bleed."""

    file: str
    bytes: int
    sha256: str
    classes: str


def encode_rgb(labels: Labels) -> NDArray[np.uint8]:
    """Colour code of labels 0..5: [H, W] to RGB [H, W, 3]. Raises ValueError for another label."""
    flat = labels.reshape(-1)
    drawn = np.flatnonzero(flat != 0)  # few pixels are
    values = flat[drawn]
    if values.max(initial=0) >= len(CLASSES):
        raise ValueError(f"label {values.max()} is outside 0..{len(CLASSES) - 1}")
    rgb = np.zeros((*labels.shape, 3), np.uint8)
    rgb.reshape(-1, 3)[drawn] = PALETTE[values]
    return rgb


def decode_rgb(rgb: NDArray[np.uint8], where: str | Path) -> Labels:
    """Labels [H, W] uint8 of an RGB mask [H, W, 3]; undoes `encode_rgb`.

    Raises InputError that names the colour and `where` if a pixel has a colour of no class.
    """
    drawn = np.flatnonzero((rgb[..., 0] | rgb[..., 1] | rgb[..., 2]) != 0)
    colours = rgb.reshape(-1, 3)[drawn]
    codes = colours.astype(np.int32) @ _SHIFTS
    found = np.searchsorted(_CODES, codes).clip(max=len(_CODES) - 1)
    wrong = _CODES[found] != codes
    if wrong.any():
        colour = tuple(int(value) for value in colours[wrong][0])
        raise InputError(
            where,
            f"colour {colour} in {int(wrong.sum())} pixels is of no class",
            "Make the mask again, as PNG and without smoothing",
        )
    labels = np.zeros(rgb.shape[:2], np.uint8)
    labels.reshape(-1)[drawn] = _CODE_LABELS[found]
    return labels


def encode_mask(labels: Labels) -> bytes:
    """The mask PNG of labels [H, W]; masks without a bleed are encoded once a shape."""
    return encode_png(encode_rgb(labels)) if labels.any() else _blank_mask(labels.shape)


@functools.lru_cache(maxsize=8)
def _blank_mask(shape: tuple[int, int]) -> bytes:
    return encode_png(np.zeros((*shape, 3), np.uint8))


@functools.lru_cache(maxsize=8)
def _blank_votes(shape: tuple[int, int], raters: int) -> bytes:
    counts = np.zeros((*shape, len(CLASSES)), np.uint8)
    counts[..., 0] = raters
    return encode_png(encode_votes(counts))


def read_mask(path: str | Path) -> Labels:
    """Labels [H, W] uint8 of a mask PNG; InputError if unreadable or of an unknown colour."""
    return decode_rgb(read_image(path), path)


def encode_votes(counts: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Vote counts [H, W, 6] as the grey image [6 H, W] that is stored."""
    return np.ascontiguousarray(np.moveaxis(counts, -1, 0)).reshape(-1, counts.shape[1])


def votes_of(masks: Sequence[Labels]) -> NDArray[np.uint8]:
    """Vote counts [H, W, 6] of the masks [H, W] of one slice, one a rater, labels 0..5.

    The last axis sums to the number of masks. Equal to `read_votes` of the slice's stored votes.
    Raises ValueError without masks and for shapes that differ.
    """
    stack = np.stack(masks)
    return np.stack([(stack == c.label).sum(axis=0, dtype=np.uint8) for c in CLASSES], axis=-1)


def read_votes(path: str | Path) -> NDArray[np.uint8]:
    """Vote counts [H, W, 6] of a stored slice, background first: how many raters chose each label.

    The last axis sums to the number of raters, the same in every pixel. A soft target is the
    counts divided by that sum (`read_soft`); the counts are exact.

    Raises InputError if the file is no image of votes: the six numbers of every pixel must have
    one sum above 0, the number of raters.
    """
    image = read_grey(path)
    stack = image.reshape(len(CLASSES), -1, image.shape[1]) if len(image) % 6 == 0 else image[:0]
    raters = stack.sum(axis=0, dtype=np.int64)
    if not raters.size or raters.min() != raters.max() or raters.min() == 0:
        raise InputError(path, "not an image of votes", "Run rasterize again")
    return np.moveaxis(stack, 0, -1)


def read_soft(path: str | Path) -> NDArray[np.float32]:
    """Vote fractions [H, W, 6] float32 of a stored slice; the last axis sums to 1.

    Raises InputError as `read_votes`.
    """
    counts = read_votes(path)
    return counts.astype(np.float32) / np.float32(counts[0, 0].sum(dtype=np.int64))


def classes_in(labels: Labels) -> str:
    """Keys of the classes in a mask, in the order of the labels: `IPH,SAH`; empty if none."""
    present = int(np.bitwise_or.reduce(np.uint8(1) << labels, axis=None))  # a bit a label
    return ",".join(c.key for c in FOREGROUND if present >> c.label & 1)


def run(
    archive_path: str | Path,
    planes: Mapping[str, Sequence[int]],
    consensus: Consensus,
    size: int | None,
    per_rater: bool,
    out_dir: str | Path,
) -> pd.DataFrame:
    """Write the masks of one shard below the folder `out_dir`, whole or not at all.

    `planes` maps each case of the shard to the planes to keep. Writes
    consensus/<case>_<zzz>.png; with `per_rater` rater<k>/<case>_<zzz>.png for each rater of the
    case; with the method `soft` the votes, soft/<case>_<zzz>.png. The consensus is made of the
    whole volume, so a mask does not depend on which other planes are kept.

    Returns the manifest: file, bytes, sha256, classes (in the mask; empty for votes); sorted by
    file. Raises InputError for a case that the archive does not hold, has no rater, or not the
    rater asked for.
    """
    rows: list[MaskRow] = []
    with Archive(archive_path) as archive, atomic_dir(out_dir) as partial:
        for case in sorted(planes):
            files = find_case(archive, case)
            rows += write_case(archive, files, planes[case], consensus, size, per_rater, partial)
    return pd.DataFrame(sorted(rows), columns=list(COLUMNS))


def write_case(
    archive: Archive,
    case_files: CaseFiles,
    planes: Sequence[int],
    consensus: Consensus,
    size: int | None,
    per_rater: bool,
    out_dir: Path,
) -> list[MaskRow]:
    """Write one case's masks below `out_dir`; see `run`. Without planes nothing is read."""
    if not planes:
        return []
    case = case_files.case
    labels = {rater: archive.labels(member) for rater, member in case_files.labels.items()}
    for rater, volume in labels.items():
        check_planes(planes, volume.shape[2], archive.where(case_files.labels[rater]))
    volumes, votes = _decided(labels, consensus, case)
    if per_rater:
        volumes |= {f"rater{rater}": volume for rater, volume in labels.items()}
    rows = []
    for folder, volume in volumes.items():
        (out_dir / folder).mkdir(exist_ok=True)
        for plane in planes:
            data, classes = _mask_png(volume, plane, size)
            row = save(out_dir, f"{folder}/{slice_name(case, plane)}", data)
            rows.append(MaskRow(*row, classes))
    if votes is not None:
        (out_dir / "soft").mkdir(exist_ok=True)
        for plane, data in _votes_pngs(votes, planes, size):
            rows.append(MaskRow(*save(out_dir, f"soft/{slice_name(case, plane)}", data), ""))
    return rows


def _mask_png(volume: DrawnPlanes, plane: int, size: int | None) -> tuple[bytes, str]:
    """The mask PNG of a plane, and the classes in it; blank planes are not even looked at."""
    if plane not in volume.planes:
        return _blank_mask(display_shape(volume.shape, size)), ""
    mask = resize_labels(np.ascontiguousarray(to_display(volume.planes[plane])), size)
    return encode_mask(mask), classes_in(mask)


def _votes_pngs(
    votes: Votes, planes: Sequence[int], size: int | None
) -> Iterator[tuple[int, bytes]]:
    """Each plane of `planes` and the PNG of its votes."""
    blank = set(planes)
    for plane, counts in plane_votes(votes):
        if plane in blank:
            blank.remove(plane)
            yield plane, encode_png(encode_votes(resize_labels(to_display(counts), size)))
    shape, raters = display_shape(votes.shape, size), votes.patterns.shape[1]
    yield from ((plane, _blank_votes(shape, raters)) for plane in blank)


def _decided(
    labels: dict[int, DrawnPlanes], consensus: Consensus, case: str
) -> tuple[dict[str, DrawnPlanes], Votes | None]:
    """The consensus volume under its folder's name, and the votes if the method is `soft`."""
    if consensus.method == "rater":
        return {"consensus": single_rater(labels, consensus.rater, case)}, None
    votes = count_votes(labels, case)
    volume = decide(votes, consensus.method, consensus.ties)
    return {"consensus": volume}, votes if consensus.method == "soft" else None
