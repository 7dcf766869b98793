"""A workspace of the workflow for whole runs."""

from pathlib import Path

import pytest
import yaml

from tests.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("e2e"))


@pytest.fixture(scope="module")
def real_config(real_ct, workspace) -> Path:
    """The config of the real CT run with the archive's path filled in."""
    config = yaml.safe_load((Path(__file__).parent / "real_ct.yaml").read_text())
    archive = real_ct / "MBH_Train_2025_voxel-label.zip"
    config["datasets"] = {"real_ct": {"archive": {"path": str(archive)}}}
    path = workspace.root / "real_ct.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
