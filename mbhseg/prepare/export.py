"""The data set in other formats: the reference project's zip of PNGs, and nnU-Net v2 raw data."""

import hashlib
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from mbhseg.classes import CLASSES
from mbhseg.config.run_names import SUBSETS
from mbhseg.errors import InputError
from mbhseg.files import ZIP_EPOCH, atomic_dir, atomic_file, manifest_of, write_json
from mbhseg.imaging.nifti import label_array, labels_like, nifti_bytes, parse_nifti
from mbhseg.inspect.archive import Archive
from mbhseg.prepare.consensus import consensus
from mbhseg.prepare.dataset import KINDS
from mbhseg.split.partition import members

NNUNET_NAME = re.compile(r"Dataset[0-9]{3}_[A-Za-z0-9_-]+")
_GZIP = b"\x1f\x8b"


def image_mask_zip(manifest: pd.DataFrame, root: str | Path, out_zip: str | Path, top: str) -> None:
    """Write the reference project's zip: <top>/{train,valid,test}/{images,masks}/*.png.

    `manifest` is dataset.tsv, whose paths are relative to `root`. The PNGs are stored without
    compression, sorted by name and with a fixed time, so equal data sets give equal bytes.

    Raises InputError for a PNG that is missing or has another digest than in the manifest.
    """
    with atomic_file(out_zip) as partial, zipfile.ZipFile(partial, "w") as archive:
        for subset in SUBSETS:
            for kind in KINDS:
                archive.writestr(_entry(f"{top}/{subset}/{kind}/", 0o40755, 0x10), b"")
            rows = manifest[manifest["subset"] == subset]
            for column, kind in zip(("image", "mask"), KINDS, strict=True):
                for name, digest in sorted(
                    zip(rows[column], rows[f"{column}_sha256"], strict=True)
                ):
                    path = Path(root) / name
                    entry = _entry(f"{top}/{subset}/{kind}/{path.name}", 0o100644)
                    archive.writestr(entry, _checked(path, digest))


def _entry(name: str, mode: int, dos: int = 0) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, ZIP_EPOCH)  # uncompressed: PNGs do not shrink further
    entry.create_system = 3  # Unix, on any system
    entry.external_attr = mode << 16 | dos
    return entry


def _checked(path: Path, digest: str) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(path, "is missing", "Build the data set again") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise InputError(path, "differs from dataset.tsv", "Build the data set again")
    return data


def nnunet(
    archive_path: str | Path,
    folds: Sequence[pd.DataFrame],
    out_dir: str | Path,
    *,
    method: str,
    ties: str,
    rater: int | None = None,
) -> pd.DataFrame:
    """Write the data set in nnU-Net v2's raw format, with the splits of this project.

    Args:
        archive_path: the archive of all scans.
        folds: all fold tables; they share one test set.
        out_dir: the folder to make; nnU-Net accepts names such as `Dataset001_mbhseg25`.
        method: how the raters' labels become one volume, with `ties` and `rater`; see
            `mbhseg.prepare.consensus.consensus`.

    Training and validation cases go to imagesTr/<case>_0000.nii.gz and labelsTr/<case>.nii.gz,
    test cases to imagesTs and labelsTs. Images are the archive's own bytes; labels are uint8
    0..5 in the same geometry. splits_final.json has the folds in order; nnU-Net's planning
    copies it to the folder that its training reads. The volumes keep their matrix and spacing:
    nnU-Net resamples them itself.

    Returns the manifest of the folder (file, bytes, sha256). Raises InputError for a case that is
    not in the archive, a split by slice, and a split without training cases; ValueError for
    folds that do not share one test set and for a name that nnU-Net would not accept.
    """
    out_dir = Path(out_dir)
    if not NNUNET_NAME.fullmatch(out_dir.name):
        raise ValueError(f"{out_dir.name} is not Dataset<001..999>_<name>")
    splits, test = _case_lists(folds)
    training = sorted({case for fold in splits for part in fold.values() for case in part})
    sheared = False
    with atomic_dir(out_dir) as partial, Archive(archive_path) as archive:
        for cases, suffix in ((training, "Tr"), (test, "Ts")):
            images, labels = partial / f"images{suffix}", partial / f"labels{suffix}"
            images.mkdir()
            labels.mkdir()
            for case in cases:
                files = archive.files_of(case)
                data = archive.read(files.image)
                scan = parse_nifti(data, files.image)
                drawn = {k: label_array(archive.nifti(m), m) for k, m in files.labels.items()}
                volume = consensus(drawn, method, ties, rater, where=case)
                whole = data if data.startswith(_GZIP) else nifti_bytes(scan)
                (images / f"{case}_0000.nii.gz").write_bytes(whole)
                (labels / f"{case}.nii.gz").write_bytes(nifti_bytes(labels_like(volume, scan)))
                sheared |= is_sheared(scan)
        write_json(partial / "dataset.json", _description(len(training), sheared))
        write_json(partial / "splits_final.json", splits)
    return manifest_of(out_dir)


def _case_lists(folds: Sequence[pd.DataFrame]) -> tuple[list[dict[str, list[str]]], list[str]]:
    """nnU-Net's list of folds, and the test cases."""
    if any("slice" in table for table in folds):
        raise InputError(
            "split.by", "slice cannot be exported, nnU-Net splits by case", "Set it to patient"
        )
    test = sorted(members(folds[0], "test"))
    if any(sorted(members(table, "test")) != test for table in folds):
        raise ValueError("the folds have different test sets")
    splits = [
        {"train": sorted(members(table, "train")), "val": sorted(members(table, "valid"))}
        for table in folds
    ]
    if not all(fold["train"] for fold in splits):
        raise InputError(
            "split", "has no training cases, which nnU-Net needs", "Export another data set"
        )
    return splits, test


def _description(n_training: int, sheared: bool) -> dict[str, Any]:
    description = {
        "channel_names": {"0": "CT"},  # selects nnU-Net's CT normalisation
        "labels": {c.key: c.label for c in CLASSES},
        "numTraining": n_training,
        "file_ending": ".nii.gz",
    }
    if sheared:  # nnU-Net's default reader, SimpleITK, refuses or changes such an affine
        description["overwrite_image_reader_writer"] = "NibabelIO"
    return description


def is_sheared(scan: nib.Nifti1Image) -> bool:
    """Whether the axes are not at right angles, as after an uncorrected gantry tilt."""
    axes = np.asarray(scan.affine, np.float64)[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    return not np.allclose(
        axes.T @ axes, np.eye(3), atol=1e-5
    )  # SimpleITK's limit is slightly larger
