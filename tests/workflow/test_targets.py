"""Training on the raters' own masks reads them from the data set."""

import pytest

from mbhseg.files import read_json, read_table

SOFT = (
    "experiments={flexunet: {}, soft: {network: {levels: 3},"
    " training: {targets: soft, deep_supervision: 1}}}"
)


@pytest.mark.slow
def test_an_experiment_learns_from_all_raters(finished):
    text = finished.snakemake("results/tiny/models/soft-f0-s1/model.keras", "--config", SOFT)
    assert "annotations.tsv" in text
    record = read_json(finished.root / "results/tiny/models/soft-f0-s1/run.json")
    assert record["training"]["targets"] == "soft"
    # the cache holds its raters' masks decoded, as many as the table lists for its slices
    table = read_table(finished.root / "results/tiny/dataset.tsv")
    used = table[table["subset"] != "test"][["case", "slice"]]
    annotations = read_table(finished.root / "results/tiny/annotations.tsv")
    own = annotations[annotations["annotation"].str.startswith("rater")]
    (raters,) = finished.root.glob("results/tiny/cache/*/raters.npy")
    assert raters.stat().st_size - 128 == len(own.merge(used)) * 64 * 64


@pytest.mark.slow
def test_folds_share_what_is_decoded(finished):
    """The other fold's training uses the slices that the first one decoded."""
    finished.snakemake("results/tiny/models/flexunet-f0-s2/model.keras")
    before = {p: p.stat().st_mtime_ns for p in finished.root.glob("results/tiny/cache/*/*.npy")}
    assert before
    finished.snakemake("results/tiny/models/flexunet-f1-s1/model.keras")
    after = {p: p.stat().st_mtime_ns for p in finished.root.glob("results/tiny/cache/*/*.npy")}
    assert after == before
