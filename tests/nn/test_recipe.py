"""The recipe's records, its schema and what they refuse."""

import dataclasses
import typing

import jsonschema
import numpy as np
import pytest
import yaml

from mbhseg.errors import InputError
from mbhseg.nn.network import flexunet
from mbhseg.nn.network.models import FLEXUNET, RENAMED, build_model, up_to_date
from mbhseg.nn.recipe import TrainingRecipe
from mbhseg.nn.training.losses import LOSSES, METRICS
from mbhseg.nn.training.optimizers import make_optimizer
from mbhseg.provenance.code import closure
from tests.nn.conftest import build, network, recipe, training


@pytest.fixture(scope="module")
def schema(repo) -> dict:
    return yaml.safe_load((repo / "config/schemas/recipe.schema.yaml").read_text())


def walk(node: dict, kind: type, path: str):
    """(path, schema of the object, record) for a record and the records in it."""
    yield path, node, kind
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from walk(node["properties"][name], hint, f"{path}.{name}")


def test_schema_and_records_have_the_same_keys(schema):
    for path, node, kind in walk(schema["properties"]["training"], TrainingRecipe, "training"):
        fields = {field.name for field in dataclasses.fields(kind)}
        assert set(node["properties"]) == fields, path
        assert set(node["required"]) == fields, path


def test_schema_and_network_have_the_same_keys(schema):
    node = schema["properties"]["network"]
    outside = {"size", "channels", "classes", "dtype", "seed"}
    taken = set(typing.get_type_hints(flexunet.build)) - outside - {"return"}
    assert set(node["properties"]) - {"model", "options"} == taken
    assert set(node["properties"]["normalization"]["enum"]) == {None, *flexunet.NORMALIZATIONS}


def test_schema_is_closed_and_described_throughout(schema):
    jsonschema.Draft202012Validator.check_schema(schema)

    def check(node: dict, path: str) -> None:
        assert node.get("description"), path
        if node.get("type") == "object" and path != "network.options":
            assert node["additionalProperties"] is False, path
            for name, child in node["properties"].items():
                check(child, f"{path}.{name}" if path else name)

    for part in ("network", "training"):
        check(schema["properties"][part], part)


def test_schema_offers_what_the_code_has(schema):
    training = schema["properties"]["training"]["properties"]
    assert set(training["loss"]["properties"]["name"]["enum"]) == set(LOSSES)
    assert set(training["metrics"]["items"]["enum"]) == set(METRICS)
    for name in training["optimizer"]["properties"]["name"]["enum"]:
        for schedule in training["schedule"]["properties"]["name"]["enum"]:
            assert make_optimizer(
                recipe(optimizer={"name": name}).optimizer,
                recipe(schedule={"name": schedule}).schedule,
                steps_per_epoch=2,
                epochs=3,
            )


def test_records_have_no_defaults_of_their_own(schema):
    for _, _, kind in walk(schema["properties"]["training"], TrainingRecipe, "training"):
        for field in dataclasses.fields(kind):
            assert field.default is dataclasses.MISSING, f"{kind.__name__}.{field.name}"
            assert field.default_factory is dataclasses.MISSING, f"{kind.__name__}.{field.name}"


def test_from_config_nests_and_makes_tuples():
    found = recipe(epochs=3, loss={"name": "focal", "class_weights": [1, 1, 1, 1, 1, 1]})
    assert found.epochs == 3
    assert (found.loss.name, found.loss.class_weights) == ("focal", (1,) * 6)
    assert found.metrics == ()
    assert TrainingRecipe.from_config(dataclasses.asdict(found)) == found


@pytest.mark.parametrize(
    ("config", "where"),
    [({"epoch": 3}, "training.epoch"), ({"loss": {"nme": "dice"}}, "training.loss.nme")],
)
def test_unknown_keys_are_named(config, where):
    with pytest.raises(InputError, match=f"^{where}: .*no such key"):
        recipe(**config)


@pytest.mark.parametrize("path", ["epochs", "loss", "loss.gamma", "augmentation.blur"])
def test_missing_keys_are_named(path):
    config = training()
    *above, last = path.split(".")
    node = config
    for key in above:
        node = node[key]
    del node[last]
    with pytest.raises(InputError, match=rf"^training\.{path}: .*missing"):
        TrainingRecipe.from_config(config)


def test_cosine_warms_up_and_falls():
    optimizer = make_optimizer(
        recipe(optimizer={"learning_rate": 0.1}).optimizer,
        recipe(schedule={"name": "cosine", "warmup_epochs": 1, "final_fraction": 0.01}).schedule,
        steps_per_epoch=10,
        epochs=5,
    )
    rates = []
    for step in range(51):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    assert rates[0] == pytest.approx(0.001)
    assert rates[5] == pytest.approx(0.001 + 0.5 * 0.099, rel=1e-3)
    assert max(rates) == rates[10] == pytest.approx(0.1)
    assert rates[30] == pytest.approx(0.1 * (0.99 * 0.5 + 0.01), rel=1e-3)
    assert rates[50] == pytest.approx(0.001)


