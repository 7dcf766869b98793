"""Fixtures for all tests."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import no_internet
from tests.workspace import Workspace

# a busy machine is no fault of the code: no test asserts a wall time
settings.register_profile(
    "no_wall_time", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("no_wall_time")

REPO = Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True)  # before xdist reads the marks: its own hook comes first otherwise
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Share the tests out between processes by file, those of one finished run together.

    That is the workflow's, and the one whose report is tested. A slow test's file stays whole: it
    takes longer than another finished run, and its tests may build on each other. The longest
    groups go first, or one process would still be at them when the others are done: that of the
    workflow, then those that train, then those of many tests.
    """
    groups = {item: _group(item) for item in items}
    sizes = Counter(groups.values())
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(
        key=lambda item: (
            groups[item] != "finished",
            not item.path.is_relative_to(REPO / "tests/nn"),
            -sizes[groups[item]],
        )
    )
    return (yield)


def _group(item: pytest.Item) -> str:
    quick = item.get_closest_marker("slow") is None
    if quick and "finished" in getattr(item, "fixturenames", ()):
        return "finished"
    return "report" if item.path.parent.name == "report" else item.path.name


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name files' bytes by their argument: archives hold the time, and processes must agree."""
    return argname if isinstance(val, bytes) and len(val) > 20 else None


@pytest.hookimpl(tryfirst=True)  # before fixtures, which are where the time goes
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave the slow tests out that are not begun in time, so that a slow machine's CI can end."""
    until = float(os.environ.get("MBHSEG_SLOW_TESTS_UNTIL", "inf"))
    if item.get_closest_marker("slow") and time.time() > until:
        pytest.skip("no time left on this machine (MBHSEG_SLOW_TESTS_UNTIL)")


@pytest.fixture(scope="session")
def repo() -> Path:
    """The repository's root."""
    return REPO


@pytest.fixture(scope="session")
def real_ct() -> Path:
    """The folder of real CT slices and the eight-case archive; skips where it is not there."""
    folder = Path(os.environ.get("MBHSEG_REAL_CT", REPO.parent / "shared" / "real_ct"))
    if not (folder / "slices").is_dir():
        pytest.skip(f"no real CT data at {folder}; set MBHSEG_REAL_CT to its folder")
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workspace:
    """The tiny run, done once on the real engine; tests that change it put it back.

    After `fetch`, no process of it can open an internet socket.
    """
    workspace = Workspace(tmp_path_factory.mktemp("workflow"))
    workspace.snakemake("fetch")
    workspace.snakemake(offline=no_internet.available())
    return workspace
