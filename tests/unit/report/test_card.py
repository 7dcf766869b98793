"""The model card: numbers from the files, limits from the numbers."""

import re
from pathlib import Path

import pytest

from mbhseg.classes import ANY, KEYS
from mbhseg.files import read_json
from mbhseg.report.card import limits, write_card

RUN = "flexunet-f0-s137"


@pytest.fixture(scope="module")
def card(results: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("card") / "model_card.md"
    write_card(
        path,
        "phantom",
        results / f"models/{RUN}/run.json",
        results / f"evaluation/{RUN}/summary.json",
        results / "inventory/cases.tsv",
        results / "raw/source.json",
        trained_on="elsewhere",
    )
    return path.read_text()


def test_card_has_use_data_scores_and_limits(card, results):
    headings = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert headings == ["Intended use", "Data", "Scores", "Limits", "How it was made"]
    assert card.startswith("---\nlibrary_name: keras\n")
    assert f"# {RUN} on phantom" in card
    assert read_json(results / "raw/source.json")["sha256"] in card
    assert "CPU <2 cores>" not in card  # what is said of the machine is in run.json
    assert "&" not in card  # Markdown, not HTML
    assert "Trained on `elsewhere`, fold 0: 42 slices" in card
    assert "Scored on `phantom`" in card
    assert "1,234,567 parameters" in card


def test_scores_of_the_card_are_those_of_the_evaluation(card, results):
    summary = read_json(results / f"evaluation/{RUN}/summary.json")
    model, others = summary["model"]["consensus"], summary["ceiling"]["others"]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in card.splitlines()
        if line.startswith("| ") and line.split("|")[1].strip() in (*KEYS, ANY)
    ]
    assert len(rows) == 2 * len((*KEYS, ANY))
    for table, score, n in (
        (rows[:6], "dice_present", "n_present"),
        (rows[6:], "dice_nnunet", "n_scored"),
    ):
        for row in table:
            found, human = model["classes"][row[0]], others["classes"][row[0]]
            assert row[1] == str(found[n])
            shown = "–" if found[score] is None else f"{found[score]:.3f}"
            assert row[2].split(" ")[0] == shown
            assert row[-2] == str(human[n])


def test_limits_name_what_the_scores_warn_of(results):
    summary = read_json(results / f"evaluation/{RUN}/summary.json")
    classes = summary["model"]["consensus"]["classes"]
    for entry in classes.values():
        entry |= {"n_present": 30, "n_missed": 0, "n_absent": 20, "n_spurious": 1}
        entry |= {"specificity": 0.95}
    summary["calibration"] = {"classes": {}}
    assert limits(summary, {"kind": "archive"}) == []
    classes["EDH"] |= {"n_present": 1, "n_missed": 1}
    classes["SAH"] |= {"specificity": 0.5, "n_spurious": 10}
    summary["calibration"] = None
    warned = limits(summary, {"kind": "phantom"})
    expected = [
        r"generated heads, not .*patients",
        r"epidural hemorrhage: only 1 test case has it",
        r"epidural hemorrhage: missed .* 1 of 1 cases",
        r"subarachnoid hemorrhage: false positive in 10 of 20 cases without it",
        r"calibration .* not measured",
    ]
    assert len(warned) == len(expected)
    for pattern, warning in zip(expected, warned, strict=True):
        assert re.search(pattern, warning), warning
