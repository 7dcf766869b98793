"""An experiment with imported weights of the reference project: scored and shown, not trained."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from mbhseg.files import read_json, read_table, sha256
from mbhseg.imaging.png import read_image
from mbhseg.nn.network.saving import load_model
from tests.nn.seed_reference import Settings, draw_weights, moderate, run, write_h5
from tests.workspace import TINY, Workspace

SEEDS = Settings(levels=3, filters=2, kernel=5, activation="elu", size=64)
NAME = "theirs-f0-s1"
MODEL = f"results/tiny/models/{NAME}"


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Path:
    """The tiny config with an imported experiment beside the trained one."""
    config = yaml.safe_load(TINY.read_text())
    config["build"]["experiments"] = ["flexunet", "theirs"]
    network = {**SEEDS.network(), "background_prior": None}
    config["experiments"] = {
        "flexunet": {},
        "theirs": {"weights": "best_model.h5", "network": network},
    }
    path = tmp_path_factory.mktemp("config") / "mine.yaml"
    path.write_text(yaml.safe_dump(config))  # sorted keys must retrain nothing
    return path


@pytest.fixture(scope="module")
def copied(finished, tmp_path_factory) -> Workspace:
    """A copy of the finished workspace with a weight file of the reference project."""
    workspace = finished.copied(tmp_path_factory.mktemp("imported") / "copy")
    images, weights = images_of(workspace), draw_weights(SEEDS, seed=4)
    moderate(SEEDS, weights, images)
    write_h5(workspace.root / "best_model.h5", SEEDS, weights)
    return workspace


def images_of(workspace: Workspace) -> np.ndarray:
    table = read_table(workspace.root / "results/tiny/dataset.tsv")
    names = table[table["subset"] == "test"]["image"].iloc[:4]
    return np.stack([read_image(workspace.root / "results/tiny" / name) for name in names])


@pytest.mark.slow
def test_it_is_imported_and_predicts_what_the_seed_would(copied, mine):
    planned = copied.planned(config=mine)
    assert planned["import_weights"] == 1
    assert planned["evaluate"] == 1
    assert "train" not in planned
    copied.snakemake(f"{MODEL}/model.keras", config=mine)
    weights, images = draw_weights(SEEDS, seed=4), images_of(copied)
    moderate(SEEDS, weights, images)
    found = load_model(copied.root / MODEL / "model.keras").predict_on_batch(images)
    np.testing.assert_allclose(found, run(SEEDS, weights, images), atol=1e-4)
    assert sorted(path.name for path in (copied.root / MODEL).iterdir()) == [
        "manifest.tsv",
        "model.keras",
        "run.json",
    ]
    record = read_json(copied.root / MODEL / "run.json")
    assert record["imported"]["sha256"] == sha256(copied.root / "best_model.h5")


@pytest.mark.slow
def test_it_is_predicted_scored_shown_and_verified(copied, mine):
    text = copied.snakemake(config=mine)
    assert "rule train" not in text
    root = copied.root / "results/tiny"
    cases = read_table(root / f"evaluation/{NAME}/cases.csv")
    assert set(cases["candidate"]) == {f"model:{NAME}"}
    pages = "".join(path.read_text() for path in (root / "report").rglob("*.html"))
    assert "imported from best_model.h5, not trained here" in pages
    card = (root / f"evaluation/{NAME}/model_card.md").read_text()
    assert "Weights imported from `best_model.h5`" in card
    verified = read_table(root / "verified.tsv")
    assert set(verified["status"]) == {"ok"}
    assert f"models/{NAME}/model.keras" in set(verified["file"])
    assert "Nothing to be done" in copied.snakemake(config=mine)


@pytest.mark.slow
def test_another_file_is_imported_anew(copied, mine):
    write_h5(copied.root / "best_model.h5", SEEDS, draw_weights(SEEDS, seed=5))
    planned = copied.planned(config=mine)
    assert planned["import_weights"] == 1
    assert "train" not in planned


@pytest.mark.slow
def test_a_file_that_does_not_fit_is_a_line_in_the_log(copied, mine):
    other = Settings(levels=3, filters=2, kernel=3, activation="elu", size=64)
    write_h5(copied.root / "best_model.h5", other, draw_weights(other, seed=5))
    copied.snakemake(f"{MODEL}/model.keras", config=mine, ok=False)
    log = (copied.root / f"results/logs/tiny/import_weights/{NAME}.log").read_text()
    assert "Set network.kernel: 3" in log
    assert "Traceback" not in log


def test_a_file_that_is_not_there_is_named(finished, mine):
    text = finished.snakemake("-n", config=mine, ok=False)
    assert "best_model.h5" in text
    assert "Traceback" not in text
