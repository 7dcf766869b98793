"""Post-processing of labels, and its choice on validation cases."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.evaluation import choose_postprocess
from mbhseg.files import read_json, write_table
from mbhseg.imaging.nifti import labels_like
from mbhseg.inspect.archive import Archive
from mbhseg.predictions import postprocess
from mbhseg.predictions.postprocess import Postprocessing, reconciled
from tests.volumes import save_nifti

EDH, IPH, SDH = (KEYS.index(key) + 1 for key in ("EDH", "IPH", "SDH"))
NOTHING = Postprocessing(False, {})
EVERYWHERE = np.ones((3, 3, 3))


def plain(labels: np.ndarray, rule: Postprocessing, ml: float) -> np.ndarray:
    """The same two steps, component by component on the whole volume."""
    result = labels.copy()
    if rule.reconcile:
        parts, n = ndimage.label((labels == EDH) | (labels == SDH), EVERYWHERE)
        for part in range(1, n + 1):
            inside = parts == part
            edh, sdh = ((labels[inside] == label).sum() for label in (EDH, SDH))
            if edh != sdh:
                result[inside] = EDH if edh > sdh else SDH
    reconciled_labels = result.copy()
    for label, key in enumerate(KEYS, start=1):
        parts, n = ndimage.label(reconciled_labels == label, EVERYWHERE)
        for part in range(1, n + 1):
            if (parts == part).sum() * ml < rule.min_ml.get(key, 0):
                result[parts == part] = 0
    return result


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random((14, 12, 6)), 1)
    labels = np.where(field > 0.52, rng.choice([0, EDH, SDH, SDH, IPH], field.shape), 0)
    labels = np.asfortranarray(labels.astype(np.uint8))
    before = labels.copy()
    rule = Postprocessing(seed % 2 == 0, {"EDH": 0.003, "SDH": 0.01, "IPH": 0.002 * (seed % 3)})
    np.testing.assert_array_equal(rule.apply(labels, 0.001), plain(labels, rule, 0.001))
    np.testing.assert_array_equal(labels, before)


def test_a_component_becomes_what_most_of_it_is_and_a_tie_stays():
    labels = np.zeros((12, 3, 1), np.uint8)
    labels[0:3, 0], labels[3, 1] = SDH, EDH  # touch at a corner: one component, mostly SDH
    labels[6, 0], labels[7, 0] = EDH, SDH  # one of each
    labels[10, 2] = EDH
    found = reconciled(labels)
    assert found[3, 1, 0] == SDH
    assert (found[6, 0, 0], found[7, 0, 0]) == (EDH, SDH)
    assert found[10, 2, 0] == EDH
    assert not reconciled(np.zeros((4, 4, 2), np.uint8)).any()


def test_the_size_itself_is_kept_and_nothing_changes_nothing():
    labels = np.zeros((6, 6, 2), np.uint8)
    labels[:2, 0, 0], labels[4:, 4:, 1] = IPH, IPH
    rule = Postprocessing(False, {"IPH": 0.004})
    assert (rule.apply(labels, 0.001) == IPH).sum() == 4
    np.testing.assert_array_equal(NOTHING.apply(labels, 0.001), labels)


def components(predicted, truth, ml=1.0):
    scored = np.ones(predicted.shape[2], bool)
    return {
        False: choose_postprocess.components_of(predicted, truth, ml, scored),
        True: choose_postprocess.components_of(reconciled(predicted), truth, ml, scored),
    }


def a_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth: an SDH partly predicted as EDH, and false specks of IPH."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((20, 20, 4), np.uint8)
    truth[2:12, 2:8, 1:3] = SDH
    predicted = truth.copy()
    predicted[2:5, 2:8, 1:3] = EDH
    for x, y in rng.integers(14, 20, (3, 2)):
        predicted[x, y, seed % 4] = IPH
    if seed % 2:
        truth[14:18, 2:6, :2] = predicted[14:18, 2:6, :2] = IPH
    return predicted, truth


def mean_dice(pairs, label: int) -> float:
    """nnU-Net's convention, computed directly."""
    dices = []
    for predicted, truth in pairs:
        a, b = predicted == label, truth == label
        if a.any() or b.any():
            dices.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return float(np.mean(dices)) if dices else float("nan")


def test_validation_chooses_what_helps_and_the_stated_dice_come_true():
    pairs = [a_case(seed) for seed in range(6)]
    chosen = choose_postprocess.choose([components(*pair) for pair in pairs], [5, 50, 500], True)
    assert chosen["reconcile"] is True
    assert chosen["min_ml"]["IPH"] == 5.0  # the smallest that removes the specks
    assert chosen["min_ml"]["SDH"] == 0.0
    rule = Postprocessing(chosen["reconcile"], chosen["min_ml"])
    applied = [(rule.apply(predicted, 1.0), truth) for predicted, truth in pairs]
    for key, label in (("EDH", EDH), ("IPH", IPH), ("SDH", SDH)):
        for name, held in (("raw", pairs), ("processed", applied)):
            found = chosen["dice"][name][key]
            if name == "raw" or not np.isnan(mean_dice(held, label)):
                assert found == pytest.approx(mean_dice(held, label), nan_ok=True)
        assert not chosen["dice"]["processed"][key] < chosen["dice"]["raw"][key]
    assert chosen["tried"]["reconcile"]["on"] > chosen["tried"]["reconcile"]["off"]
    assert set(chosen["tried"]["min_ml"]["IPH"]) == {"0", "5", "50", "500"}


def test_what_does_not_help_is_left_alone():
    truth = a_case(1)[1]
    for cases in ([components(truth, truth)], []):
        chosen = choose_postprocess.choose(cases, [0.5, 2], True)
        assert chosen["reconcile"] is False
        assert set(chosen["min_ml"].values()) == {0.0}
    off = choose_postprocess.choose([components(*a_case(1))], [], False)
    assert (off["reconcile"], set(off["min_ml"].values())) == (False, {0.0})


def test_run_uses_the_subset_alone(tiny_set, tmp_path: Path):
    cases = list(tiny_set.cases)
    rows = [(case, case[:11], "valid" if n < 2 else "test") for n, case in enumerate(cases)]
    split = tmp_path / "fold0.tsv"
    write_table(split, pd.DataFrame(rows, columns=["case", "patient", "subset"]))
    with Archive(tiny_set.path) as archive:
        for case in cases[:2]:  # the test cases are not even there
            labels = tiny_set.cases[case].labels[3].copy()
            labels[0, 0, 0] = IPH
            scan = archive.nifti(archive.cases[case].image)
            save_nifti(tmp_path / "valid" / f"{case}.nii.gz", labels_like(labels, scan))
    arguments = {"min_ml": [0.002, 10.0], "reconcile": True}
    out = tmp_path / "postprocess.json"
    choose_postprocess.run(tiny_set.path, split, "valid", tmp_path / "valid", out, **arguments)
    written = read_json(out)
    assert written["chosen_on"] == {"subset": "valid", "n_cases": 2}
    rule = postprocess.read(out)
    assert rule.min_ml["IPH"] == 0.002
    with pytest.raises(InputError, match=r"\.nii\.gz: no prediction"):
        choose_postprocess.run(tiny_set.path, split, "test", tmp_path / "valid", out, **arguments)
    out.write_text("{}")
    with pytest.raises(InputError, match=r"postprocess\.json: .*settings"):
        postprocess.read(out)
