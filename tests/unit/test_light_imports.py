"""Predicting loads its backend only when a model is loaded: nothing heavy comes at import."""

import subprocess
import sys

import pytest

CODE = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [module.name for module in pkgutil.walk_packages(package.__path__, sys.argv[1] + ".")]
for name in names:
    importlib.import_module(name)
heavy = {"tensorflow", "keras", "openvino"} & {name.split(".")[0] for name in sys.modules}
print(len(names), *sorted(heavy))
"""


@pytest.mark.parametrize("package", ["mbhseg.inference", "mbhseg.scans"])
def test_importing_every_module_loads_no_backend(package, repo):
    command = [sys.executable, "-c", CODE, package]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=repo)
    count, *heavy = done.stdout.split()
    assert int(count) > 5
    assert heavy == []