def test_optimizer_of_the_seed():
    seeds = {"name": "adam", "learning_rate": 5e-5, "clip_value": 0.5, "clip_norm": None}
    optimizer = make_optimizer(
        recipe(optimizer=seeds).optimizer,
        recipe(schedule={"name": "plateau"}).schedule,
        steps_per_epoch=2,
        epochs=3,
    )
    found = optimizer.get_config()
    assert found["learning_rate"] == pytest.approx(5e-5)
    assert (found["beta_1"], found["beta_2"]) == (0.9, 0.999)
    assert (found["clipvalue"], found["global_clipnorm"]) == (0.5, None)
    assert not found["use_ema"]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_is_decoupled_and_spares_offsets_and_scales(name):
    """Without a gradient w becomes w (1 - rate * decay) (Loshchilov and Hutter, 2019)."""
    import keras

    optimizer = make_optimizer(
        recipe(optimizer={"name": name, "learning_rate": 0.1, "weight_decay": 0.2}).optimizer,
        recipe(schedule={"name": "constant"}).schedule,
        steps_per_epoch=1,
        epochs=1,
    )
    model = build(size=8, levels=1, filters=2, normalization="instance")
    before = [np.array(weight) for weight in model.trainable_weights]
    still = [keras.ops.zeros_like(weight) for weight in model.trainable_weights]
    optimizer.apply(still, model.trainable_weights)
    for weight, old in zip(model.trainable_weights, before, strict=True):
        expected = old * (1 - 0.1 * 0.2) if weight.name == "kernel" else old
        np.testing.assert_allclose(np.array(weight), expected, rtol=1e-6)
    assert {weight.name for weight in model.trainable_weights} == {
        *("kernel", "bias", "gamma", "beta")
    }


def test_moving_average_follows_its_momentum():
    import keras

    sgd = {"name": "sgd", "learning_rate": 0.5, "momentum": 0.0, "weight_decay": 0}
    optimizer = make_optimizer(
        recipe(optimizer=sgd | {"clip_norm": None, "ema": 0.9}).optimizer,
        recipe(schedule={"name": "constant"}).schedule,
        steps_per_epoch=1,
        epochs=1,
    )
    weight = keras.Variable(np.array([1.0, 2.0], np.float32))
    values, average = np.array([1.0, 2.0]), np.array([0.5, 1.5])  # starts from the first step's
    optimizer.build([weight])
    for _ in range(3):
        optimizer.apply([keras.ops.ones((2,))], [weight])
        values = values - 0.5
        average = 0.9 * average + 0.1 * values
    np.testing.assert_allclose(np.array(weight), values, rtol=1e-5)
    optimizer.finalize_variable_values([weight])
    np.testing.assert_allclose(np.array(weight), average, rtol=1e-5)


def test_only_one_clip():
    with pytest.raises(InputError, match="clip_value"):
        make_optimizer(
            recipe(optimizer={"clip_value": 0.5, "clip_norm": 1.0}).optimizer,
            recipe().schedule,
            steps_per_epoch=1,
            epochs=1,
        )


def tiny(*, size: int, channels: int, classes: int, dtype: str, seed: int, width: int):
    """A model function as a user would write one."""
    import keras

    inputs = keras.Input((size, size, channels))
    hidden = keras.layers.Conv2D(width, 3, padding="same", dtype=dtype)(inputs)
    outputs = keras.layers.Conv2D(classes, 1, activation="softmax", dtype="float32")(hidden)
    return keras.Model(inputs, outputs)


def wrong_shape(*, size: int, channels: int, classes: int, dtype: str, seed: int):
    import keras

    inputs = keras.Input((size, size, channels))
    return keras.Model(inputs, keras.layers.MaxPooling2D()(inputs))


class TestModelByPath:
    """`network.model` may be any function that returns a Keras model."""

    @pytest.fixture(autouse=True)
    def importable(self, monkeypatch):
        """Stand in for a user's package `mine` with this module's functions."""
        import sys
        import types

        module = types.ModuleType("mine")
        module.tiny, module.wrong_shape = tiny, wrong_shape
        monkeypatch.setitem(sys.modules, "mine", module)

    def test_takes_the_options(self):
        own = network(model="mine.tiny", options={"width": 5})
        model = build_model(own, size=8, channels=3, classes=6)
        assert model.count_params() == 3 * 3 * 3 * 5 + 5 + 5 * 6 + 6

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"model": "mine.nothing"}, "cannot import mine.nothing"),
            ({"model": "nowhere.at_all"}, "cannot import nowhere.at_all"),
            ({"model": "mine.tiny", "options": {}}, "width"),
            ({"model": "mine.tiny", "options": {"wdth": 3}}, "wdth"),
            ({"model": "mine.wrong_shape"}, r"not \(None, 8, 8, 6\)"),
            ({"levels": 5}, "not divisible"),
        ],
    )
    def test_bad_models_are_refused(self, changes, message):
        with pytest.raises(InputError, match=message):
            build_model(network(**changes), size=8, channels=3, classes=6)

    def test_a_setting_left_out_is_named(self):
        half = network()
        del half["filters"]
        with pytest.raises(InputError, match=r"^network: .*filters"):
            build_model(half, size=8, channels=3, classes=6)

    @pytest.mark.parametrize("old", RENAMED)
    def test_the_path_of_an_earlier_version_is_flexunet(self, old):
        small = network(levels=2, filters=2)
        assert up_to_date({**small, "model": old}) == up_to_date(small) == small
        renamed, present = (
            build_model({**small, "model": path}, size=8, channels=3, classes=6, seed=3)
            for path in (old, FLEXUNET)
        )
        for one, other in zip(renamed.get_weights(), present.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_change_of_flexunet_is_a_change_of_the_training(self, repo):
        assert repo / "mbhseg/nn/network/flexunet.py" in closure(
            repo / "workflow_scripts/train_model.py"
        )
