"""Predictions of other systems: adopted unchanged, or refused with the case's name."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mbhseg.errors import InputError
from mbhseg.files import write_table
from mbhseg.imaging.nifti import load_labels
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.predictions.adopt import adopt
from mbhseg.provenance.verification import check_folder
from tests.volumes import save_nifti

WINDOW = Window("brain", 40, 80)


@pytest.fixture
def folder(tiny_set, tmp_path: Path) -> Path:
    """Another system's folder: float labels in a header of its own, and a case too many."""
    for case, tiny in tiny_set.cases.items():
        volume = tiny.labels[3].astype(np.float32)
        save_nifti(tmp_path / "theirs" / f"{case}.nii.gz", nib.Nifti1Image(volume, tiny.affine))
    return tmp_path / "theirs"


def test_labels_are_kept_and_lie_in_the_scan_s_geometry(tiny_set, folder, tmp_path):
    cases = list(tiny_set.cases)[:3]
    out = tmp_path / "ours" / "test"
    manifest = adopt(tiny_set.path, cases, folder, out, WINDOW)
    write_table(out.with_suffix(".tsv"), manifest)
    assert set(check_folder(out.with_suffix(".tsv"), out)["status"]) == {"ok"}
    assert sorted(path.name for path in out.glob("*.nii.gz")) == [f"{c}.nii.gz" for c in cases]
    assert len(list(out.glob("png/masks/*.png"))) == 3 * 6
    with Archive(tiny_set.path) as archive:
        for case in cases:
            labels, affine = load_labels(out / f"{case}.nii.gz")
            np.testing.assert_array_equal(labels, tiny_set.cases[case].labels[3])
            scan = archive.nifti(archive.cases[case].image)
            np.testing.assert_allclose(affine, scan.affine, atol=1e-5)
            assert nib.load(out / f"{case}.nii.gz").get_data_dtype() == np.uint8


def test_a_missing_case_is_named_and_nothing_is_written(tiny_set, folder, tmp_path):
    first, second, *_ = tiny_set.cases
    (folder / f"{first}.nii.gz").unlink()
    with pytest.raises(InputError, match=f"theirs: .*no prediction.* {first}"):
        adopt(tiny_set.path, list(tiny_set.cases), folder, tmp_path / "out", WINDOW)
    (folder / f"{second}.nii.gz").unlink()
    with pytest.raises(InputError, match=f"{first}.* 1 more"):
        adopt(tiny_set.path, list(tiny_set.cases), folder, tmp_path / "out", WINDOW)
    with pytest.raises(InputError, match=f"nowhere: .*{second}"):
        adopt(tiny_set.path, [second], tmp_path / "nowhere", tmp_path / "out", WINDOW)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, a: (v[:-1], a), r"shape \(15, 14, 6\).*\(16, 14, 6\)"),
        (lambda v, a: (v, a + np.eye(4)), r"affine.* mm"),
        (lambda v, a: (v + 0.5, a), "whole number"),
        (lambda v, a: (v + 5, a), r"0\.\.5"),
    ],
)
def test_a_volume_that_does_not_fit_is_named(tiny_set, folder, tmp_path, change, message):
    case = next(iter(tiny_set.cases))
    tiny = tiny_set.cases[case]
    volume, affine = change(tiny.labels[3].astype(np.float32), tiny.affine)
    save_nifti(folder / f"{case}.nii.gz", nib.Nifti1Image(volume, affine))
    with pytest.raises(InputError, match=message) as caught:
        adopt(tiny_set.path, [case], folder, tmp_path / "out", WINDOW)
    assert case in str(caught.value)
    assert not (tmp_path / "out").exists()
