"""The target `scans`: a user's folder through a finished run's model, the bad ones named."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mbhseg.files import read_table
from mbhseg.imaging.nifti import nifti_bytes
from mbhseg.inspect.archive import Archive
from mbhseg.provenance.compare_folders import compare
from tests.workspace import REPO

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
def test_the_command_line_gives_the_same_files(finished, tmp_path):
    """Every file of a scan, for any number of threads, and the page but for its command."""
    with Archive(finished.root / "results/tiny/raw/archive.zip") as archive:
        case, files = next(iter(archive.cases.items()))
        scan = tmp_path / "scans" / f"{case}.nii.gz"
        scan.parent.mkdir()
        scan.write_bytes(nifti_bytes(archive.nifti(files.image)))
    # every output, and labels that a missing or another post-processing would change
    more = ("animations", "entropy", "postprocess", "mirror")
    for name, wanted in {"default": (), "all": more}.items():
        inference = ", ".join(f"{key}: true" for key in wanted)
        finished.snakemake(
            *("scans", "--config", f"scans={scan}", f"inference={{threads: 1, {inference}}}")
        )
        folder = finished.root / "results/tiny/scans" / RUN
        out = tmp_path / name
        model = str(finished.root / "results/tiny/models" / RUN)
        words = ["infer", str(scan), "--model", model, "--out", str(out)]
        words += ["--threads", "1"] if wanted else []  # else the default: no result depends on them
        done = subprocess.run(
            [sys.executable, "-m", "mbhseg", *words, *(f"--{key}" for key in wanted)],
            cwd=REPO,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        theirs, ours = (
            {
                path.relative_to(root).as_posix(): path.read_bytes()
                for path in root.rglob("*")
                if path.is_file() and not path.name.startswith(".")
            }
            for root in (folder, out)
        )
        page = {path: data for path, data in ours.items() if path.startswith("report/")}
        for path in page:
            del ours[path]
        assert f"{case}.nii.gz" in ours
        assert f"probabilities/{case}.nii.gz" in ours
        assert (f"entropy/{case}.nii.gz" in ours) == bool(wanted)
        assert sorted(ours) == sorted(theirs)
        assert [path for path in ours if ours[path] != theirs[path]] == []
        assert "report/viewer/scan0000.js" in page
        if wanted:  # the page tells the number of threads
            report = finished.root / "results/tiny/scans" / f"{RUN}.report"
            table = compare(report, out / "report")
            assert set(table.loc[table["status"] != "same", "file"]) == {"index.html"}
            assert untold(report / "index.html") == untold(out / "report/index.html")


def untold(page: Path) -> str:
    """A page without the command line and the commit, which tell of the run alone."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"<pre .*?</pre>|<div><dt>code</dt>.*?</div>|\s+", "", text)


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
