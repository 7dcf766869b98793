"""Every default of the Python side that has a key's name has the value of config/config.yaml."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from mbhseg.cli.main import parser
from mbhseg.config import schema
from mbhseg.config.defaults import defaults, schemas_folder

# of each package, the sections of the config that its parameters are named after
SECTIONS = {
    "mbhseg.nn": ("network", "training", "checkpoint"),
    "mbhseg.inference": ("inference",),
    "mbhseg.scans": ("inference",),
}
# parameters whose name is another one than their key's
KEYS = {
    ("mbhseg.nn", "checkpoint_minutes"): "checkpoint.minutes",
    ("mbhseg.nn", "devices"): "training.gpus",
    ("mbhseg.inference", "batch"): "inference.batch_size",
    ("mbhseg.inference", "calibrated"): "inference.temperature",
    ("mbhseg.inference", "processed"): "inference.postprocess",
    ("mbhseg.scans", "batch"): "inference.batch_size",
    ("mbhseg.scans", "pictures"): "inference.overlays",
}
OTHERS = {
    "mbhseg.nn.feed.store.open_store.threads": "decodes the same arrays with any number",
    "mbhseg.inference.predictor.Predictor.load.temperature": "the temperature itself, not whether",
}


def leaves(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value


def parameters(package: str) -> Iterator[tuple[str, inspect.Parameter]]:
    """The parameters with a default of all functions and classes of a package, by dotted path."""
    folder = importlib.import_module(package).__path__
    for info in pkgutil.walk_packages(folder, f"{package}."):
        module = importlib.import_module(info.name)
        for name, thing in vars(module).items():
            if getattr(thing, "__module__", None) != module.__name__ or not callable(thing):
                continue
            if inspect.isclass(thing) and issubclass(thing, Exception):
                continue  # those of Python have no signature
            members = {name: thing}
            if inspect.isclass(thing):
                own = {k: getattr(v, "__func__", v) for k, v in vars(thing).items()}
                members |= {f"{name}.{k}": v for k, v in own.items() if k[0] != "_" and callable(v)}
            for of, function in members.items():
                for parameter in inspect.signature(function).parameters.values():
                    if parameter.default is not inspect.Parameter.empty:
                        yield f"{info.name}.{of}.{parameter.name}", parameter


def other_defaults(package: str) -> dict[str, str]:
    """The parameters whose default differs from their key's: what each should be."""
    config = defaults()
    keys = [leaf for section in SECTIONS[package] for leaf in leaves(config[section], section)]
    other = {}
    for path, parameter in parameters(package):
        wanted = KEYS.get((package, parameter.name))
        values = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in keys
            if key == wanted or (wanted is None and key.split(".")[-1] == parameter.name)
        }
        if values and parameter.default not in values.values():
            other[path] = f"{path} is {parameter.default!r}, and config.yaml has {values}"
    return other


@pytest.mark.parametrize("package", SECTIONS)
def test_defaults_in_the_code_are_those_of_the_config(package):
    other = other_defaults(package)
    assert not [text for path, text in other.items() if path not in OTHERS]


def test_a_default_that_differs_is_found(monkeypatch):
    from mbhseg.scans.pipeline import Settings

    def other(self, low_confidence=0.5):
        """In place of the settings of scans, with a threshold of its own."""

    monkeypatch.setattr(Settings, "__init__", other)
    monkeypatch.delattr(Settings, "__signature__", raising=False)
    assert "mbhseg.scans.pipeline.Settings.low_confidence" in other_defaults("mbhseg.scans")


def test_options_of_the_command_line_have_the_configs_defaults():
    options = vars(parser().parse_args(["infer", "scan", "--model", "model", "--out", "out"]))
    config = defaults()["inference"]
    assert config.keys() <= options.keys()
    assert {key: options[key] for key in config} == config


def test_they_are_the_callers_own():
    mine = defaults()
    mine["training"]["epochs"] = -1
    assert defaults()["training"]["epochs"] > 0


def test_they_are_the_whole_file(repo):
    assert defaults() == yaml.safe_load((repo / "config" / "config.yaml").read_text())


def test_they_are_a_copy():
    defaults()["inference"]["batch_size"] = -1
    assert defaults()["inference"]["batch_size"] > 0


def test_they_fit_their_schemas():
    schema.check(defaults(), schemas_folder())
