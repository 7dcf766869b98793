"""Comparison of runs: means, spread and paired differences, against plain loops."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mbhseg.classes import KEYS
from mbhseg.evaluation import compare_runs
from mbhseg.evaluation.agreement import CONSENSUS
from mbhseg.files import read_table, write_table
from mbhseg.metrics.pairs import CaseLabels, Pair, PairScores
from mbhseg.metrics.summary import score_table, summarise

RUNS = ("flex-f0-s1", "flex-f1-s1", "other-f0-s1", "nnunet")


def tables() -> dict[str, pd.DataFrame]:
    """cases.csv of four systems on the same nine cases of eight patients."""
    rng = np.random.default_rng(4)
    found = {run: [] for run in RUNS}
    for n in range(9):
        truth = np.zeros((6, 6, 2), np.uint8)
        truth[:3, :3], truth[4:, 2:] = 2 * (n % 4 > 0), 5 * (n % 3 > 0)
        for quality, run in enumerate(RUNS, start=1):
            wrong = rng.random(truth.shape) < 0.5 / quality
            volumes = {CONSENSUS: truth, "rater1": truth, run: np.where(wrong, 0, truth)}
            labels = CaseLabels(f"p{min(n, 7)}_{n}", f"p{min(n, 7)}", volumes, np.eye(4))
            pairs = [Pair(run, CONSENSUS), Pair(run, "rater1")]
            found[run] += PairScores(labels).rows(pairs)
    return {run: score_table(rows) for run, rows in found.items()}


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> dict[str, pd.DataFrame]:
    folder: Path = tmp_path_factory.mktemp("contrast")
    cases, processed = {}, {}
    for run, table in tables().items():
        cases[run], processed[run] = folder / f"{run}.csv", folder / f"{run}-post.csv"
        write_table(cases[run], table)
        # pretend that post-processing helped one run and was not there for the others
        better = table.assign(dice=table["dice"].clip(lower=0.9))
        write_table(processed[run], better if run == RUNS[0] else table.iloc[:0])
    out = {f"out_{name}": folder / f"{name}.csv" for name in ("runs", "experiments", "differences")}
    compare_runs.run(cases, processed, **out)
    return {name.removeprefix("out_"): read_table(path) for name, path in out.items()}


def chosen(table: pd.DataFrame, **names) -> pd.DataFrame:
    for name, value in names.items():
        table = table[table[name] == value]
    return table


RAW = {"candidate": "raw", "reference": CONSENSUS}


def test_runs_have_the_means_of_their_summaries(compared):
    held = tables()
    for run in RUNS:
        summary = summarise(held[run][held[run]["reference"] == CONSENSUS])
        rows = chosen(compared["runs"], run=run, **RAW).set_index(["class", "score"])
        for key in (*KEYS, "any"):
            for score in ("dice_present", "nsd_2mm", "specificity"):
                expected = summary["classes"][key][score]
                assert rows.loc[(key, score), "mean"] == pytest.approx(expected, nan_ok=True)
        macro = rows.loc[("macro", "dice_nnunet")]
        assert macro["mean"] == pytest.approx(summary["macro"]["dice_nnunet"])
        assert [macro["low"], macro["high"]] == pytest.approx(
            summary["macro"]["intervals"]["dice_nnunet"]
        )
    first = compared["runs"].drop_duplicates("run").set_index("run")
    assert list(first["experiment"]) == ["flex", "flex", "other", "nnunet"]
    assert first.loc["flex-f1-s1", "fold"] == 1
    assert np.isnan(first.loc["nnunet", "fold"])


def test_experiments_have_mean_and_spread_over_their_runs(compared):
    by_run = chosen(compared["runs"], score="dice_present", **RAW, **{"class": "SDH"})
    row = chosen(compared["experiments"], score="dice_present", **RAW, **{"class": "SDH"})
    row = row.set_index("experiment").loc["flex"]
    means = by_run[by_run["experiment"] == "flex"]["mean"]
    assert (row["n_runs"], row["mean"]) == (2, pytest.approx(means.mean()))
    assert row["sd"] == pytest.approx(means.std())
    assert (row["min"], row["max"]) == (means.min(), means.max())
    assert row["low"] < row["mean"] < row["high"]


def test_differences_are_paired(compared):
    rows = chosen(compared["differences"], level="run", score="dice_present", **RAW)
    assert len(rows[["first", "second"]].drop_duplicates()) == 6
    row = chosen(rows, first=RUNS[0], second=RUNS[3], **{"class": "SDH"}).iloc[0]
    held = tables()
    by_case = [
        chosen(held[run], reference=CONSENSUS, **{"class": "SDH"}).set_index("case")
        for run in (RUNS[0], RUNS[3])
    ]
    drawn = by_case[0]["reference_voxels"] > 0
    gap = (by_case[0]["dice"] - by_case[1]["dice"])[drawn]
    assert row["difference"] == pytest.approx(gap.mean())
    assert row["difference"] == pytest.approx(row["first_mean"] - row["second_mean"])
    assert (row["n_cases"], row["n_patients"]) == (6, 5)
    assert row["low"] < gap.mean() < row["high"] < 0
    experiments = chosen(compared["differences"], level="experiment")
    assert set(experiments["first"]) == {"flex", "other"}
    macro = chosen(rows, first=RUNS[0], second=RUNS[3], **{"class": "macro"}).iloc[0]
    assert macro["low"] < macro["difference"] < macro["high"] < 0


def test_post_processing_is_held_against_the_raw_labels(compared):
    rows = chosen(compared["differences"], level="postprocessing", score="dice_nnunet")
    assert set(zip(rows["first"], rows["second"], strict=True)) == {(RUNS[0] + "+post", RUNS[0])}
    assert (rows["difference"].dropna() >= 0).all()
    assert rows["difference"].max() > 0
    assert set(compared["runs"].query("candidate == 'processed'")["run"]) == {RUNS[0]}
