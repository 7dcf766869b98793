"""Predictions against consensus and raters: the same scores as in the agreement table."""

import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mbhseg.classes import ANY, KEYS
from mbhseg.errors import InputError
from mbhseg.evaluation import compare_runs, run_summary
from mbhseg.evaluation.agreement import CONSENSUS, agreement_table
from mbhseg.evaluation.case_scores import Evaluation, evaluate_cases
from mbhseg.evaluation.run_summary import summarise_evaluation
from mbhseg.files import read_json, read_table, write_table
from mbhseg.imaging.nifti import labels_like
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.metrics.casewise import SCORES
from mbhseg.metrics.organisers import organisers_scores
from mbhseg.predictions.postprocess import Postprocessing
from mbhseg.predictions.writing import write_case
from mbhseg.prepare.consensus import Consensus, consensus
from mbhseg.runtime import parallel
from tests.volumes import save_nifti

ALONE = "ID_0000000b_ID_000000000a"
EMPTY = "ID_0000000c_ID_000000000a"
TABLES = (
    *("cases", "processed", "ceiling", "groups", "organisers", "calibration"),
    *("threshold", "slices"),
)


def write_predictions(folder: Path, path: Path, volumes: dict[str, np.ndarray]) -> Path:
    """Write label volumes as predictions in the geometry of the archive's scans."""
    with Archive(path) as archive:
        for case, volume in volumes.items():
            scan = archive.nifti(archive.cases[case].image)
            save_nifti(folder / f"{case}.nii.gz", labels_like(volume, scan))
    return folder


def of_rater3(tiny_set) -> dict[str, np.ndarray]:
    return {case: tiny.labels[3] for case, tiny in tiny_set.cases.items()}


@pytest.fixture
def predictions(tiny_set, tmp_path: Path) -> Path:
    """Rater 3's labels as a model's predictions, of every case."""
    return write_predictions(tmp_path / "predictions", tiny_set.path, of_rater3(tiny_set))


def evaluate(tiny_set, predictions: Path, cases=None, **rule) -> Evaluation:
    with Archive(tiny_set.path) as archive:
        chosen = dict.fromkeys(archive.cases) if cases is None else cases
        return evaluate_cases(archive, chosen, predictions, "copy-f0-s1", **rule)


