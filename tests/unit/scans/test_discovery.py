"""What is found in files and folders, under which name; and what is bad ends in a line each."""

import zipfile
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mbhseg.errors import InputError
from mbhseg.imaging.nifti import nifti_bytes
from mbhseg.scans.discovery import find, find_some
from mbhseg.scans.failures import Failure
from mbhseg.scans.scan import check
from tests.dicoms import write_multiframe, write_series
from tests.heads import blocks, head
from tests.volumes import save_nifti

HU = head(blocks((40, 40, 4)))
AFFINE = np.diag((-0.5, -0.5, 5.0, 1.0))


def nifti(path: Path, hu=HU, affine=AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_nifti(path, nib.Nifti1Image(hu, affine))
    return path


@pytest.fixture
def everything(tmp_path) -> Path:
    """A folder with every kind of scan, each of the same head."""
    nifti(tmp_path / "a.b.nii.gz")
    nifti(tmp_path / "deep" / "er" / "c.nii.gz")
    nifti(tmp_path / "ID_01_ID_02" / "image.nii.gz")
    nifti(tmp_path / "ID_01_ID_02" / "label_annot_3.nii.gz")
    image = sitk.GetImageFromArray(HU.transpose(2, 1, 0))
    sitk.WriteImage(image, str(tmp_path / "d.mha"))
    sitk.WriteImage(image, str(tmp_path / "e.nrrd"))
    np.save(tmp_path / "f.npy", HU)
    cv2.imwrite(str(tmp_path / "10042.png"), np.zeros((40, 40), np.uint8))
    write_series(tmp_path / "patient" / "head 2.0", HU, AFFINE, suffix="")
    write_multiframe(tmp_path / "multi" / "g.dcm", HU, AFFINE)
    (tmp_path / "README.txt").write_text("nothing")
    (tmp_path / ".hidden.nii.gz").write_text("nothing")
    (tmp_path / "patient" / "head 2.0" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    return tmp_path


NAMES = ["10042", "ID_01_ID_02", "a.b", "c", "d", "e", "f", "head 2.0", "multi"]


def test_a_folder_is_searched_through(everything):
    found, failures = find([everything])
    assert [scan.name for scan in found] == NAMES
    assert not failures
    for scan in found:
        read = check(scan.read(), intensity=scan.name != "10042")
        assert read.name == scan.name
        if scan.name != "10042":
            np.testing.assert_array_equal(read.hu, HU)


def test_files_lists_and_zips(everything, tiny_set):
    listed = everything / "list.txt"
    listed.write_text("d.mha\n\npatient/head 2.0\n")
    found, failures = find([listed, everything / "f.npy", everything / "multi" / "g.dcm"])
    assert [scan.name for scan in found] == ["d", "f", "g", "head 2.0"]
    assert not failures
    found, failures = find([tiny_set.path])
    assert [scan.name for scan in found] == sorted(tiny_set.cases)
    assert not failures
    scan = found[0].read()
    np.testing.assert_array_equal(scan.hu, tiny_set.cases[scan.name].hu)
    np.testing.assert_allclose(scan.affine, tiny_set.cases[scan.name].affine, atol=1e-4)


def test_two_of_one_name_are_an_error(everything):
    nifti(everything / "other" / "c.nii")
    found, failures = find([everything])
    assert [scan.name for scan in found] == [name for name in NAMES if name != "c"]
    assert [failure.case for failure in failures] == ["c", "c"]
    assert {Path(failure.file).parent.name for failure in failures} == {"er", "other"}
    assert failures[0].what == "2 scans are named c"
    # and the same file given twice is no better
    assert len(find([everything / "d.mha", everything / "d.mha"])[1]) == 2


def nan(path):
    hu = HU.astype(np.float32)
    hu[3, 3, 3] = np.nan
    return nifti(path / "x.nii.gz", hu)


def truncated(path):
    data = nifti(path / "x.nii.gz").read_bytes()
    (path / "x.nii.gz").write_bytes(data[: len(data) // 2])
    return path / "x.nii.gz"


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def saved(path: Path, values: np.ndarray, **options) -> Path:
    np.save(path, values, **options)
    return path


def itk_file(path: Path, values: np.ndarray, vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=vector), str(path))
    return path


def cut(path: Path, keep: int) -> Path:
    path.write_bytes(path.read_bytes()[:keep])
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def bad_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "top/ID_01_ID_02/image.nii.gz", nifti_bytes(nib.Nifti1Image(HU, AFFINE))[:99]
        )
    return path


FLAT = [[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]]
NOISE = np.random.default_rng(1).integers(0, 900, (40, 40, 4)).astype(np.int16)
BAD = {
    "truncated": (truncated, "not a readable NIfTI volume \\(cut short"),
    "2-D": (lambda p: nifti(p / "x.nii", HU[:, :, 0]), "has 2 axes \\(40 x 40\\)"),
    "4-D": (lambda p: nifti(p / "x.nii", np.stack([HU, HU], -1)), "has 4 axes"),
    "NaN": (nan, "1 voxels are not finite"),
    "MR-like": (lambda p: nifti(p / "x.nii", NOISE), "no air, so MR, or CT with an offset"),
    "grey": (lambda p: nifti(p / "x.nii", NOISE.clip(0, 255)), "look like 8-bit grey"),
    "constant": (lambda p: nifti(p / "x.nii", HU * 0), "every voxel is 0"),
    "tiny": (lambda p: nifti(p / "x.nii", HU[:20, :20]), "is tiny \\(20 x 20 x 4 voxels\\)"),
    "flat": (lambda p: nifti(p / "x.nii", affine=np.array(FLAT)), r"x\.nii: .*affine.*no volume"),
    "metres": (lambda p: nifti(p / "x.nii", affine=np.diag((5e-4, 5e-4, 5e-3, 1))), "voxels of"),
    "labels": (lambda p: nifti(p / "x.nii", blocks((40, 40, 4))), "look like 8-bit grey"),
    "text": (lambda p: write(p / "x.nii.gz", b"no NIfTI"), "not a readable NIfTI volume"),
    "empty file": (lambda p: write(p / "x.nii", b""), "not a readable NIfTI volume"),
    "no file": (lambda p: p / "x.nii", "no such file or folder"),
    "unknown": (lambda p: write(p / "x.docx", b"text"), r"x\.(docx|img): .*unknown format"),
    "empty folder": (lambda p: folder(p / "x"), r"x: .*no scan"),
    "pair": (lambda p: write(p / "x.img", b"\0" * 999), r"x\.(docx|img): .*unknown format"),
    "MHA cut": (lambda p: cut(itk_file(p / "x.mha", HU.T), 900), "not a readable volume"),
    "NRRD cut": (lambda p: cut(itk_file(p / "x.nrrd", HU.T), 900), "not a readable volume"),
    "MHA 2-D": (lambda p: itk_file(p / "x.mha", HU[:, :, 0]), "has 2 axes"),
    "MHA vector": (
        lambda p: itk_file(p / "x.mha", np.stack([HU.T] * 3, -1), vector=True),
        "of 3 numbers each",
    ),
    "MHA text": (lambda p: write(p / "x.mha", b"ObjectType = Image"), "not a readable volume"),
    "NPY pickle": (
        lambda p: saved(p / "x.npy", np.array([print], object), allow_pickle=True),
        "not a readable array",
    ),
    "NPY text": (lambda p: saved(p / "x.npy", np.array(["a"])), r"x\.npy: .*<U1.*numbers"),
    "NPY cut": (lambda p: cut(saved(p / "x.npy", HU), 900), "not a readable array"),
    "NPY 4-D": (lambda p: saved(p / "x.npy", HU[None]), "has 4 axes"),
    "DICOM text": (lambda p: write(p / "x.dcm", b"text"), "not readable DICOM"),
    "DICOM cut": (
        lambda p: cut(write_series(p, HU, AFFINE)[0], 700),
        "not readable DICOM|no DICOM",
    ),
    "zip": (lambda p: write(p / "x.zip", b"PK"), "not a readable zip"),
    "zip of a broken scan": (lambda p: bad_zip(p / "x.zip"), "not a readable NIfTI volume"),
    "binary list": (lambda p: write(p / "x.txt", b"\xff\xfe\0"), r"x\.txt: .*UTF-8"),
    "list of itself": (lambda p: write(p / "x.txt", b"x.txt\n"), r"x\.txt: lists itself"),
    "too long a name": (lambda p: p / ("x" * 999), r"xx: cannot be read"),
    "list of nothing": (lambda p: write(p / "x.txt", b"nowhere.nii\n"), "no such file or folder"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_scans_end_in_a_line(kind, tmp_path):
    make, said = BAD[kind]
    good = nifti(tmp_path / "good" / "good.nii.gz")
    (tmp_path / "bad").mkdir()
    found, failures = find([make(tmp_path / "bad"), good])
    for scan in found:
        if scan.name != "good":
            with pytest.raises(InputError, match=said) as caught:
                check(scan.read())
            failures.append(Failure.of(scan.name, caught.value))
    (failure,) = failures
    line = "\t".join(failure)
    assert "\n" not in line
    assert failure.case
    assert failure.remedy
    with pytest.raises(InputError, match=said):
        raise InputError(failure.file, failure.what, failure.remedy)
    assert check(found[[scan.name for scan in found].index("good")].read()).name == "good"


def test_a_bad_line_of_a_list_leaves_the_others(tmp_path):
    for name in ("a", "b"):
        nifti(tmp_path / f"{name}.nii.gz")
    (tmp_path / "one.txt").write_text("a.nii.gz\nnowhere.nii\ntwo.txt\n")
    (tmp_path / "two.txt").write_text("one.txt\nb.nii.gz\n")
    found, failures = find([tmp_path / "one.txt"])
    assert [scan.name for scan in found] == ["a", "b"]
    assert [(failure.case, Path(failure.file).name) for failure in failures] == [
        ("nowhere", "nowhere.nii"),
        ("one.txt", "one.txt"),
    ]
    assert "no such file" in failures[0].what
    assert "lists itself" in failures[1].what
    assert "two.txt" in failures[1].remedy


@pytest.mark.parametrize("inputs", [[], [""], ["a.nii", ""]])
def test_no_input_names_no_scan(inputs):
    with pytest.raises(InputError, match="names no scan"):
        find_some(inputs)


def test_a_list_without_lines_names_no_scan(tmp_path):
    empty = write(tmp_path / "x.txt", b"\n \n")
    with pytest.raises(InputError, match=r"x\.txt: names no scan"):
        find_some([empty])
    assert [scan.name for scan in find_some([empty, nifti(tmp_path / "a.nii")])[0]] == ["a"]
