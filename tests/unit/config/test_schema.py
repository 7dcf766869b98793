"""The configuration refuses what it does not know, and says what it would have understood."""

import copy
import re

import pytest
import yaml

from mbhseg.config import experiments, targets
from mbhseg.config import schema as settings
from mbhseg.config.run_names import Run
from mbhseg.errors import InputError


@pytest.fixture(scope="module")
def default(repo):
    return yaml.safe_load((repo / "config" / "config.yaml").read_text())


@pytest.fixture
def schemas(repo):
    return repo / "config" / "schemas"


def changed(config, path, value):
    config = copy.deepcopy(config)
    *above, last = path.split(".")
    node = config
    for key in above:
        node = node[key]
    node[last] = value
    return config


def test_the_networks_environment_follows_the_config(default):
    assert targets.train_env(default) == "train"
    assert targets.train_env(changed(default, "envs.train", "gpu")) == "train-gpu"


def test_the_default_is_valid(default, schemas):
    settings.check(default, schemas)


@pytest.mark.parametrize("preset", ["demo", "seed"])
def test_the_presets_are_valid(default, schemas, repo, preset):
    preset = yaml.safe_load((repo / "config" / f"{preset}.yaml").read_text())
    settings.check(experiments.merged(default, preset), schemas)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("slices.sise", 256, "slices.sise is not a key. Did you mean size?"),
        ("shard", 4, "shard is not a key. Did you mean shards?"),
        ("raters.method", "majorty", "raters.method is 'majorty'. Did you mean majority?"),
        ("training.optimizer.learning_rat", 1, "Did you mean learning_rate?"),
        (
            "slices.channels",
            ["brain", "subdral", "bone"],
            "no window subdral. Did you mean subdural?",
        ),
        ("slices.channels", ["brain", "bone"], "slices.channels names 2 windows"),
        ("slices.size", 500, "slices.size 500 is not divisible by"),
        (
            "training.gpus",
            3,
            "flexunet is not a multiple of training.gpus, 3",
        ),
        ("build.folds", [5], "fold 5 is not below split.folds, 5"),
        ("build.datasets", ["mbhseg24"], "mbhseg24 is not defined. Did you mean mbhseg25?"),
        ("build.experiments", ["flexnet"], "flexnet is not defined. Did you mean flexunet?"),
        ("raters.rater", 3, "raters.rater"),
        ("training.targets", "softly", "training.targets is 'softly'. Did you mean soft?"),
        ("training.deep_supervision", 5, "5 of experiment flexunet is above network.levels - 2, 4"),
        ("raters.method", "rater", "raters.rater"),
        ("split.by", "slice", "split.folds: 1"),
        ("datasets.mbhseg25.archive", {"path": "a.zip"}, "exactly one source"),
        ("datasets.mbhseg25.huggingface", None, "has none"),
        ("datasets.phantom.models_of", "mbhseg52", "not defined. Did you mean mbhseg25?"),
        ("datasets.phantom.models_of", "phantom", "phantom has no models of its own"),
        ("datasets.phantom.models_of", "mbhseg25_val", "mbhseg25_val has no models of its own"),
        ("datasets.phantom.model_of", "mbhseg25", "Did you mean models_of?"),
        ("envs.train", "gpus", "envs.train is 'gpus'. Did you mean gpu?"),
        ("shards", 0, "shards: 0 is less than the minimum"),
        ("foreign", {"flexunet": "there"}, "foreign.flexunet has the name of an experiment"),
        ("foreign", {"nn-unet": "there"}, "foreign: 'nn-unet' does not match"),
        ("postprocessing.min_mm", [1], "Did you mean min_ml?"),
        ("windows.brain", {"level": 40}, "windows.brain.width is missing"),
        ("experiments.flexunet", {"network": {"levls": 4}}, "Did you mean levels?"),
        ("experiments.flexunet", {"weights": "best_model.keras"}, "does not match"),
        (
            "experiments.flexunet",
            {"weights": "best_model.h5", "training": {"epochs": 3}},
            "experiments.flexunet has weights",
        ),
    ],
)
def test_a_fault_names_its_key_and_the_remedy(default, schemas, path, value, words):
    with pytest.raises(settings.ConfigError, match=re.escape(words)):
        settings.check(changed(default, path, value), schemas)