@pytest.fixture(scope="module")
def result(tiny_set, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """The evaluation of `predictions`, to be read only."""
    folder = tmp_path_factory.mktemp("predictions")
    return evaluate(tiny_set, write_predictions(folder, tiny_set.path, of_rater3(tiny_set)))


@pytest.fixture(scope="module")
def summary(result: Evaluation) -> dict[str, Any]:
    """The summary of `result`, to be read only."""
    return summarise_evaluation(result)


def test_a_rater_submitted_as_a_prediction_scores_as_in_the_agreement_table(tiny_set, result):
    with Archive(tiny_set.path) as archive:
        agreement = agreement_table(archive, archive.cases)
    human = agreement[agreement["candidate"] == "rater3"]
    human = human[human["reference"].isin([CONSENSUS, "rater1", "rater2", "rater4"])]
    model = result.model[result.model["reference"] != "rater3"]
    model = model[model["case"] != ALONE]
    assert set(model["candidate"]) == {"model:copy-f0-s1"}
    pd.testing.assert_frame_equal(
        model.drop(columns="candidate").reset_index(drop=True),
        human.drop(columns="candidate").reset_index(drop=True),
        check_exact=True,
    )
    pd.testing.assert_frame_equal(result.ceiling, agreement, check_exact=True)
    itself = result.model[result.model["reference"] == "rater3"]
    assert set(itself["status"]) == {"both", "absent"}
    assert (itself["dice"].dropna() == 1).all()


def test_summary_sets_the_model_beside_the_raters(result, summary):
    assert summary["model"]["consensus"]["n_cases"] == 4
    assert summary["model"]["raters"]["n_pairs"] == 3 + 2 + 1 + 2
    assert summary["ceiling"]["raters"]["n_cases"] == 3
    assert summary["ratio"]["n_cases"] == 3
    ratio = summary["ratio"]["classes"]["IPH"]
    assert ratio["ceiling"] == summary["ceiling"]["raters"]["classes"]["IPH"]["dice_present"]
    assert ratio["ratio"] == pytest.approx(ratio["model"] / ratio["ceiling"])
    confusion = np.array(summary["confusion"])
    assert confusion.sum() == 4 * 16 * 14 * 6
    voxels = result.model[result.model["reference"] == CONSENSUS].groupby("class")
    for label, key in enumerate(KEYS, start=1):
        assert confusion[label].sum() == voxels["reference_voxels"].sum()[key]
        assert confusion[:, label].sum() == voxels["candidate_voxels"].sum()[key]


def test_threshold_and_legacy_figures_against_masks(tiny_set, result, summary):
    band = summary["threshold"]["band"]
    dices, agreeing, bleeding = [], [], []
    for tiny in tiny_set.cases.values():
        truth = consensus(dict(tiny.labels), "majority", "background", None)
        found = (tiny.hu >= band["low_hu"]) & (tiny.hu <= band["high_hu"])
        if truth.any():
            both = (found & (truth > 0)).sum()
            dices.append(2 * both / (found.sum() + (truth > 0).sum()))
        agreeing += list((truth == tiny.labels[3]).mean(axis=(0, 1)))
        bleeding += list(truth.any(axis=(0, 1)))
    assert summary["threshold"]["classes"][ANY]["dice_present"] == pytest.approx(np.mean(dices))
    assert summary["threshold"]["classes"][ANY]["n_cases"] == 4
    assert set(result.threshold["candidate"]) == {"threshold"}
    legacy = summary["legacy"]
    assert legacy["all_slices"]["n_slices"] == 24
    assert legacy["all_slices"]["dice_coef_multiclass"] == pytest.approx(np.mean(agreeing))
    assert legacy["bleeding_slices"]["n_slices"] == sum(bleeding)
    assert legacy["bleeding_slices"]["dice_coef_multiclass"] == pytest.approx(
        np.mean(np.array(agreeing)[bleeding])
    )


def test_slices_add_up_to_their_cases(result):
    cases = result.model[result.model["reference"] == CONSENSUS]
    counts = ["reference_voxels", "candidate_voxels", "intersection"]
    sums = result.slices.groupby(["case", "class"])[counts].sum()
    for row in cases.to_dict("records"):
        if row["status"] == "absent":
            assert (row["case"], row["class"]) not in sums.index
        else:
            assert list(sums.loc[(row["case"], row["class"])]) == [row[name] for name in counts]
    assert result.slices["dice"].notna().all()
    assert not (result.slices["case"] == EMPTY).any()


def test_a_split_by_slice_scores_only_its_slices(tiny_set, predictions):
    case = next(iter(tiny_set.cases))
    result = evaluate(tiny_set, predictions, {case: [1, 3], ALONE: []})
    labels = tiny_set.cases[case].labels
    row = result.model.query("case == @case and reference == 'rater1' and `class` == 'IPH'").iloc[0]
    assert row["reference_voxels"] == (labels[1][:, :, [1, 3]] == 2).sum()
    assert set(result.slices["slice"]) <= {1, 3}
    assert len(result.confusions) == 2
    ceiling = result.ceiling.query("candidate == 'rater1' and reference == 'rater4'")
    ceiling = ceiling[ceiling["class"] == "IPH"].iloc[0]
    assert ceiling["candidate_voxels"] == (labels[1][:, :, [1, 3]] == 2).sum()
    assert set(result.model.query("case == @ALONE")["status"]) == {"absent"}


def test_the_consensus_does_not_depend_on_the_slices(tiny_set, predictions):
    case = next(iter(tiny_set.cases))
    rule = {"rule": Consensus("staple")}
    whole = evaluate(tiny_set, predictions, {case: None}, **rule).slices
    part = evaluate(tiny_set, predictions, {case: [2]}, **rule).slices
    expected = whole[whole["slice"] == 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(part.reset_index(drop=True), expected)


def test_nothing_but_scans_without_a_bleed(tiny_set, predictions):
    summary = summarise_evaluation(evaluate(tiny_set, predictions, {EMPTY: None}))
    assert summary["threshold"]["band"] is None
    assert np.isnan(summary["model"]["consensus"]["macro"]["dice_nnunet"])
    assert summary["model"]["consensus"]["classes"][ANY]["n_absent"] == 1
    assert summary["legacy"]["bleeding_slices"]["n_slices"] == 0


def test_a_missing_prediction_is_an_error(tiny_set, predictions):
    (predictions / f"{ALONE}.nii.gz").unlink()
    with pytest.raises(InputError, match=rf"{ALONE}\.nii\.gz: no prediction"):
        evaluate(tiny_set, predictions)


def test_predictions_in_another_grid_are_errors(tiny_set, predictions):
    path = predictions / f"{ALONE}.nii.gz"
    good = nib.load(path)
    labels = np.asarray(good.dataobj)
    save_nifti(path, nib.Nifti1Image(labels[:-1], good.affine))
    with pytest.raises(InputError, match=rf"{ALONE}.*shape \(15, 14, 6\).*\(16, 14, 6\)"):
        evaluate(tiny_set, predictions)
    for shift, accepted in ((0.0005, True), (0.01, False)):
        affine = good.affine.copy()
        affine[2, 3] += shift
        save_nifti(path, nib.Nifti1Image(labels, affine))
        if accepted:
            evaluate(tiny_set, predictions)
        else:
            with pytest.raises(InputError, match=r"affine is off the scan's by 0\.01 mm"):
                evaluate(tiny_set, predictions)
    flipped = good.affine.copy()
    flipped[0] *= -1
    save_nifti(path, nib.Nifti1Image(labels, flipped))
    with pytest.raises(InputError, match="affine is off"):
        evaluate(tiny_set, predictions)


def test_a_slice_that_is_not_there_is_an_error(tiny_set, predictions):
    with pytest.raises(InputError, match=f"{ALONE}: .*slice 6"):
        evaluate(tiny_set, predictions, {ALONE: [0, 6]})


def test_run_writes_the_same_files_twice(tiny_set, predictions, tmp_path: Path):
    split = tmp_path / "fold0.tsv"
    rows = [(case, case[:11], "test" if case != EMPTY else "train") for case in tiny_set.cases]
    write_table(split, pd.DataFrame(rows, columns=["case", "patient", "subset"]))
    names = sorted([*(f"{name}.csv" for name in TABLES), "summary.json"])
    contents = []
    for out in (tmp_path / "one", tmp_path / "two"):
        run_summary.evaluate_run(tiny_set.path, split, "test", predictions, "copy-f0-s1", out)
        assert sorted(path.name for path in out.iterdir()) == names
        contents.append([(out / name).read_bytes() for name in names])
    assert contents[0] == contents[1]
    cases = read_table(tmp_path / "one" / "cases.csv")
    assert EMPTY not in set(cases["case"])
    summary = read_json(tmp_path / "one" / "summary.json")
    assert (summary["run"], summary["subset"]) == ("copy-f0-s1", "test")
    assert summary["consensus"] == {"method": "majority", "ties": "background", "rater": None}
    with pytest.raises(InputError, match=r"fold0\.tsv: .*subset valid"):
        run_summary.evaluate_run(
            tiny_set.path, split, "valid", predictions, "copy-f0-s1", tmp_path / "out"
        )


def write_probabilities(folder: Path, tiny_set) -> None:
    """The predictions with probabilities: .8 where predicted, and .1 of SAH everywhere."""
    with Archive(tiny_set.path) as archive:
        for case, tiny in tiny_set.cases.items():
            likely = np.zeros((*tiny.hu.shape, 5), np.uint8)
            likely[..., 3] = 26
            for label in range(1, 6):
                likely[tiny.labels[3] == label, label - 1] = 204
            scan = archive.nifti(archive.cases[case].image)
            write_case(folder, case, tiny.labels[3], scan, Window("brain", 40, 80), False, likely)


def test_probabilities_give_calibration_and_detection(tiny_set, summary, tmp_path):
    folder = tmp_path / "likely"
    write_probabilities(folder, tiny_set)
    result = evaluate(tiny_set, folder)
    plain, summary = summary, summarise_evaluation(result)
    assert (summary["probabilities"], plain["probabilities"]) == (True, False)
    assert plain["calibration"] is None
    rows = result.model.query("reference == 'consensus'").set_index(["case", "class"])
    for case, tiny in tiny_set.cases.items():
        for label, key in enumerate(KEYS, start=1):
            floor = 26 / 255 if key == "SAH" else 0.0
            expected = 204 / 255 if (tiny.labels[3] == label).any() else floor
            assert rows.loc[(case, key), "max_probability"] == pytest.approx(expected)
    found = summary["model"]["consensus"]["classes"]["IPH"]["detection"]
    assert (found["score"], found["auc"]) == ("max_probability", 1.0)
    assert found["brier"] == pytest.approx((3 * 0.2**2 + 0) / 4)
    assert plain["model"]["consensus"]["classes"]["IPH"]["detection"]["score"] == "candidate_ml"
    calibration = summary["calibration"]["classes"]["IPH"]
    assert calibration["n_cases"] == 3  # the fourth has no region
    assert [bin["probability"] for bin in calibration["bins"]] == pytest.approx([0.0, 0.8])
    missing = next(folder.glob("probabilities/*.nii.gz"))
    missing.unlink()
    with pytest.raises(InputError, match=r"\.nii\.gz: no probabilities"):
        evaluate(tiny_set, folder)


def test_groups_and_organisers_of_a_rater_as_a_prediction_are_those_of_the_rater(
    tiny_set, result, summary
):
    for table in (result.groups, result.organisers):
        held = table[table["reference"] == "raters-without-rater3"]
        of_model, of_rater = (
            held[held["candidate"] == name].drop(columns="candidate").reset_index(drop=True)
            for name in ("model:copy-f0-s1", "rater3")
        )
        assert len(of_model)
        pd.testing.assert_frame_equal(of_model, of_rater, check_exact=True)
    case = next(iter(tiny_set.cases))
    labels = tiny_set.cases[case].labels
    expected = organisers_scores(list(labels.values()), [labels[3]])
    row = result.organisers.query("case == @case and reference == 'raters'").iloc[0]
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    for block in ("distribution", "organisers"):
        assert summary[block]["processed"] is None
        assert summary[block]["model"] is not None
    assert summary["organisers"]["ceiling"]["n_cases"] == 3


def test_postprocessed_labels_are_scored_beside_the_raw_ones(tiny_set, predictions, result):
    post = Postprocessing(False, {"IPH": 1000.0})
    with_post = evaluate(tiny_set, predictions, post=post)
    pd.testing.assert_frame_equal(with_post.model, result.model)
    assert set(with_post.processed["candidate"]) == {"model:copy-f0-s1+post"}
    processed, raw = with_post.processed, result.model
    assert (processed[processed["class"] == "IPH"]["candidate_voxels"] == 0).all()
    sdh = processed[processed["class"] == "SDH"]["candidate_voxels"]
    assert sdh.sum() == raw[raw["class"] == "SDH"]["candidate_voxels"].sum() > 0
    summary = summarise_evaluation(with_post, {"min_ml": {"IPH": 1000.0}})
    assert summary["processed"]["consensus"]["classes"]["IPH"]["dice_present"] == 0
    assert summary["model"]["consensus"]["classes"]["IPH"]["dice_present"] > 0
    assert summary["postprocessing"] == {"min_ml": {"IPH": 1000.0}}


def test_several_processes_give_the_same_and_fail_as_loudly(
    tiny_set, predictions, result, monkeypatch
):
    monkeypatch.setattr(parallel, "_ITEMS_PER_PROCESS", 2)
    shared = evaluate(tiny_set, predictions, processes=2)
    for name, table in result._asdict().items():
        if isinstance(table, pd.DataFrame):
            pd.testing.assert_frame_equal(getattr(shared, name), table, check_exact=True)
    np.testing.assert_array_equal(shared.confusions, result.confusions)
    (predictions / f"{ALONE}.nii.gz").unlink()
    with pytest.raises(InputError, match=rf"{ALONE}\.nii\.gz: no prediction"):
        evaluate(tiny_set, predictions, processes=2)


def test_every_mean_has_an_interval_and_ratios_are_of_the_same_cases(summary):
    found = summary["model"]["raters"]["classes"]["IPH"]
    for score in SCORES:
        low, high = found["intervals"][score]
        alone = score in ("specificity", "spurious_ml_mean")  # one patient has no interval
        assert np.isnan([low, high]).all() if alone else low <= found[score] <= high
    for key, ratio in summary["ratio"]["classes"].items():
        for score in ("dice_present", "nsd_2mm", "sensitivity"):
            human = summary["ceiling"]["raters"]["classes"][key][score]
            assert ratio["scores"][score]["ceiling"] == pytest.approx(human, nan_ok=True)
    assert np.isnan(summary["ratio"]["classes"]["IPH"]["interval"]).all()  # of one patient


def keys_of(value: object) -> set[str]:
    """All keys of nested objects."""
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys_of(below) for below in value.values()))


