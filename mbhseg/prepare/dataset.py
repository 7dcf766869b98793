"""The PNG data set in the reference project's folder layout, linked from the shards' files.

dataset/{train,valid,test}/{images,masks}/<case>_<zzz>.png, and a manifest that lists them.
Beside it, annotations/{rater<k>,soft}/<case>_<zzz>.png: each rater's masks, whatever the split.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from mbhseg.config.run_names import SUBSETS
from mbhseg.errors import InputError
from mbhseg.files import atomic_dir, slice_name, write_table
from mbhseg.split.partition import members

COLUMNS = ("subset", "case", "slice", "image", "mask", "classes", "image_sha256", "mask_sha256")
KINDS = ("images", "masks")
ANNOTATION_COLUMNS = ("case", "slice", "annotation", "mask", "classes", "mask_sha256")
_CONSENSUS = "consensus"  # is in the data set
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS}

SliceId = tuple[str, int]  # case and voxel plane


class Png(NamedTuple):
    """A PNG of an earlier stage: its path, its hex sha256 and, for a mask, its classes."""

    path: Path
    sha256: str
    classes: str = ""


def index_shards(
    shards: Iterable[tuple[str | Path, pd.DataFrame]], under: str = ""
) -> dict[SliceId, Png]:
    """Join the manifests of all shards into one index of slices.

    `shards` are pairs of a folder and its manifest (file, sha256, for masks also classes); only
    files directly in the subfolder `under` are taken, e.g. `consensus`. The order of the shards
    does not matter. Raises InputError for a name other than `<case>_<zzz>.png` and for a slice
    that two shards hold.
    """
    index: dict[SliceId, Png] = {}
    for folder, manifest in shards:
        classes = manifest["classes"] if "classes" in manifest else [""] * len(manifest)
        for file, digest, keys in zip(manifest["file"], manifest["sha256"], classes, strict=True):
            name = PurePosixPath(file)
            if name.parent != PurePosixPath(under):
                continue
            path = Path(folder) / name
            case, _, plane = name.stem.rpartition("_")
            if not case or not plane.isdecimal() or name.suffix != ".png":
                raise InputError(path, "is not named <case>_<zzz>.png", "Run its stage again")
            key = case, int(plane)
            if key in index:
                raise InputError(
                    path, f"the same slice is in {index[key].path}", "Run its stage again"
                )
            index[key] = Png(path, digest, keys if isinstance(keys, str) else "")
    return index


def assemble(
    split: pd.DataFrame,
    images: Mapping[SliceId, Png],
    masks: Mapping[SliceId, Png],
    *,
    root: str | Path,
    out_dir: str | Path,
    out_table: str | Path,
) -> pd.DataFrame:
    """Assemble the data set of one fold and write its manifest; both appear whole or not at all.

    `split` is a fold table; `images` and `masks` come from `index_shards`. Every image of a case
    in the split needs a mask; masks without an image, and slices of cases outside the split, are
    left out. A case may have no slice. The subset folders are made even if they stay empty.

    The files are hard links to the shards' PNGs, or copies where the file system has no links.
    Manifest columns: subset, case, slice, image, mask (paths relative to `root`), classes
    (labels in the mask: "IPH,SAH"), image_sha256, mask_sha256; rows by subset (train, valid,
    test), case, slice. Returns the manifest.

    Raises InputError for an image without a mask, a slice of a slice-level split without an
    image, and a missing file.
    """
    root, out_dir, out_table = Path(root), Path(out_dir), Path(out_table)
    inside = out_dir.relative_to(root).as_posix()
    out_table.unlink(missing_ok=True)  # an interrupt below must not leave the old manifest
    rows = []
    with atomic_dir(out_dir) as partial:
        for subset in SUBSETS:
            for kind in KINDS:
                (partial / subset / kind).mkdir(parents=True)
            for case, index in _slices_of(split, subset, images):
                image, mask = images[case, index], masks.get((case, index))
                if mask is None:
                    raise InputError(image.path, "has no mask", "Run rasterize again")
                places = [f"{subset}/{kind}/{slice_name(case, index)}" for kind in KINDS]
                for png, place in zip((image, mask), places, strict=True):
                    link(png.path, partial / place)
                paths = [f"{inside}/{place}" for place in places]
                rows.append((subset, case, index, *paths, mask.classes, image.sha256, mask.sha256))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_table(out_table, table)
    return table


def assemble_annotations(
    shards: Iterable[tuple[str | Path, pd.DataFrame]],
    *,
    root: str | Path,
    out_dir: str | Path,
    out_table: str | Path,
) -> pd.DataFrame:
    """Put every rater's masks, and the votes if they are stored, into one folder, and list them.

    `shards` are pairs of a folder and its manifest as rasterize writes them. The files are linked
    like those of `assemble`, to `out_dir`/<annotation>/<case>_<zzz>.png, where `annotation` is
    `rater<k>` (mask PNGs: `masks.read_mask`) or `soft` (votes: `votes.read_votes`). The manifest
    has the columns case, slice, annotation, mask (path relative to `root`), classes (in the mask;
    empty for votes), mask_sha256; rows by case, slice, annotation; none if rasterize wrote the
    consensus only. It does not depend on the division into shards. Returns the manifest.

    Raises InputError as `index_shards`, and for a missing file.
    """
    shards, root, out_dir = list(shards), Path(root), Path(out_dir)
    inside = out_dir.relative_to(root).as_posix()
    files = [file for _, manifest in shards for file in manifest["file"]]
    kinds = {PurePosixPath(file).parent.as_posix() for file in files} - {_CONSENSUS}
    Path(out_table).unlink(missing_ok=True)  # an interrupt below must not leave the old one
    rows = []
    with atomic_dir(out_dir) as partial:
        for kind in kinds:
            (partial / kind).mkdir()
            for (case, index), png in index_shards(shards, kind).items():
                place = f"{kind}/{slice_name(case, index)}"
                link(png.path, partial / place)
                rows.append((case, index, kind, f"{inside}/{place}", png.classes, png.sha256))
    table = pd.DataFrame(sorted(rows), columns=list(ANNOTATION_COLUMNS))
    write_table(out_table, table)
    return table


def _slices_of(split: pd.DataFrame, subset: str, images: Mapping[SliceId, Png]) -> list[SliceId]:
    """The slices of a subset that have an image, by case and index."""
    chosen = members(split, subset)
    stated = {(case, index) for case, wanted in chosen.items() for index in wanted or ()}
    if lost := sorted(stated - images.keys()):
        name = slice_name(*lost[0])
        raise InputError(name, f"is in the {subset} subset but has no image", "Run slice again")
    whole = {case for case, wanted in chosen.items() if wanted is None}
    return sorted(stated | {key for key in images if key[0] in whole})


def link(source: Path, target: Path) -> None:
    """Hard-link, or copy where the file system will not link."""
    try:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise InputError(source, "is missing", "Run the stage that wrote it again") from error


def in_fold(table: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """The data set's manifest with the subsets of another fold: rows of `table` that `split` names.

    The PNGs stay in the folders of the assembled fold; only the column subset changes.
    """
    keys = ["case", "slice"] if "slice" in split else ["case"]
    joined = table.drop(columns="subset").merge(split[[*keys, "subset"]], on=keys, how="inner")
    return joined[list(COLUMNS)]
