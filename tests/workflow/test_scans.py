"""The target `scans`: a user's folder through a finished run's model, the bad ones named."""

import json

import nibabel as nib
import numpy as np
import pytest

from mbhseg.files import read_table
from mbhseg.imaging.nifti import nifti_bytes
from mbhseg.inspect.archive import Archive

RUN = "flexunet-f0-s1"


@pytest.mark.slow
def test_predicts_a_folder_and_names_the_bad(finished, tmp_path):
    with Archive(finished.root / "results/tiny/raw/archive.zip") as archive:
        case, files = next(iter(archive.cases.items()))
        scan = archive.nifti(files.image)
        (tmp_path / "scans").mkdir()
        turned = nib.Nifti1Image(np.asarray(scan.dataobj), scan.affine).as_reoriented(
            np.array([[2, 1], [0, -1], [1, 1]])
        )
        (tmp_path / "scans" / "turned.nii.gz").write_bytes(nifti_bytes(turned))
        (tmp_path / "scans" / f"{case}.nii.gz").write_bytes(nifti_bytes(scan))
    wanted = ("scans", "--config", f"scans={tmp_path / 'scans'}", "inference={threads: 1}")
    finished.snakemake(*wanted)
    folder = finished.root / "results/tiny/scans" / RUN
    found = {path.name for path in folder.glob("*.nii.gz")}
    assert found == {f"{case}.nii.gz", "turned.nii.gz"}
    straight = nib.load(folder / f"{case}.nii.gz")
    other = nib.load(folder / "turned.nii.gz")
    given = nib.load(tmp_path / "scans" / "turned.nii.gz")
    np.testing.assert_array_equal(other.affine, given.affine)
    back = other.as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.io_orientation(other.affine),
            nib.orientations.io_orientation(straight.affine),
        )
    )
    np.testing.assert_array_equal(np.asarray(back.dataobj), np.asarray(straight.dataobj))
    calibration = json.loads(
        (finished.root / "results/tiny/models" / RUN / "calibration.json").read_text()
    )
    assert calibration["loss"]["after"] <= calibration["loss"]["before"]
    page = finished.root / "results/tiny/scans" / f"{RUN}.report"
    index = (page / "index.html").read_text(encoding="utf-8")
    assert "2 scans predicted by" in index
    assert "--cores 2 scans --config" in index
    assert {path.name for path in (page / "viewer").iterdir()} == {
        *("index.js", "scan0000.js", "scan0000.webp", "scan0001.js", "scan0001.webp")
    }
    assert "Nothing to be done" in finished.snakemake(*wanted)

    (tmp_path / "scans" / "bad.nii").write_bytes(b"no scan")
    text = finished.snakemake(*wanted, ok=False)
    assert "Error in rule scans_gate" in text
    log = finished.root / "results/logs/tiny/scans" / f"{RUN}.gate.log"
    assert "1 scans could not be predicted (bad: not a readable NIfTI volume" in log.read_text()
    assert list(read_table(folder / "failed.tsv")["case"]) == ["bad"]
    assert {path.name for path in folder.glob("*.nii.gz")} == found
    index = (page / "index.html").read_text(encoding="utf-8")  # made before the gate closes
    assert "1 scan could not be predicted" in index
    assert "not a readable NIfTI volume" in index


@pytest.mark.slow
def test_no_page_is_made_where_none_is_wanted(finished, tmp_path):
    (tmp_path / "one.nii").write_bytes(b"")
    scans = f"scans={tmp_path / 'one.nii'}"
    wanted = ("scans", "--config", scans)
    assert finished.planned(*wanted)["scans_page"] == 1
    assert "scans_page" not in finished.planned(*wanted, "inference={report: false}")


def test_an_ensemble_takes_every_fold_and_seed(finished):
    build = "build={folds: [0, 1], seeds: [2, 3]}"  # none of them was trained
    planned = finished.planned(
        "results/tiny/scans/flexunet-ensemble.tsv", "--config", build, "inference={ensemble: true}"
    )
    assert planned["predict_scans"] == 1
    assert planned["train"] == planned["calibrate"] == 4
