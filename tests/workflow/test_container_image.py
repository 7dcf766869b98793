"""The Dockerfile's image, built, and run as a careful site would: without rights or a network.

Registries of images may be out of reach, so Debian's packages make the base image. In place of it
MBHSEG_PULL_BASE=1 takes the one that the Dockerfile names. pip in the image installs the wheels
that this machine's pip downloads.
"""

import json
import os
import platform
import re
import sys

import pytest

from tests.workflow import containers
from tests.workspace import PARTS, REPO, TINY, assert_same_results

pytestmark = pytest.mark.slow

USER = 12345  # unknown to the image
IMAGE = "localhost/mbhseg"
UNPRIVILEGED = (
    *("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"),
    *("--user", f"{USER}:{USER}", "--passwd=false", "--env", "HOME=/", "--shm-size", "1g"),
)


@pytest.fixture(scope="module")
def podman():
    """Podman with the image of the Dockerfile; skips where that cannot be made."""
    docker = (REPO / "Dockerfile").read_text()
    base = re.search(r"^FROM (python:(\S+)-slim-(\w+))$", docker, re.MULTILINE)
    name, python, release = base.groups()
    if reason := containers.missing():
        pytest.skip(reason)
    if f"{sys.version_info.major}.{sys.version_info.minor}" != python:
        pytest.skip(f"the wheels for the image are those of python{python}, and this is another")
    with containers.podman() as podman:
        official = f"docker.io/library/{name}"
        if os.environ.get("MBHSEG_PULL_BASE") == "1":
            podman("pull", official)
        else:
            containers.debian_with_python(podman.root / "base.tar", release, python)
            podman("import", podman.root / "base.tar", official)
            (podman.root / "base.tar").unlink()
        if reason := podman.refused(official):
            pytest.skip(f"podman runs no container here: {reason}")
        wheels = podman.root / "wheels"
        containers.download_wheels(REPO / "requirements.lock", wheels)
        settings = podman.root / "pip.conf"
        settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        mounts = (f"{wheels}:/wheels:ro", f"{settings}:/etc/pip.conf:ro")
        podman.build(REPO, IMAGE, [word for mount in mounts for word in ("--volume", mount)])
        yield podman


def test_the_image_holds_what_it_needs_and_the_command(podman):
    listed = podman.run(IMAGE, "-A", "/opt/mbhseg", flags=("--entrypoint", "ls")).split()
    extra = {name for name in listed if not name.endswith(".egg-info")} - set(PARTS)
    assert extra == {"LICENSE", "README.md", "pyproject.toml", "requirements.lock"}
    text = podman.run(IMAGE, "--help", flags=(*UNPRIVILEGED, "--entrypoint", "mbhseg"))
    assert "infer" in text


def test_an_unknown_user_runs_the_read_only_image_with_the_same_results(podman, finished, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    os.chown(work, USER, USER)
    mounts = ("--volume", f"{work}:/work", "--volume", f"{TINY}:/tiny.yaml:ro")
    run = ("--cores", "2", "--configfile", "/tiny.yaml")
    text = podman.run(IMAGE, *run, flags=(*UNPRIVILEGED, *mounts))
    assert "(100%) done" in text
    assert {path.lstat().st_uid for path in work.rglob("*")} == {USER}
    assert "Nothing to be done" in podman.run(IMAGE, *run, flags=(*UNPRIVILEGED, *mounts))
    tiny = work / "results/tiny"
    python = json.loads((tiny / "models/flexunet-f0-s1/run.json").read_text())["versions"]["python"]
    for page in (*tiny.rglob("model_card.md"), tiny / "report/index.html"):
        page.write_text(page.read_text().replace(python, platform.python_version()))
    assert_same_results(finished, work)
