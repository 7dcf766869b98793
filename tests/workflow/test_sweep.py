"""A cross-validation in a real run: every training case is predicted out of fold."""

import pytest

from mbhseg.files import read_json, read_table
from mbhseg.split.partition import members


def test_oof_trains_the_folds_that_are_missing(finished):
    planned = finished.planned("oof")
    assert planned == {
        **{"train": 1, "infer": 1},  # fold 0 is there, for post-processing
        **{"pool": 1, "score_pool": 1, "oof_table": 1, "oof": 1},
    }


@pytest.mark.slow
def test_oof_predicts_and_scores_every_case_that_is_not_in_test(finished, tmp_path):
    workspace = finished.copied(tmp_path / "copy")
    workspace.snakemake("oof")
    root = workspace.root / "results/tiny"
    folds = [read_table(root / f"split/fold{k}.tsv") for k in (0, 1)]
    table = read_table(root / "oof/flexunet-s1/runs.tsv", text=("run",))
    runs = dict(zip(table["case"], table["run"], strict=True))
    for k, fold in enumerate(folds):
        for case in members(fold, "valid"):
            assert runs.pop(case) == f"flexunet-f{k}-s1"
            pooled = root / f"oof/flexunet-s1/predictions/{case}.nii.gz"
            own = root / f"predictions/flexunet-f{k}-s1/valid/{case}.nii.gz"
            assert pooled.read_bytes() == own.read_bytes()
    assert not runs
    cases = read_table(root / "oof/flexunet-s1/cases.csv")
    assert set(cases["case"]) == set(table["case"])
    summary = read_json(root / "oof/flexunet-s1/summary.json")
    assert summary["model"]["consensus"]["n_cases"] == len(table)
    scores = read_table(root / "oof/scores.csv", text=("experiment",))
    assert scores["class"].tolist() == ["EDH", "IPH", "IVH", "SAH", "SDH", "any", "macro"]
    assert set(scores["n_cases"]) == {len(table)}
    assert workspace.planned("oof") == {}
    assert workspace.planned() == {}