@pytest.mark.parametrize(
    ("path", "instead"),
    [
        ("slices.seed", "bleeding_plus"),
        ("training.summary", "results/summaries/"),
        ("experiments.flexunet", "results/summaries/"),
    ],
)
def test_a_key_of_an_older_config_says_what_to_do(default, schemas, path, instead):
    value = {"training": {"summary": True}} if path.startswith("experiments") else True
    with pytest.raises(
        settings.ConfigError, match=rf"{path}.* is gone\. Remove.*{instead}"
    ) as told:
        settings.check(changed(default, path, value), schemas)
    assert len(str(told.value).splitlines()) == 1


def test_raters_as_targets_need_their_masks(default, schemas):
    config = changed(default, "training.targets", "random_rater")
    settings.check(config, schemas)
    with pytest.raises(settings.ConfigError, match="random_rater of experiment flexunet needs"):
        settings.check(changed(config, "raters.masks", False), schemas)


def test_all_faults_are_told_at_once(default, schemas):
    wrong = changed(changed(default, "shard", 1), "slices.sise", 2)
    with pytest.raises(settings.ConfigError) as caught:
        settings.check(wrong, schemas)
    assert len(str(caught.value).splitlines()) == 2


def test_an_experiment_overrides_single_keys_and_leaves_the_rest(default):
    config = changed(default, "experiments.wide", {"network": {"filters": 99}})
    wide, plain = (experiments.recipe(config, name) for name in ("wide", "flexunet"))
    assert wide["network"].pop("filters") == 99
    plain["network"].pop("filters")
    assert wide == plain


def test_runs_are_the_product_of_experiments_folds_and_seeds(default):
    build = {"datasets": ["mbhseg25"], "experiments": ["a", "b"], "folds": [0, 2], "seeds": [1]}
    names = targets.runs({**default, "build": build})
    assert names == ["a-f0-s1", "a-f2-s1", "b-f0-s1", "b-f2-s1"]
    assert Run.parse("a-f2-s1") == ("a", 2, 1)
    with pytest.raises(ValueError, match="is not"):
        Run.parse("a-f2")


def test_words_from_the_command_line_become_what_the_schema_expects(default, schemas):
    words = {
        "slices": {"size": "256", "fraction": ".5", "channels": ["brain"]},
        "raters": {"rater": "null", "masks": "false", "ties": "lowest"},
        "build": {"folds": ["0", "1"], "datasets": ["1"]},
        "network": {"normalization": "null"},
        "datasets": {"mine": {"phantom": "null", "archive": {"path": "7"}}},
        "experiments": {"a": {"training": {"optimizer": {"learning_rate": "1e-3"}}}},
    }
    found = settings.typed(words, settings.schema(schemas))
    assert found["slices"] == {"size": 256, "fraction": 0.5, "channels": ["brain"]}
    assert found["raters"] == {"rater": None, "masks": False, "ties": "lowest"}
    assert found["build"] == {"folds": [0, 1], "datasets": ["1"]}
    assert found["network"] == {"normalization": None}
    assert found["datasets"]["mine"] == {"phantom": None, "archive": {"path": "7"}}
    optimizer = found["experiments"]["a"]["training"]["optimizer"]
    assert optimizer == {"learning_rate": 0.001}
    assert settings.typed(default, settings.schema(schemas)) == default


def test_keys_come_in_the_schemas_order(default, schemas):
    source = {"varied": True, "seed": 1, "slices": 4, "cases": 2, "size": 64}
    mixed = changed(default, "datasets.phantom.phantom", source)
    typed = settings.typed(mixed, settings.schema(schemas))
    keys = ["cases", "size", "slices", "seed", "varied"]
    assert list(typed["datasets"]["phantom"]["phantom"]) == keys
    assert typed == mixed


def test_a_set_is_tested_with_its_own_models_or_those_it_names(default):
    assert targets.models_of(default, "mbhseg25") == "mbhseg25"
    assert targets.models_of(default, "mbhseg25_val") == "mbhseg25"
    build = {**default["build"], "datasets": ["mbhseg25_val", "phantom"]}
    needed = targets.with_sources({**default, "build": build})
    assert needed == ["mbhseg25_val", "phantom", "mbhseg25"]


