"""Out-of-fold results: each case once, by the model not trained on it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mbhseg.errors import InputError
from mbhseg.evaluation.cross_validation import Fold, out_of_fold, pool, pooled_table, score_rows
from mbhseg.files import manifest_of, read_table
from mbhseg.metrics.pairs import CaseLabels, Pair, PairScores
from mbhseg.metrics.summary import score_table as case_table
from mbhseg.metrics.summary import summarise

CASES = [f"ID_{k}_ID_1" for k in "abcdef"]


def folds(root: Path, valid: list[list[str]]) -> list[Fold]:
    """Folds whose validation cases are `valid`, each with a file that names its run."""
    made = []
    for k, names in enumerate(valid):
        run = f"x-f{k}-s1"
        subset = {case: "valid" if case in names else "train" for case in CASES[:-1]}
        subset[CASES[-1]] = "test"
        rows = [(case, case[:4], subset[case]) for case in reversed(CASES)]
        folder = root / run
        (folder / "png/masks").mkdir(parents=True)
        (folder / "probabilities").mkdir()
        for case in names:
            (folder / f"{case}.nii.gz").write_text(f"{run} {case}")
            (folder / f"probabilities/{case}.nii.gz").write_text(f"{run} {case} p")
            (folder / f"png/masks/{case}_000.png").write_text("picture")
        table = pd.DataFrame(rows, columns=["case", "patient", "subset"])
        made.append(Fold(run, table, folder, manifest_of(folder)))
    return made


def test_every_case_is_predicted_by_its_own_fold(tmp_path):
    parts = folds(tmp_path, [CASES[1:3], [CASES[0], *CASES[3:5]]])
    manifest = pool(parts, tmp_path / "oof/predictions", tmp_path / "oof/runs.tsv")
    table = read_table(tmp_path / "oof/runs.tsv", text=("run",))
    assert table["case"].tolist() == CASES[:5]
    assert set(table["subset"]) == {"valid"}
    for case, run in zip(table["case"], table["run"], strict=True):
        found = tmp_path / "oof/predictions" / f"{case}.nii.gz"
        assert found.read_text() == f"{run} {case}"
        assert found.stat().st_ino == (tmp_path / run / f"{case}.nii.gz").stat().st_ino
    pd.testing.assert_frame_equal(manifest, manifest_of(tmp_path / "oof/predictions"))
    assert len(manifest) == 10  # volumes and probabilities, no pictures


def test_slices_of_a_split_by_slice_stay_apart(tmp_path):
    rows = [("ID_a_ID_1", "ID_a", s, z) for z, s in enumerate(("valid", "train", "test", "valid"))]
    table = pd.DataFrame(rows, columns=["case", "patient", "subset", "slice"])
    found = out_of_fold([Fold("x-f0-s1", table, tmp_path, pd.DataFrame())])
    assert found["slice"].tolist() == [0, 3]


def test_a_case_that_two_folds_validate_is_named(tmp_path):
    parts = folds(tmp_path, [CASES[:2], CASES[1:5]])
    with pytest.raises(InputError, match=rf"^split: .*{CASES[1]} .*x-f0-s1.*x-f1-s1"):
        pool(parts, tmp_path / "oof", tmp_path / "runs.tsv")
    assert not (tmp_path / "oof").exists()
    assert not (tmp_path / "runs.tsv").exists()


def summary(overlap: int) -> dict:
    """Four cases with five voxels of each class but EDH, predicted with this overlap."""
    reference, model = (np.zeros((6, 12, 1), np.uint8) for _ in range(2))
    for label in range(2, 6):
        reference[label, :5] = label
        model[label, 5 - overlap : 10 - overlap] = label
    volumes = {"model:x": model, "consensus": reference}
    rows = [
        row
        for case in CASES[:4]
        for row in PairScores(CaseLabels(case, case[:4], volumes, np.eye(4))).rows(
            [Pair("model:x", "consensus")]
        )
    ]
    return {"model": {"consensus": summarise(case_table(rows))}}


def test_scores_of_experiments_with_mean_and_spread_over_seeds():
    rows = [
        row
        for name, seed, overlap in (("a", 1, 1), ("a", 2, 3), ("b", 1, 4))
        for row in score_rows(name, seed, summary(overlap))
    ]
    table = pooled_table(rows)
    macro = table[table["class"] == "macro"].set_index(["experiment", "seed"])
    assert macro.loc[("a", 1), "dice_present"] == pytest.approx(0.2)
    assert macro.loc[("a", "mean"), "dice_present"] == pytest.approx(0.4)
    assert macro.loc[("a", "sd"), "dice_present"] == pytest.approx(0.2 * 2**0.5)
    assert ("b", "mean") not in macro.index  # of one seed there is no spread
    assert macro.loc[("b", 1), "n_present"] == 4
    edh = table[(table["class"] == "EDH") & (table["seed"] == 1)]
    assert edh["dice_present"].isna().all()
    assert edh["n_present"].tolist() == [0, 0]
    assert (table["n_cases"] == 4).all()
