"""From CT volumes to 8-bit RGB slices: which planes, in which orientation and windows.

The display orientation is the reference project's: the voxel plane [x, y] turned 90 degrees
counter-clockwise, so image rows are y from high to low and columns are x from low to high.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.files import MANIFEST_COLUMNS, ManifestRow, atomic_dir, slice_name, write_listed
from mbhseg.imaging.display import network_input
from mbhseg.imaging.png import encode_png
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive, CaseFiles

KEEP = ("all", "bleeding", "bleeding_plus")


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
            of voxel counts per class; planes that a rater left empty have no row.
        n_slices: number of planes of the case.
        keep: `all`; `bleeding`: planes where a rater labelled hemorrhage; `bleeding_plus`: those
            and a random share of the others.
        fraction: that share, 0 to 1, rounded to whole planes. A larger one keeps the same planes
            and adds to them.
        seed: of the random choice, which depends on it and the case only.
        case: the case's id.
        raters: whose labels count; None: everyone's.

    Raises:
        ValueError: unknown `keep`.
        InputError: the table names a plane that the case does not have.
    """
    if keep not in KEEP:
        raise ValueError(f"keep is {keep!r}, not one of {', '.join(KEEP)}")
    if keep == "all":
        return list(range(n_slices))
    labelled = counts[(counts["case"] == case) & (counts[list(KEYS)].sum(axis=1) > 0)]
    if raters is not None:
        labelled = labelled[labelled["rater"].isin(list(raters))]
    bleeding = sorted({int(plane) for plane in labelled["slice"]})
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
) -> list[ManifestRow]:
    """Write the case's images of `planes` to `out_dir`/<case>_<zzz>.png; one row per file.

    Without planes the scan is not read. Raises InputError if the scan cannot be read or
    does not have such a plane.
    """
    if not planes:
        return []
    reader = archive.planes(case_files.image)
    count, last = reader.shape[2], max(planes)
    check_planes(planes, count, archive.where(case_files.image))
    rows, wanted = [], set(planes)
    # planes after the last are not decompressed; a scan needed whole is read to its checksum
    for k, plane in enumerate(islice(reader, last + 1 if last + 1 < count else None)):
        if k in wanted:
            image = network_input(plane[:, :, None], windows, size)[0]
            rows.append(
                write_listed(Path(out_dir), slice_name(case_files.case, k), encode_png(image))
            )
    return rows


def check_planes(planes: Sequence[int], count: int, where: str) -> None:
    """Raise InputError if a plane is not below `count`, the number of planes of the file."""
    if max(planes, default=-1) >= count:
        raise InputError(
            where, f"has {count} planes, not a plane {max(planes)}", "Run inspect again"
        )


def run(
    archive_path: str | Path,
    planes: Mapping[str, Sequence[int]],
    windows: Sequence[Window],
    size: int | None,
    out_dir: str | Path,
) -> pd.DataFrame:
    """Write the images of one shard to the folder `out_dir`, whole or not at all.

    `planes` maps each case of the shard to the planes to keep. Returns the manifest: file,
    bytes, sha256; sorted by file. Raises InputError for a case that is not in the archive.
    """
    rows: list[ManifestRow] = []
    with Archive(archive_path) as archive, atomic_dir(out_dir) as partial:
        for case in sorted(planes):
            files = archive.files_of(case)
            rows += write_case(archive, files, planes[case], windows, size, partial)
    return pd.DataFrame(sorted(rows), columns=list(MANIFEST_COLUMNS))
