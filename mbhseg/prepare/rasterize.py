"""The masks of a shard as PNGs: the consensus, each rater's, and the raters' votes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mbhseg.classes import FOREGROUND, Labels
from mbhseg.files import atomic_dir, slice_name, write_listed
from mbhseg.imaging.display import display_shape, resize_labels, to_display
from mbhseg.imaging.drawn_planes import DrawnPlanes
from mbhseg.imaging.masks import blank_mask, encode_mask
from mbhseg.imaging.png import encode_png
from mbhseg.inspect.archive import Archive, CaseFiles
from mbhseg.prepare.consensus import (
    Consensus,
    Votes,
    count_votes,
    decide,
    plane_votes,
    single_rater,
)
from mbhseg.prepare.slices import check_planes
from mbhseg.prepare.votes import blank_votes, encode_votes

COLUMNS = ("file", "bytes", "sha256", "classes")


class MaskRow(NamedTuple):
    """One row of a manifest of masks; `classes` such as `IPH,SAH`, empty without hemorrhage."""

    file: str
    bytes: int
    sha256: str
    classes: str


def classes_in(labels: Labels) -> str:
    """Keys of the classes in a mask, in the order of the labels: `IPH,SAH`; empty if none."""
    present = int(np.bitwise_or.reduce(np.uint8(1) << labels, axis=None))  # one bit per label
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
    case; with the method `soft` the votes, soft/<case>_<zzz>.png. The consensus is made from the
    whole volume, so a mask does not depend on which other planes are kept.

    Returns the manifest: file, bytes, sha256, classes (in the mask; empty for votes); sorted by
    file. Raises InputError for a case that is not in the archive, that no rater annotated, or that
    the chosen rater did not annotate.
    """
    rows: list[MaskRow] = []
    with Archive(archive_path) as archive, atomic_dir(out_dir) as partial:
        for case in sorted(planes):
            files = archive.files_of(case)
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
            row = write_listed(out_dir, f"{folder}/{slice_name(case, plane)}", data)
            rows.append(MaskRow(*row, classes))
    if votes is not None:
        (out_dir / "soft").mkdir(exist_ok=True)
        for plane, data in _votes_pngs(votes, planes, size):
            rows.append(
                MaskRow(*write_listed(out_dir, f"soft/{slice_name(case, plane)}", data), "")
            )
    return rows


def _mask_png(volume: DrawnPlanes, plane: int, size: int | None) -> tuple[bytes, str]:
    """The mask PNG of a plane, and the classes in it; a blank plane costs nothing."""
    if plane not in volume.planes:
        return blank_mask(display_shape(volume.shape, size)), ""
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
    yield from ((plane, blank_votes(shape, raters)) for plane in blank)


def _decided(
    labels: dict[int, DrawnPlanes], consensus: Consensus, case: str
) -> tuple[dict[str, DrawnPlanes], Votes | None]:
    """The consensus volume under its folder's name, and the votes if the method is `soft`."""
    if consensus.method == "rater":
        return {"consensus": single_rater(labels, consensus.rater, case)}, None
    votes = count_votes(labels, case)
    volume = decide(votes, consensus.method, consensus.ties)
    return {"consensus": volume}, votes if consensus.method == "soft" else None
