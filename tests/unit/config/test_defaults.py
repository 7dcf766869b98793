"""Defaults are read from config/config.yaml, in a checkout and in an installed package."""

import shutil
import subprocess
import sys

import yaml

from mbhseg.config import defaults


def test_the_defaults_are_those_of_the_file_and_the_callers_own(repo):
    given = defaults.defaults()
    assert given == yaml.safe_load((repo / "config/config.yaml").read_text())
    given["slices"]["size"] = 1
    assert defaults.defaults()["slices"]["size"] != 1
    assert (defaults.folder() / "schemas/config.schema.yaml").is_file()


def test_an_installed_package_takes_its_own_copy(repo, tmp_path):
    """Also where some other package has left a folder called config beside it."""
    package = tmp_path / "mbhseg"
    (package / "config").mkdir(parents=True)
    for name in ("__init__.py", "config/__init__.py", "config/defaults.py"):
        shutil.copy(repo / "mbhseg" / name, package / name)
    (package / "config/config.yaml").write_text("shards: 7\n")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("shards: 8\n")
    code = "from mbhseg.config.defaults import defaults; print(defaults())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "{'shards': 7}"
