"""A job refuses to run with another library than its workflow's."""

import subprocess
import sys

import pytest

CODE = """\
import sys
from types import SimpleNamespace
from mbhseg.runtime.job import run

job = SimpleNamespace(log=["job.log"], rule="x", threads=1, scriptdir=sys.argv[1])
run(lambda job: print("done"), job)
"""


@pytest.mark.parametrize(
    ("folders", "status", "told"),
    [
        (["mbhseg", "workflow_scripts"], 1, "pip uninstall mbhseg"),
        (["workflow_scripts"], 0, "done"),  # nothing beside it, as where another workflow caches it
    ],
)
def test_the_library_must_be_the_one_beside_the_scripts(repo, tmp_path, folders, status, told):
    for folder in folders:
        (tmp_path / folder).mkdir()
    words = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(repo)!r}]\n{CODE}"]
    done = subprocess.run([*words, tmp_path / "workflow_scripts"], cwd=tmp_path, check=False)
    assert done.returncode == status
    assert told in (tmp_path / "job.log").read_text()


def test_the_checkout_s_own_scripts_run(repo, tmp_path):
    words = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(repo)!r}]\n{CODE}"]
    subprocess.run([*words, repo / "workflow_scripts"], cwd=tmp_path, check=True)
    assert (tmp_path / "job.log").read_text() == "done\n"
