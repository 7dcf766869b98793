"""What the jobs really load and read of the code, held against what their digests cover."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from mbhseg.provenance import code
from tests.workspace import Workspace

pytestmark = pytest.mark.slow

TARGETS = (
    *("all", "export", "oof", "scans"),
    *("results/summaries/flexunet.txt", "results/probes/flexunet.json"),
)
NETWORK = "mbhseg.nn.network.flexunet.build"
# folders that the jobs work on, or that Snakemake reads for them
DATA = ("results", ".snakemake", "config", "rules", "envs", "profiles", "Snakefile")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Script -> the modules that its jobs loaded and the data files that they read."""
    workspace = Workspace(tmp_path_factory.mktemp("closure"))
    notes = tmp_path_factory.mktemp("notes")
    customise = Path(__file__).parent / "seen"
    changed = {
        "PYTHONPATH": str(customise),
        "MBHSEG_SEEN": str(notes),
        "MBHSEG_SEEN_ROOT": str(workspace.root),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setenv(name, value)
        workspace.snakemake("fetch")
        scan = workspace.root / "results/tiny/raw/archive.zip"
        workspace.snakemake(*TARGETS, "--config", f"scans={scan}")
        workspace.snakemake("verify")  # has no inputs, so that it would come first
    found = defaultdict(set)
    for note in notes.glob("*.json"):
        told = json.loads(note.read_text())
        # Snakemake runs a copy: .snakemake/scripts/tmpabc123.train_model.py
        match = re.fullmatch(r"tmp\w+\.(\w+)\.py", told["script"])
        if match:
            names = {Path(name).relative_to(workspace.root) for name in told["loaded"]}
            read = {Path(name).relative_to(workspace.root) for name in told["read"]}
            data = {p for p in read if p.parts[0] not in DATA and "__pycache__" not in p.parts}
            found[match[1]] |= {p for p in names if p.parts[0] == "mbhseg"} | data
    return workspace.root, found


def test_every_script_ran(seen):
    _, found = seen
    # these need the network, a file of yours, or weights of the reference project
    left = {"acquire_hub", "acquire_archive", "evaluate_adopt", "import_weights"}
    scripts = {path.stem for path in (code.ROOT / "workflow_scripts").glob("*.py")}
    assert set(found) == scripts - left


def test_the_digest_covers_what_a_job_loads_and_reads(seen):
    root, found = seen
    missing = {}
    for script, files in found.items():
        path = root / "workflow_scripts" / f"{script}.py"
        covered = code.closure(path, root)
        covered |= {file for _, file in code.network_files(NETWORK, root)}
        covered |= {data for module in covered for data in code._data_files(module.parent)}
        if lost := {file for file in files if root / file not in covered}:
            missing[script] = lost
    assert not missing


def test_what_is_loaded_is_more_than_nothing(seen):
    _, found = seen
    assert Path("mbhseg/nn/network/flexunet.py") in found["train_model"]
    assert Path("mbhseg/report/templates/index.html.j2") in found["report_page"]
    assert all(len(files) > 2 for files in found.values())
