"""The same bytes: other shards, another order in the zip, another folder, other cores."""

import hashlib
import random
import zipfile

import pytest

from mbhseg.files import sha256
from tests.workspace import Workspace, assert_same_results

PUBLIC = ("dataset", "annotations", "inventory", "split")


def digest(root):
    """One hash over names and bytes of the public data folders, the shards' own left out."""
    found = hashlib.sha256((root / "dataset.tsv").read_bytes())
    found.update((root / "annotations.tsv").read_bytes())
    for folder in PUBLIC:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and "/shards/" not in name and not path.name.startswith("."):
                found.update(name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("identity"))


def prepared(workspace, folder, *config):
    workspace.snakemake("data", "--directory", str(folder), "--config", *config)
    return digest(folder / "results/tiny")


@pytest.mark.slow
def test_the_data_do_not_depend_on_shards_or_order(finished, workspace, tmp_path):
    first = digest(finished.root / "results/tiny")
    for shards in (1, 4):
        assert prepared(workspace, tmp_path / str(shards), f"shards={shards}") == first

    shuffled = tmp_path / "shuffled.zip"
    with (
        zipfile.ZipFile(finished.root / "results/tiny/raw/archive.zip") as source,
        zipfile.ZipFile(shuffled, "w") as target,
    ):
        members = source.infolist()
        random.Random(1).shuffle(members)
        for member in members:
            target.writestr(member, source.read(member))
    archive = f"datasets={{tiny: {{phantom: null, archive: {{path: {shuffled}}}}}}}"
    assert prepared(workspace, tmp_path / "order", archive, "shards=3") == first


@pytest.mark.slow
def test_one_core_in_another_folder_gives_the_same_results(finished, tmp_path):
    """The finished run had two cores; all of data, weights, predictions and scores count."""
    clone = Workspace(tmp_path / "a clone" / "elsewhere")
    clone.snakemake("--cores", "1")
    assert_same_results(finished, clone.root)


@pytest.mark.slow
def test_the_threads_of_a_training_are_its_own_not_the_machines(finished, tmp_path):
    """Two threads in the recipe are two on one core as well, and the log says so."""
    run = "results/tiny/models/threaded-f0-s1"
    threaded = "experiments={flexunet: {}, threaded: {training: {threads: 2}}}"
    files = ("model.keras", "history.csv")
    made = {}
    for cores in ("1", "2"):
        workspace = finished.copied(tmp_path / cores)
        workspace.snakemake(f"{run}/model.keras", "--cores", cores, "--config", threaded)
        made[cores] = [sha256(workspace.root / run / file) for file in files]
        log = (workspace.root / "results/logs/tiny/train/threaded-f0-s1.log").read_text()
        assert ("2 CPU threads, though 1 are granted" in log) == (cores == "1")
    assert made["1"] == made["2"]
