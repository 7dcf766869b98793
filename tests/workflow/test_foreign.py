"""Another system's folder of predictions next to the config's runs, in a real run."""

import pytest
import yaml

from mbhseg.files import read_json, read_table
from mbhseg.inspect.archive import Archive
from tests.volumes import save_nifti
from tests.workspace import TINY

RUN = "flexunet-f0-s1"
ROOT = "results/tiny"
RATER = 3  # who annotated every case of the phantom


@pytest.fixture(scope="module")
def theirs(finished, tmp_path_factory):
    """A folder with one rater's masks of the test cases, and a config that names it."""
    folder = tmp_path_factory.mktemp("theirs")
    fold = read_table(finished.root / ROOT / "split/fold0.tsv")
    with Archive(finished.root / ROOT / "raw/archive.zip") as archive:
        for case in fold.loc[fold["subset"] == "test", "case"]:
            drawn = archive.nifti(archive.cases[case].labels[RATER])
            save_nifti(folder / "tiny" / f"{case}.nii.gz", drawn)
    config = {**yaml.safe_load(TINY.read_text()), "foreign": {"mine": f"{folder}/{{dataset}}"}}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_folder_is_scored_and_trains_and_infers_nothing(finished, theirs):
    planned = finished.planned(config=theirs)
    assert {name: planned[name] for name in ("adopt", "evaluate", "score_figures")} == {
        "adopt": 1,
        "evaluate": 1,
        "score_figures": 1,
    }
    assert {"compare", "report", "verified"} <= set(planned)
    assert not {"train", "infer", "legacy", "postprocess", "model_card"} & set(planned)


@pytest.mark.slow
def test_a_folder_stands_beside_the_runs(finished, theirs, tmp_path):
    workspace = finished.copied(tmp_path)
    workspace.snakemake(config=theirs)
    assert "Nothing to be done" in workspace.snakemake(config=theirs)
    root = workspace.root / ROOT

    rater = f"rater{RATER}"
    scored = read_table(root / "evaluation/mine/cases.csv")
    scored = scored[~scored["reference"].isin(["consensus", rater])]
    pairs = read_table(root / "agreement/pairs.csv")
    pairs = pairs[(pairs["candidate"] == rater) & pairs["case"].isin(scored["case"])]
    both = scored.merge(pairs, on=["case", "reference", "class"], suffixes=("", "_agreed"))
    assert len(both) == len(scored) > 0
    for score in ("dice", "nsd_1mm", "hd95_mm", "lesion_f1_iou", "intersection"):
        assert both[score].equals(both[f"{score}_agreed"]), score

    runs = read_table(root / "comparison/runs.csv")
    assert set(runs["run"]) == {RUN, "mine"}
    differences = read_table(root / "comparison/differences.csv")
    pair = differences[differences["level"] == "run"][["first", "second"]]
    assert set(map(tuple, pair.to_numpy())) <= {(RUN, "mine"), ("mine", RUN)}
    assert set(read_table(root / "verified.tsv")["status"]) == {"ok"}
    for page in ("index.html", "compare.html", "viewer/index.js"):
        assert "mine" in (root / "report" / page).read_text(), page
    assert (root / "report/run-mine.html").is_file()
    summary = read_json(root / "evaluation/mine/summary.json")
    assert summary["probabilities"] is False
    assert summary["processed"] is None

    first = next((theirs.parent / "tiny").glob("*.nii.gz"))
    data = first.read_bytes()
    try:
        first.unlink()
        text = workspace.snakemake(config=theirs, ok=False)
        assert "Error in rule adopt" in text
        log = (workspace.root / "results/logs/tiny/adopt/mine.log").read_text()
        assert f"has no prediction of test case {first.name[:-7]}" in log
        assert "Traceback" not in log
    finally:
        first.write_bytes(data)
