"""The default configuration is config/config.yaml, wherever the package lies."""

import yaml

from mbhseg.config import schema
from mbhseg.config.defaults import defaults, schemas_folder


def test_defaults_are_the_repository_s_config_and_a_copy(repo):
    text = (repo / "config/config.yaml").read_text()
    first = defaults()
    assert first == yaml.safe_load(text)
    first["inference"]["batch_size"] = -1
    assert defaults()["inference"]["batch_size"] > 0


def test_they_fit_their_schemas():
    schema.check(defaults(), schemas_folder())
