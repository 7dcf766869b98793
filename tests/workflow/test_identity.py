"""The same data, byte for byte: another run, other shards, another order in the zip."""

import hashlib
import random
import zipfile

import pytest

from tests.workspace import Workspace

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
