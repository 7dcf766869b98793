"""An entry goes into the zip only if every volume lies on the voxels of its scan."""

import zipfile

import nibabel as nib
import numpy as np
import pytest

from mbhseg.errors import InputError
from mbhseg.scans.discovery import find
from mbhseg.scans.submission import pack
from tests.heads import blocks, head
from tests.volumes import save_nifti

AFFINE = np.diag((-0.5, 0.5, 5.0, 1.0))
LABELS = blocks((40, 40, 4))


@pytest.fixture
def entry(tmp_path):
    """Two scans, and a folder with the labels of both."""
    for name in ("ID_01_ID_02", "ID_01_ID_03"):
        save_nifti(tmp_path / "scans" / f"{name}.nii.gz", nib.Nifti1Image(head(LABELS), AFFINE))
        save_nifti(tmp_path / "labels" / f"{name}.nii.gz", nib.Nifti1Image(LABELS, AFFINE))
    return tmp_path


def scans(entry):
    return find([entry / "scans"])[0]


def test_packs_the_volumes(entry):
    assert pack(entry / "labels", scans(entry), entry / "a.zip") == 2
    with zipfile.ZipFile(entry / "a.zip") as archive:
        assert archive.namelist() == ["ID_01_ID_02.nii.gz", "ID_01_ID_03.nii.gz"]
        for name in archive.namelist():
            assert archive.read(name) == (entry / "labels" / name).read_bytes()
    pack(entry / "labels", scans(entry), entry / "b.zip")
    assert (entry / "a.zip").read_bytes() == (entry / "b.zip").read_bytes()


def broken(entry, name, **changes):
    labels, affine = changes.get("labels", LABELS), changes.get("affine", AFFINE)
    save_nifti(entry / "labels" / f"{name}.nii.gz", nib.Nifti1Image(labels, affine))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda e: (e / "labels" / "ID_01_ID_03.nii.gz").unlink(),
            r"ID_01_ID_03\.nii\.gz: .*missing",
        ),
        (
            lambda e: broken(e, "ID_01_ID_03", labels=LABELS[:, :, :3]),
            r"ID_01_ID_03.*shape.*scan's",
        ),
        (lambda e: broken(e, "ID_01_ID_03", affine=AFFINE * 1.01), r"ID_01_ID_03.*mm off its scan"),
        (lambda e: broken(e, "ID_01_ID_03", labels=LABELS.astype(np.int16)), "stored as int16"),
        (lambda e: broken(e, "ID_01_ID_03", labels=LABELS * 2), "label 8 is outside"),
        (lambda e: broken(e, "ID_09_ID_09"), r"ID_09_ID_09\.nii\.gz: .*no given scan"),
    ],
)
def test_refuses_an_entry_that_does_not_fit(entry, change, said):
    change(entry)
    with pytest.raises(InputError, match=said):
        pack(entry / "labels", scans(entry), entry / "a.zip")
    assert not (entry / "a.zip").exists()


def test_refuses_to_check_against_nothing(entry):
    with pytest.raises(InputError, match=r"labels: no scan to check"):
        pack(entry / "labels", [], entry / "a.zip")


@pytest.mark.parametrize(
    ("target", "said"), [("scans", "scans: is a folder"), ("file/a.zip", "cannot be written")]
)
def test_refuses_a_zip_that_cannot_be_written(entry, target, said):
    (entry / "file").touch()
    before = sorted(entry.rglob("*"))
    with pytest.raises(InputError, match=said):
        pack(entry / "labels", scans(entry), entry / target)
    assert sorted(entry.rglob("*")) == before
