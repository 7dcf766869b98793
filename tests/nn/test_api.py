"""The public Python API gives what the command line gives, and refuses bad input in a line."""

import re

import nibabel as nib
import numpy as np
import pytest

import mbhseg
from mbhseg.classes import KEYS
from mbhseg.cli.main import OK, main
from mbhseg.errors import InputError
from mbhseg.files import read_table, write_json
from mbhseg.imaging.nifti import load_labels
from mbhseg.metrics.overlap import plane_confusions, score_confusion
from tests.heads import blocks, head
from tests.nn.inference.test_bundle import model_folder
from tests.volumes import save_nifti

AFFINE = np.diag((-0.5, -0.5, 5.0, 1.0))
TRANSLATED = np.array([[0, 0, 0, 9.0], *np.zeros((3, 4))])
TURNED = np.array([[0, 0, 5.0, -30], [0.5, 0, 0, 4], [0, -0.6, 0, 9], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = model_folder(tmp_path_factory.mktemp("api") / "model")
    write_json(folder / "calibration.json", {"temperature": 1.7})
    write_json(
        folder / "postprocess.json", {"reconcile": True, "min_ml": dict.fromkeys(KEYS, 0.05)}
    )
    return folder


@pytest.mark.parametrize("affine", [AFFINE, TURNED])
@pytest.mark.parametrize("option", [{}, {"postprocess": True}])
def test_the_labels_are_those_of_the_command_line(tmp_path, model, affine, option):
    hu = head(blocks((40, 48, 36)))
    save_nifti(tmp_path / "s.nii.gz", nib.Nifti1Image(hu, affine))
    words = ["-m", str(model), "-o", str(tmp_path / "out"), *(f"--{name}" for name in option)]
    assert main(["infer", str(tmp_path / "s.nii.gz"), *words]) == OK
    labels, _ = load_labels(tmp_path / "out" / "s.nii.gz")
    table = read_table(tmp_path / "out" / "volumes.csv").set_index("class")["ml"]
    loaded = mbhseg.load_model(model, probabilities=True, **option)
    for values in (hu, hu.astype(np.float64), np.ascontiguousarray(hu)):
        prediction = mbhseg.predict(values, affine, model=loaded)
        assert prediction.labels.dtype == np.uint8
        np.testing.assert_array_equal(prediction.labels, labels)
        assert prediction.ml == pytest.approx(table.to_dict())
    stored = nib.load(tmp_path / "out/probabilities/s.nii.gz").get_fdata()
    np.testing.assert_allclose(prediction.probabilities, stored, atol=1e-6)
    assert prediction.probabilities.dtype == np.float32


def test_a_model_may_be_a_folder_and_several_are_an_ensemble(model, tmp_path):
    hu = head(blocks((40, 40, 3)))
    alone = mbhseg.predict(hu, AFFINE, model=model)
    assert alone.probabilities is None
    np.testing.assert_array_equal(mbhseg.load_model([model]).predict(hu, AFFINE)[0], alone.labels)
    other = model_folder(tmp_path / "other", seed=3)
    assert mbhseg.predict(hu, AFFINE, model=[model, other]).labels.shape == hu.shape


@pytest.mark.parametrize(
    ("hu", "affine", "words"),
    [
        (np.zeros((40, 40)), AFFINE, "hu: has 2 axes"),
        (np.zeros((40, 4, 4)), AFFINE, "hu: is tiny"),
        (np.zeros((40, 40, 0)), AFFINE, "hu: is tiny"),
        (np.full((40, 40, 3), np.nan), AFFINE, "4,800 voxels are not finite"),
        (np.zeros((40, 40, 3), complex), AFFINE, "complex128"),
        (np.zeros((40, 40, 3)), np.eye(3), "affine: is no 4 x 4"),
        (np.zeros((40, 40, 3)), np.zeros((4, 4)), "affine: is no 4 x 4"),
        (np.zeros((40, 40, 3)), "x", "affine: is no 4 x 4"),
        (np.zeros((40, 40, 3)), None, "affine: is no 4 x 4"),
        (np.zeros((40, 40, 3)), AFFINE.astype(complex), "affine: is no 4 x 4"),
        (np.zeros((40, 40, 3)), AFFINE + TRANSLATED.T, "affine: its last row"),
        (np.zeros((40, 40, 3)), [[1, 0], [0]], "affine: is no array"),
        ([[1, 2], [3]], AFFINE, "hu: is no array"),
        (np.ma.masked_less(np.zeros((40, 40, 3)), 0), AFFINE, "hu: is a masked array"),
    ],
)
def test_what_is_no_scan_is_refused(model, hu, affine, words):
    with pytest.raises(InputError, match=re.escape(words)):
        mbhseg.predict(hu, affine, model=model)


def test_values_that_are_no_hu_are_refused_unless_wanted(model):
    grey = np.random.default_rng(0).integers(0, 60, (40, 40, 3)).astype(np.uint8)
    with pytest.raises(InputError, match=r"^hu: "):
        mbhseg.predict(grey, AFFINE, model=model)
    labels = mbhseg.predict(grey, AFFINE, model=model, any_intensity=True).labels
    assert labels.shape == grey.shape


def test_unknown_options_and_models_are_refused(model, tmp_path):
    with pytest.raises(TypeError, match=r"'mirrored'.*mirror"):
        mbhseg.load_model(model, mirrored=True)
    with pytest.raises(TypeError, match="load_model"):
        mbhseg.predict(np.zeros(0), AFFINE, model=mbhseg.load_model(model), mirror=True)
    with pytest.raises(InputError, match="no such model folder"):
        mbhseg.load_model(tmp_path / "none")


@pytest.mark.parametrize("model", [[], "", [""], None, [None], 5])
def test_what_names_no_model_is_refused(model):
    with pytest.raises(InputError, match="model: names no model"):
        mbhseg.load_model(model)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("postprocess", "no"),
        ("probabilities", "no"),
        ("temperature", 2.0),
        ("fit", "x"),
        ("fit", np.array(["auto", "tile"])),
        ("threads", -1),
        ("threads", 1.5),
        ("batch_size", 0),
    ],
)
def test_a_wrong_value_of_an_option_is_refused(model, option, value):
    with pytest.raises(InputError, match=f"^{option}: is "):
        mbhseg.load_model(model, **{option: value})


