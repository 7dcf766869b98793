"""`--use-conda` for real: environments made from envs/*.yaml, and every rule in its own.

Uses the `conda` of the machine, or that in the folder MBHSEG_CONDA, which .ci/conda can make.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.workspace import TINY, Workspace, assert_same_results

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def conda() -> dict[str, str]:
    """The environment of processes that find conda; skips if there is none."""
    folder = os.environ.get("MBHSEG_CONDA", "")
    path = f"{folder}:{os.environ['PATH']}" if folder else os.environ["PATH"]
    if not shutil.which("conda", path=path):
        pytest.skip("no conda on the PATH; MBHSEG_CONDA can name the folder of one")
    return os.environ | {"PATH": path}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("conda"))


def snakemake(workspace, conda, *words) -> str:
    command = [sys.executable, "-m", "snakemake", *words, "--configfile", str(TINY)]
    done = subprocess.run(
        command, cwd=workspace.root, env=conda, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout if "--containerize" in words else done.stdout + done.stderr


def test_containerize_writes_down_every_environment(workspace, conda):
    text = snakemake(workspace, conda, "--containerize")
    assert text.startswith("FROM ")
    for env in ("data", "train", "report"):
        (prefix,) = re.findall(rf"^COPY envs/{env}\.yaml (\S+)/environment\.yaml$", text, re.M)
        assert f"conda env create --prefix {prefix} --file {prefix}/environment.yaml" in text


def test_the_dag_runs_in_its_environments_with_the_same_results(workspace, conda, finished):
    cores = ("--use-conda", "--cores", "2")
    staged = snakemake(workspace, conda, *cores, "--conda-create-envs-only")
    assert staged.count("created (location:") == 3
    assert not (workspace.root / "results/tiny").exists()
    text = snakemake(workspace, conda, *cores)
    assert "Activating conda environment" in text
    assert "Creating conda environment" not in text
    # our own site-packages come after the environment's on sys.path; nothing may come from there
    used = (workspace.root / "results/tiny/models/flexunet-f0-s1/run.json").read_text()
    assert '"tensorflow"' in used
    assert_same_results(finished, workspace.root)
    assert "Nothing to be done" in snakemake(workspace, conda, *cores)


def test_every_script_finds_what_it_imports_in_its_own_environment(workspace, conda):
    """Run alone, as in a job Snakemake appends the controller's packages to the environment's."""
    prefixes = {}
    for made in (workspace.root / ".snakemake/conda").glob("*.yaml"):
        for env in ("data", "train", "report"):
            if made.read_text() == (workspace.root / f"envs/{env}.yaml").read_text():
                prefixes[env] = made.with_suffix("")
    assert len(prefixes) == 3
    scripts: dict[str, set[str]] = {env: set() for env in prefixes}
    for rules in (workspace.root / "rules").glob("*.smk"):
        for block in re.split(r"^rule ", rules.read_text(), flags=re.M)[1:]:
            if "script:" in block:
                env = re.search(r"envs/([\w{}]+)\.yaml", block).group(1)
                env = env.replace("{TRAIN_ENV}", "train")
                scripts[env].add(re.search(r"workflow_scripts/(\w+)\.py", block).group(1))
    for env, names in scripts.items():
        code = f"import sys; sys.path[:0] = [{str(workspace.root)!r}]\n"
        code += "".join(f"import workflow_scripts.{name}\n" for name in sorted(names))
        code += "print(*{getattr(m, '__file__', None) or '' for m in list(sys.modules.values())})"
        command = [prefixes[env] / "bin/python", "-I", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{env}: {done.stderr}"
        own = (str(prefixes[env]), str(workspace.root), "<")
        assert [f for f in done.stdout.split() if f and not f.startswith(own)] == []
