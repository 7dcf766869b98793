"""A bundle of data, code and wheels runs the whole DAG on a machine without a network."""

import shutil
import subprocess
import sys

import pytest

from tests.workspace import REPO, TINY, assert_same_results

pytestmark = pytest.mark.slow
ALONE = ("unshare", "--net", "--map-root-user")  # a network namespace of its own: no route, no lo


@pytest.fixture(scope="module")
def alone() -> tuple[str, ...]:
    """Words before a command that cut it off from every network; skips if that is refused."""
    for words in (ALONE[:2], ALONE):
        if shutil.which("unshare") and not subprocess.run([*words, "true"], check=False).returncode:
            return words
    pytest.skip("no network namespaces here: they need Linux, and root or user namespaces")


def run(*words, cwd) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_bundle_installs_and_runs_with_the_network_cut(alone, finished, tmp_path):
    if not (REPO / ".git").exists():
        pytest.skip("no git checkout: the bundle takes what git tracks")
    model = finished.root / "results/tiny/models/flexunet-f0-s1"
    bundle = tmp_path / "bundle"
    words = [sys.executable, REPO / "tools/bundle.py", bundle, "--configfile", TINY]
    run(*words, "--weights", model, cwd=tmp_path)
    assert (bundle / "mbhseg/weights/flexunet-f0-s1/model.keras").is_file()
    run("sha256sum", "--quiet", "--check", "SHA256SUMS", cwd=bundle)
    again = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "is not empty" in again.stderr

    socket = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    cut = subprocess.run([*alone, sys.executable, "-c", socket], capture_output=True, check=False)
    assert b"Network is unreachable" in cut.stderr
    run(*alone, "sh", "install.sh", sys.executable, cwd=bundle)
    engine = [bundle / "mbhseg/.venv/bin/snakemake", "--cores", "2"]
    text = run(*alone, *engine, "--configfile", TINY, cwd=bundle / "mbhseg")
    assert "rule make_phantom" not in text  # its archive came with the bundle
    assert_same_results(finished, bundle / "mbhseg")
