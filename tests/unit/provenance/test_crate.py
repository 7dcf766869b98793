"""The record of a run and its RO-Crate."""

import datetime
import json

import pytest

from mbhseg.files import sha256
from mbhseg.provenance import commands, crate

WHEN = datetime.datetime(2026, 5, 4, 3, 2, 1, tzinfo=datetime.UTC)


@pytest.fixture
def root(tmp_path):
    """results/set with an archive, a table, a model and the engine's benchmarks."""
    made = tmp_path / "results" / "set"
    for name, text in {
        "raw/archive.zip.sha256": "ab" * 32 + "  archive.zip\n",
        "raw/source.json": '{"kind": "phantom", "bytes": 7}',
        "dataset.tsv": "case\n",
        "models/a-f0-s1/model.keras": "weights",
        "models/a-f0-s1/.snakemake_timestamp": "",
        "../benchmarks/set/train/a-f0-s1.tsv": "s\tmax_rss\n12.5\t300.25\n",
        "../benchmarks/set/gate.tsv": "s\tmax_rss\n0.1\tNA\n",
    }.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


def record(root):
    listed = [root / "dataset.tsv", root / "models/a-f0-s1"]
    return crate.record(root, config={"shards": 2}, artifacts=listed)


def test_the_record_lists_artifacts_with_their_digests(root):
    found = {row["file"]: row["sha256"] for row in record(root)["artifacts"]}
    names = ("dataset.tsv", "models/a-f0-s1/model.keras")
    assert found == {name: sha256(root / name) for name in names}


def test_the_record_tells_input_settings_jobs_and_versions(root):
    made = record(root)
    assert made["dataset"] == "set"
    assert made["input"] == {"kind": "phantom", "bytes": 7, "sha256": "ab" * 32}
    assert made["config"] == {"shards": 2}
    assert made["jobs"] == [
        {"job": "gate", "seconds": 0.1, "max_rss_mib": None},
        {"job": "train/a-f0-s1", "seconds": 12.5, "max_rss_mib": 300.25},
    ]
    assert made["versions"]["numpy"]
    assert made["command"] is None
    json.dumps(made)


def test_the_last_command_is_told(root, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/snakemake", "--config", "a={b: 1}"])
    commands.note_command(root.parent)
    assert record(root)["command"] == "snakemake --config 'a={b: 1}'"


def test_a_missing_artifact_is_an_error(root):
    with pytest.raises(FileNotFoundError):
        crate.record(root, config={}, artifacts=[root / "absent.tsv"])


def test_the_crate_is_one_connected_graph(root):
    found = crate.crate(record(root), WHEN)
    entities = {entity["@id"]: entity for entity in found["@graph"]}
    assert len(entities) == len(found["@graph"])

    def references(value):
        if isinstance(value, dict):
            if set(value) == {"@id"}:
                yield value["@id"]
            else:
                yield from (r for item in value.values() for r in references(item))
        elif isinstance(value, list):
            yield from (r for item in value for r in references(item))

    outside = {"https://w3id.org/ro/crate/1.1", "http://schema.org/CompletedActionStatus"}
    assert set(references(found["@graph"])) - outside <= set(entities)
    run = entities["#run"]
    assert run["object"] == [{"@id": "raw/archive.zip"}]
    assert {"@id": "models/a-f0-s1/model.keras"} in run["result"]
    assert entities["./"]["datePublished"] == "2026-05-04T03:02:01+00:00"
