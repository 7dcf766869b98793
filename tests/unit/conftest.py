"""Fixtures of the library's tests."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest

from mbhseg.imaging.nifti import nifti_bytes


class TinyCase(NamedTuple):
    """A scan [x, y, z] in HU, the labels by rater, and the affine."""

    hu: np.ndarray
    labels: Mapping[int, np.ndarray]
    affine: np.ndarray


class TinySet(NamedTuple):
    """An archive on disk and what was written into it."""

    path: Path
    cases: dict[str, TinyCase]


def write_archive(path: Path, cases: Mapping[str, TinyCase]) -> None:
    """Write the cases as the data set's zip is laid out."""
    with zipfile.ZipFile(path, "w") as archive:
        for case, tiny in cases.items():
            volumes = {"image": tiny.hu.astype(np.int16)}
            volumes |= {f"label_annot_{k}": v.astype(np.uint16) for k, v in tiny.labels.items()}
            for name, volume in volumes.items():
                image = nib.Nifti1Image(volume, None)
                image.set_qform(tiny.affine, 1)  # as the data set: a tilted qform, no sform
                image.set_sform(None, 0)
                archive.writestr(f"top/{case}/{name}.nii.gz", nifti_bytes(image))


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> TinySet:
    """Four cases of three patients: three raters, two, one, and two who saw no bleed.

    Bleeds are 60 HU with noise in 35 HU; raters share a truth and move its edges.
    """
    rng = np.random.default_rng(12)
    tilt = np.deg2rad(12)
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.5, -0.5, 5.0])
    affine[:3, 3] = 120, 110, -40
    raters = {
        "ID_0000000a_ID_000000000a": (1, 3, 4),
        "ID_0000000a_ID_000000000b": (2, 3),
        "ID_0000000b_ID_000000000a": (3,),
        "ID_0000000c_ID_000000000a": (1, 3),
    }
    cases = {}
    for n, (case, ks) in enumerate(raters.items()):
        truth = np.zeros((16, 14, 6), np.uint8)
        if n < 3:
            truth[2:8, 3:9, 1:4] = 2
            truth[10:14, 2:12, 2:5] = 5 - n
        labels = {}
        for k in ks:
            labels[k] = truth.copy()
            if n < 3:
                labels[k][2, :, 1 + k % 3] = 0
                labels[k][k % 3 + 10, 2:12, 1] = 5 if k != 4 else 1
        hu = rng.normal(35, 6, truth.shape) + 25 * (truth > 0)
        cases[case] = TinyCase(np.rint(hu), labels, affine)
        for array in (cases[case].hu, *labels.values(), affine):
            array.flags.writeable = False  # all tests share it
    path = tmp_path_factory.mktemp("tiny") / "archive.zip"
    write_archive(path, cases)
    return TinySet(path, cases)
