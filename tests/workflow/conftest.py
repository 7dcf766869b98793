"""A workspace with a finished tiny run, on the real engine."""

import pytest

from tests import no_internet
from tests.workspace import Workspace


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workspace:
    """The tiny run, done once; tests that change it put it back.

    After `fetch`, no process of it can open an internet socket.
    """
    workspace = Workspace(tmp_path_factory.mktemp("workflow"))
    workspace.snakemake("fetch")
    workspace.snakemake(offline=no_internet.available())
    return workspace
