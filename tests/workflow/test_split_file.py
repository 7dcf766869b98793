"""A user's own split in a real run: used unchanged, or refused in a line."""

import pandas as pd
import pytest
import yaml

from mbhseg.files import read_table, write_table
from tests.workspace import TINY

SPLIT = "results/mine/split"


@pytest.fixture(scope="module")
def own_split(finished, tmp_path_factory):
    """The tiny run's heads as a data set with a split file: its folder, and the table."""
    folder = tmp_path_factory.mktemp("mine")
    cases = read_table(finished.root / "results/tiny/inventory/cases.tsv")
    patients = sorted(set(cases["patient"]))
    rows = [(patients[0], "test", None)]
    for fold in (0, 1):
        rows += [(p, "valid" if n % 2 == fold else "train", fold) for n, p in enumerate(patients)]
    rows = [row for row in rows if row[0] != patients[0] or row[1] == "test"]
    table = pd.DataFrame(rows, columns=["patient", "subset", "fold"]).astype({"fold": "Int64"})
    config = yaml.safe_load(TINY.read_text())
    archive = finished.root / "results/tiny/raw/archive.zip"
    config["datasets"] = {"mine": {"archive": {"path": str(archive)}}}
    config["build"]["datasets"] = ["mine"]
    config["split"]["file"] = str(folder / "mine.tsv")
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    return folder, table


@pytest.mark.slow
def test_the_split_is_the_users(finished, own_split):
    folder, table = own_split
    write_table(folder / "mine.tsv", table)
    target = (f"{SPLIT}/leakage.tsv", "--directory", str(folder))
    finished.snakemake(*target, config=folder / "mine.yaml")
    for fold in (0, 1):
        made = read_table(folder / SPLIT / f"fold{fold}.tsv")
        stated = table[table["fold"].isna() | (table["fold"] == fold)]
        wanted = dict(zip(stated["patient"], stated["subset"], strict=True))
        assert dict(zip(made["patient"], made["subset"], strict=True)) == wanted

    leaky = pd.concat([table, table.iloc[:1].assign(subset="train")])
    write_table(folder / "mine.tsv", leaky)
    text = finished.snakemake(*target, config=folder / "mine.yaml", ok=False)
    assert "Error in rule split" in text
    log = (folder / "results/logs/mine/split.log").read_text()
    assert "is in two subsets" in log
    assert "Traceback" not in log
    assert not (folder / SPLIT / "fold0.tsv").exists()