def test_an_option_may_be_a_number_of_numpy(model):
    loaded = mbhseg.load_model(model, batch_size=np.int64(2), mirror=np.True_)
    assert loaded.predict(head(blocks((40, 40, 3))), AFFINE).labels.shape == (40, 40, 3)


def test_scores_are_those_of_the_tables():
    reference, prediction = blocks((40, 40, 6)), np.roll(blocks((40, 40, 6)), 2, axis=0)
    scores = mbhseg.score(reference, prediction.astype(float), AFFINE)
    assert list(scores.index) == [*KEYS, "any"]
    expected = score_confusion(plane_confusions(reference, prediction).sum(axis=0), 1.25e-3)
    for row in expected:
        assert scores.loc[row["class"], "dice"] == row["dice"]
        assert scores.loc[row["class"], "prediction_ml"] == pytest.approx(row["candidate_ml"])
        assert scores.loc[row["class"], "status"] == row["status"]
    present = scores[scores["status"] == "both"]
    assert len(present) > 1
    assert present["nsd_1mm"].between(0, 1).all()
    assert (present["hd95_mm"] > 0).all()


@pytest.mark.parametrize("shape", [(40, 40, 6), (40, 40, 0), (0, 0, 0)])
def test_what_is_empty_has_no_score(shape):
    nothing = np.zeros(shape, np.uint8)
    scores = mbhseg.score(nothing, nothing, AFFINE)
    assert set(scores["status"]) == {"absent"}
    assert scores[["dice", "nsd_2mm", "hd95_mm"]].isna().all(axis=None)
    assert (scores["reference_ml"] == 0).all()


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        (np.zeros((4, 4, 3)), r"prediction: its shape \(4, 4, 3\).*\(4, 4, 4\)"),
        (np.full((4, 4, 4), 6), "prediction: label 6 is outside"),
        (np.full((4, 4, 4), 0.5), "prediction: label 0.5"),
        (np.zeros((4, 4)), r"prediction: .*\(4, 4\)"),
        (np.zeros((4, 4, 4), "U1"), "prediction: "),
        ([[1, 2], [3]], "prediction: is no array"),
        (np.ma.masked_equal(np.zeros((4, 4, 4)), 0), "prediction: is a masked array"),
    ],
)
def test_what_are_no_labels_is_refused(prediction, words):
    with pytest.raises(InputError, match=words):
        mbhseg.score(np.zeros((4, 4, 4)), prediction, AFFINE)


def test_the_example_of_the_documentation_runs(repo, model, tmp_path, monkeypatch, capsys):
    text = (repo / "docs/api.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    labels = blocks((40, 40, 6))
    save_nifti(tmp_path / "scan.nii.gz", nib.Nifti1Image(head(labels), AFFINE))
    save_nifti(tmp_path / "reference.nii.gz", nib.Nifti1Image(labels, AFFINE))
    (tmp_path / "model").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/api.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "(40, 40, 6) uint8" in printed
    assert "hd95_mm" in printed
