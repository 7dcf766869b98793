"""A workspace with a finished tiny run, on the real engine."""

import pytest

from tests.workspace import Workspace


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workspace:
    """The tiny run, done once; tests that change it put it back."""
    workspace = Workspace(tmp_path_factory.mktemp("workflow"))
    workspace.snakemake()
    return workspace
