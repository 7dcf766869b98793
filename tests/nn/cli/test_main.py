"""`mbhseg` as a user calls it: a process of its own, its exit status and its words."""

import signal
import subprocess
import sys
import time
import zipfile

import nibabel as nib
import numpy as np
import pytest

from mbhseg.cli.main import FAILED, INTERRUPTED, OK, REFUSED, main
from mbhseg.files import read_table
from mbhseg.imaging.nifti import load_labels
from tests.dicoms import write_series
from tests.heads import blocks, head
from tests.nn.inference.test_bundle import model_folder
from tests.volumes import save_nifti

AFFINE = np.diag((-0.5, -0.5, 5.0, 1.0))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(model_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    save_nifti(folder / "one.nii.gz", nib.Nifti1Image(head(blocks((40, 40, 3))), AFFINE))
    write_series(folder / "two", head(blocks((40, 40, 3))), AFFINE)
    return folder


def test_good_scans_and_an_entry_of_them(scans, tmp_path, model, capsys):
    out = str(tmp_path / "out")
    words = ["--animations", "--entropy", "--dicom-seg", "--mirror", "--report"]
    assert main(["infer", str(scans), "--model", model, "--out", out, *words]) == OK
    assert "2 scans predicted, 0 failed" in capsys.readouterr().out
    one, two = (load_labels(tmp_path / "out" / f"{name}.nii.gz")[0] for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)
    assert (tmp_path / "out" / "dicomseg" / "two.dcm").is_file()
    assert (tmp_path / "out" / "entropy" / "one.nii.gz").is_file()
    assert (tmp_path / "out" / "animations" / "one.gif").is_file()
    page = tmp_path / "out/report"
    text = (page / "index.html").read_text(encoding="utf-8")
    assert f"mbhseg infer {scans} --model {model}" in text
    assert "2 scans predicted by" in text
    for name in ("scan0000", "scan0001"):
        assert '"doubt"' in (page / f"viewer/{name}.js").read_text()
    entry = tmp_path / "entry.zip"
    assert main(["submit", str(scans), "-p", out, "-o", str(entry)]) == OK
    with zipfile.ZipFile(entry) as archive:
        assert archive.namelist() == ["one.nii.gz", "two.nii.gz"]
    missing = [str(scans), str(tmp_path / "nowhere")]
    assert main(["submit", *missing, "-p", out, "-o", str(entry)]) == REFUSED


def test_a_bad_scan_is_told_and_the_rest_is_done(scans, tmp_path, model, capsys):
    (scans / "bad.nii").write_bytes(b"no scan")
    quiet = ["--no-overlays", "--no-mosaics", "--no-probabilities", "--no-report"]
    out = tmp_path / "out"
    assert main(["infer", str(scans), "-m", model, "-o", str(out), *quiet]) == FAILED
    assert "2 scans predicted, 1 failed" in capsys.readouterr().out
    assert list(read_table(out / "failed.tsv")["case"]) == ["bad"]
    assert not (out / "png").exists()
    assert not (out / "probabilities").exists()
    assert not (out / "viewer").exists()
    assert not (out / "report").exists()


def test_no_model_is_refused_in_a_line(scans, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["infer", str(scans), "-m", str(tmp_path / "none"), "-o", out]) == REFUSED
    assert capsys.readouterr().err.startswith("mbhseg: ")


def test_no_input_is_replaced_by_a_result(scans, tmp_path, model, capsys):
    def bytes_below(folder):
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    (scans / "report").mkdir()
    (scans / "report" / "thesis.txt").write_text("mine")
    before = bytes_below(scans)
    one = str(scans / "one.nii.gz")
    assert main(["infer", one, "-m", model, "-o", str(scans)]) == REFUSED
    assert "is an input" in capsys.readouterr().err
    series = [str(scans / "two"), "--report"]
    assert main(["infer", *series, "-m", model, "-o", str(scans)]) == REFUSED
    assert "was not made by --report" in capsys.readouterr().err
    assert bytes_below(scans) == before
    out = str(tmp_path / "out")
    assert main(["infer", one, "-m", model, "-o", out]) == OK
    assert main(["submit", one, "-p", out, "-o", one]) == REFUSED
    labels = f"{out}/one.nii.gz"
    assert main(["submit", one, "-p", out, "-o", labels]) == REFUSED
    assert "is also an input" in capsys.readouterr().err
    assert bytes_below(scans) == before
    assert load_labels(labels)[0].shape == (40, 40, 3)


def test_ctrl_c_leaves_what_is_finished(tmp_path, model):
    """A real process, a real signal, as soon as the first scan is there."""
    for n in range(400):
        image = nib.Nifti1Image(head(blocks((64, 64, 2))), AFFINE)
        save_nifti(tmp_path / "scans" / f"{n:03d}.nii.gz", image)
    out = tmp_path / "out"
    words = ["infer", str(tmp_path / "scans"), "-m", model, "-o", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "mbhseg", *words],
        stderr=subprocess.PIPE,
        text=True,
        # a shell's background job ignores it, and so would what it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not (out / "000.nii.gz").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == INTERRUPTED, told
    assert "interrupted; the finished scans are there" in told
    assert "Traceback" not in told
    done = sorted(path.name for path in out.glob("*.nii.gz"))
    assert 0 < len(done) < 400
    assert sorted(read_table(out / "volumes.csv")["case"].unique()) == [
        name.removesuffix(".nii.gz") for name in done
    ]
    for name in done:
        assert load_labels(out / name)[0].shape == (64, 64, 2)
    assert not list(out.glob(".partial*"))
