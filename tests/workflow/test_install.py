"""The package installed by pip works from any folder, without a checkout beside it."""

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mbhseg import __version__
from mbhseg.config.defaults import defaults
from mbhseg.imaging.nifti import load_labels
from tests.heads import blocks, head
from tests.nn.inference.test_bundle import model_folder
from tests.volumes import save_nifti
from tests.workspace import REPO

pytestmark = pytest.mark.slow
AFFINE = np.diag((-0.5, -0.5, 5.0, 1.0))


class Installed:
    """A virtual environment with the package's wheel, and a folder far from the checkout."""

    def __init__(self, root: Path) -> None:
        self.bin = root / "venv" / "bin"
        self.folder = root / "elsewhere"
        self.folder.mkdir(parents=True)
        self.run(sys.executable, "-m", "venv", root / "venv")
        # what it depends on is lent from this environment, which the lock made; of our own
        # editable installation nothing is seen, as .pth files there are not read
        (lent,) = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (own,) = (root / "venv").glob("lib/python*/site-packages")
        (own / "lent.pth").write_text(f"{lent}\n")
        self.run(
            *(self.bin / "python", "-m", "pip", "install", "--quiet", "--no-index"),
            *("--disable-pip-version-check", "--no-deps", "--no-build-isolation"),
            *("--ignore-installed", REPO),
        )

    def run(self, *words: str | Path) -> str:
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    environment = Installed(tmp_path_factory.mktemp("installed"))
    labels = blocks((40, 40, 6))
    save_nifti(environment.folder / "scan.nii.gz", nib.Nifti1Image(head(labels), AFFINE))
    save_nifti(environment.folder / "reference.nii.gz", nib.Nifti1Image(labels, AFFINE))
    model_folder(environment.folder / "model")
    return environment


def test_the_package_is_the_installed_one_and_brings_its_config(installed):
    code = (
        "import json, mbhseg; from mbhseg.config import defaults, schema; print(mbhseg.__file__);"
        "schema.check(defaults.defaults(), defaults.schemas_folder());"
        "print(json.dumps(defaults.defaults()))"
    )
    file, config = installed.run(installed.bin / "python", "-c", code).splitlines()
    assert Path(file).is_relative_to(installed.bin.parent)
    assert json.loads(config) == defaults()


def test_the_command_works_from_any_folder(installed):
    command = installed.bin / "mbhseg"
    assert installed.run(command, "--version") == f"mbhseg {__version__}\n"
    assert "no requirements.lock to compare with" in installed.run(command, "doctor")
    words = ("infer", "scan.nii.gz", "--model", "model", "--out", "predicted")
    assert "1 scans predicted, 0 failed" in installed.run(command, *words)
    labels, affine = load_labels(installed.folder / "predicted/scan.nii.gz")
    assert labels.shape == (40, 40, 6)
    np.testing.assert_array_equal(affine, AFFINE)
    assert (installed.folder / "predicted/report/index.html").is_file()
    assert "All " in installed.run(command, "compare", "predicted", "predicted")


def test_the_example_of_the_documentation_runs_there(installed):
    text = (REPO / "docs/api.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (installed.folder / "example.py").write_text(example)
    assert "(40, 40, 6) uint8" in installed.run(installed.bin / "python", "example.py")