def test_every_column_and_key_is_described(tiny_set, predictions, repo):
    """docs/scores.md names them all; patterns there stand for rules, strata and versions."""
    described = set(re.findall(r"[\w<>]+", (repo / "docs/scores.md").read_text()))
    result = evaluate(tiny_set, predictions, post=Postprocessing(True, {}))
    names = keys_of(summarise_evaluation(result))
    for table in result:
        names |= set(table.columns) if isinstance(table, pd.DataFrame) else set()
    for columns in (
        compare_runs.RUN_COLUMNS,
        compare_runs.EXPERIMENT_COLUMNS,
        compare_runs.DIFFERENCE_COLUMNS,
    ):
        names |= set(columns)
    missing = {
        name
        for name in names - described
        if re.sub(r"_(lt1ml|1to10ml|gt10ml)$", "_<stratum>", name) not in described
        and re.sub(r"_(any|iou)(_\w+)?$", "_<rule>", name) not in described
        and re.sub(r"^organisers_v[13]_", "", name) not in described
    }
    assert not missing


@pytest.mark.real_ct
def test_real_slices_are_scored(real_ct: Path, tmp_path: Path):
    path = real_ct / "MBH_Train_2025_voxel-label.zip"
    with Archive(path) as archive:
        case = next(c for c, f in archive.cases.items() if len(f.labels) == 2)
        scan = archive.nifti(archive.cases[case].image)
        empty = np.zeros(scan.shape, np.uint8)
        write_predictions(tmp_path, path, {case: empty})
        summary = summarise_evaluation(evaluate_cases(archive, {case: None}, tmp_path, "empty"))
    drawn = summary["model"]["consensus"]["classes"][ANY]
    assert (drawn["dice_present"], drawn["sensitivity"]) == (0.0, 0.0)
    # the legacy metric hardly notices that nothing was found
    assert summary["legacy"]["all_slices"]["dice_coef_multiclass"] > 0.95