def test_one_window_makes_grey(default):
    grey = experiments.windows(changed(default, "slices.channels", ["seed"]))
    assert grey == [{"name": "seed", "level": 127.5, "width": 255}] * 3


def test_pictures_are_shown_in_the_brain_window_or_the_first_of_the_channels(default):
    brain = {"name": "brain", "level": 40, "width": 80}
    assert experiments.display_window(default) == brain
    own = {"bone": {"level": 600, "width": 2800}, "own": {"level": 50, "width": 90}}
    config = {**default, "windows": own, "slices": {**default["slices"], "channels": ["own"]}}
    assert experiments.display_window(config) == {"name": "own", "level": 50, "width": 90}


def leaves(node, path=()):
    for key, value in node.get("properties", {}).items():
        yield from leaves(value, (*path, key))
    if not node.get("properties"):
        yield path, node


def test_every_key_of_the_schema_is_described_and_commented_in_the_default(repo, schemas):
    text = (repo / "config" / "config.yaml").read_text().splitlines()
    for path, node in leaves(settings.schema(schemas)):
        if path[0] in ("datasets", "experiments", "windows"):
            continue
        assert node.get("description"), f"{'.'.join(path)} has no description in the schema"
        lines = [line for line in text if re.match(rf"\s*{path[-1]}:", line)]
        assert lines, f"{'.'.join(path)} is not in config/config.yaml"
        if len(path) > 1:
            assert any("#" in line for line in lines), f"{'.'.join(path)} has no comment"


def test_windows_are_named_in_the_order_of_the_config(default):
    named = experiments.named_windows(default)
    assert [window["name"] for window in named] == ["brain", "subdural", "bone", "seed"]
    assert named[1] == {"name": "subdural", "level": 75, "width": 215}


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ("results/mbhseg25/scans/flexunet-f0-s137/mine.nii.gz", True),
        ("results/mbhseg25/scans", True),
        ("results/mbhseg25", True),
        (".", True),
        ("link/mine.nii.gz", True),
        ("results/mbhseg25/raw/archive.zip", False),
        ("scans", False),
        ("../elsewhere", False),
    ],
)
def test_scans_among_the_predictions_are_refused(
    default, schemas, tmp_path, monkeypatch, given, refused
):
    (tmp_path / "here/results/mbhseg25/scans/run").mkdir(parents=True)
    (tmp_path / "here/link").symlink_to("results/mbhseg25/scans/run")
    monkeypatch.chdir(tmp_path / "here")
    for scans in (given, ["other", given]):
        config = changed(default, "scans", scans)
        if refused:
            with pytest.raises(settings.ConfigError, match=r"config: scans: .*results"):
                settings.check(config, schemas)
        else:
            settings.check(config, schemas)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("postprocess", "no", "true or false"),
        ("temperature", 2.0, "true or false"),
        ("mirror", 1, "true or false"),
        ("mirror", None, "true or false"),
        ("fit", "x", "one of auto, resize, tile"),
        ("precision", ["int8", "auto"], "one of model, auto"),
        ("threads", -1, "a whole number from 1"),
        ("threads", 1.5, "a whole number from 1"),
        ("threads", 2.0, "a whole number from 1"),
        ("threads", True, "a whole number from 1"),
        ("batch_size", 0, "a whole number from 1"),
        ("low_confidence", 7, "a number from 0 to 1"),
        ("low_confidence", float("nan"), "a number from 0 to 1"),
        ("low_confidence", float("inf"), "a number from 0 to 1"),
    ],
)
def test_a_wrong_value_of_a_section_is_named_by_its_key(default, schemas, key, value, wanted):
    given = default["inference"]
    settings.check_section("inference", given, schemas)
    with pytest.raises(InputError) as caught:
        settings.check_section("inference", given | {key: value}, schemas, lambda key: f"--{key}")
    assert caught.value.where == f"--{key}"
    assert repr(value) in caught.value.problem
    assert wanted in caught.value.remedy


@pytest.mark.parametrize("value", [0, 1, 0.25])
def test_a_number_may_be_whole(default, schemas, value):
    given = default["inference"] | {"low_confidence": value}
    settings.check_section("inference", given, schemas)
