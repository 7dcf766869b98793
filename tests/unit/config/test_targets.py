"""Files and names that the rules ask for, from the configuration alone."""

import re

import pytest

from mbhseg.config import targets
from mbhseg.config.defaults import defaults
from mbhseg.config.run_names import any_of


@pytest.fixture
def config():
    """An experiment that trains and one that imports, and a foreign system."""
    config = defaults()
    config["experiments"] = {"flexunet": {}, "theirs": {"weights": "best_model.h5"}}
    config["build"] |= {"experiments": ["flexunet", "theirs"], "folds": [2, 0]}
    config["foreign"] = {"nnunet": "there/{dataset}"}
    return config


def test_a_constraint_of_no_names_matches_nothing():
    assert re.fullmatch(any_of(["a", "b"]), "b")
    assert not re.search(any_of([]), "")


def test_runs_are_told_by_whether_they_import(config):
    trained, imported = (targets.run_pattern(config, imported=kind) for kind in (False, True))
    assert re.fullmatch(trained, "flexunet-f0-s1")
    assert not re.fullmatch(trained, "theirs-f0-s1")
    assert re.fullmatch(imported, "theirs-f0-s1")
    assert targets.weights_of(config, "theirs-f0-s1") == "best_model.h5"
    assert targets.weights_of(config, "flexunet-f0-s1") is None
    config["experiments"].pop("theirs")
    assert not re.fullmatch(targets.run_pattern(config, imported=True), "-f0-s1")


def test_a_run_has_the_inputs_that_its_recipe_asks_for(config):
    run = "flexunet-f3-s1"
    assert targets.fold_table(config, "a", run) == "results/a/split/fold3.tsv"
    assert targets.fold_table(config, "a", "nnunet") == "results/a/split/fold2.tsv"
    assert targets.probe_table(config, run) == []
    assert targets.annotation_table(config, "a", run) == []
    config["training"] |= {"batch": "probe", "targets": "soft"}
    assert targets.probe_table(config, run) == "results/probes/flexunet.json"
    assert targets.annotation_table(config, "a", run) == "results/a/annotations.tsv"


def test_an_external_set_takes_models_and_folds_from_another(config):
    assert targets.trained_on(config, "mbhseg25") == []
    assert targets.trained_on(config, "mbhseg25_val") == ["mbhseg25"]
    assert "mbhseg25_val" not in targets.own_sets(config)
    model = targets.model_file(config, "mbhseg25_val", "r", "model.keras")
    assert model == "results/mbhseg25/models/r/model.keras"
    config["split"]["file"] = "mine.tsv"
    assert targets.split_file(config, "mbhseg25") == "mine.tsv"
    assert targets.split_file(config, "mbhseg25_val") == []
    settings = targets.reported_settings(config, "mbhseg25_val")
    assert list(settings["datasets"]) == ["mbhseg25_val", "mbhseg25"]
    assert "checkpoint" not in settings


def test_postprocessing_is_chosen_for_runs_that_are_ours(config):
    run = "flexunet-f0-s1"
    chosen = targets.chosen_postprocessing(config, "phantom", run)
    assert chosen == f"results/phantom/models/{run}/postprocess.json"
    assert targets.chosen_postprocessing(config, "phantom", "nnunet") == []
    config["postprocessing"]["enabled"] = False
    assert targets.chosen_postprocessing(config, "phantom", run) == []


def test_an_ensemble_has_the_files_of_all_its_runs(config):
    files = targets.member_files(config, "a", "flexunet-ensemble", "run.json")
    assert files == [f"results/a/models/flexunet-f{fold}-s137/run.json" for fold in (2, 0)]
    config["inference"]["temperature"] = False
    assert targets.member_files(config, "a", "flexunet-f0-s1", "c.json", "temperature") == []
    assert targets.fold_runs(config, "flexunet", "7") == [f"flexunet-f{k}-s7" for k in range(5)]
