"""The defaults of an installed package, whose config.yaml lies beside the module."""

import shutil
import subprocess
import sys


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
