"""Data sets side by side: BHSD's layout, an external test set, and who may not be in it."""

import zipfile

import numpy as np
import pytest
import yaml

from mbhseg.files import read_json, read_table
from mbhseg.imaging.png import read_image
from mbhseg.inspect.archive import Archive
from mbhseg.phantom import PhantomSpec, write_archive
from tests import no_internet
from tests.hubserver import HubServer
from tests.workspace import TINY
from tests.zips import zip_of

pytestmark = pytest.mark.slow

RUN = "flexunet-f0-s1"
OUTSIDE = "results/outside"


def bhsd_zip(folder) -> bytes:
    """Heads of other patients in the layout of label_192.zip: flat folders, one mask per scan."""
    write_archive(folder / "other.zip", PhantomSpec(cases=5, size=64, slices=6, seed=77))
    members = {}
    with Archive(folder / "other.zip") as archive:
        for case, files in archive.cases.items():
            rater = min(files.labels)
            members[f"label_192/images/{case}.nii.gz"] = archive.read(files.image)
            mask = archive.read(files.labels[rater])
            members[f"label_192/ground truths/{case}.nii.gz"] = mask
    return zip_of(members)


def config_with(folder, name, **sources):
    """The tiny run's config with another data set, on which the tiny run's models are tested."""
    config = yaml.safe_load(TINY.read_text())
    config["datasets"][name] = {"models_of": "tiny", **sources}
    config["build"]["datasets"] = ["tiny", name]
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def outside(finished, tmp_path_factory):
    """The config of an external test set, fetched from a hub; then nothing may reach a network."""
    folder = tmp_path_factory.mktemp("outside")
    with HubServer() as hub, pytest.MonkeyPatch.context() as patch:
        hub.put("owner/bhsd", "label_192.zip", bhsd_zip(folder))
        for name, value in (("HF_ENDPOINT", hub.url), ("NO_PROXY", "127.0.0.1")):
            patch.setenv(name, value)
        hub_file = {"repo": "owner/bhsd", "filename": "label_192.zip", "revision": "main"}
        path = config_with(folder, "outside", huggingface=hub_file)
        text = finished.snakemake("fetch", config=path)
        assert "make_phantom" not in text  # it exists already
    return path


def test_models_are_tested_on_a_set_of_another_layout(finished, outside):
    planned = finished.planned(config=outside)
    assert "train" not in planned
    assert "fetch_hub" not in planned
    finished.snakemake(config=outside, offline=no_internet.available())
    assert "Nothing to be done" in finished.snakemake(config=outside)
    root = finished.root / OUTSIDE
    assert not (root / "models").exists()
    with zipfile.ZipFile(root / "raw/archive.zip") as archive:
        cases = sorted(name[17:-7] for name in archive.namelist() if "/images/" in name)
    fold = read_table(root / "split/fold0.tsv")
    assert list(fold["case"]) == cases
    assert set(fold["subset"]) == {"test"}
    assert sorted(p.name for p in (root / f"predictions/{RUN}/test").glob("*.nii.gz")) == [
        f"{case}.nii.gz" for case in cases
    ]
    summary = read_json(root / f"evaluation/{RUN}/summary.json")
    assert summary["model"]["consensus"]["n_cases"] == len(cases)
    assert summary["ceiling"]["raters"]["n_cases"] == 0  # one rater per scan
    verified = read_table(root / "verified.tsv")
    assert set(verified["status"]) == {"ok"}
    record = read_json(root / "provenance.json")
    assert list(record["config"]["datasets"]) == ["outside", "tiny"]
    page = (root / "report/index.html").read_text()
    assert RUN in page
    shown = read_image(root / "report/img" / RUN / "curves.webp")
    drawn = read_image(finished.root / f"results/tiny/models/{RUN}/curves.png")
    np.testing.assert_array_equal(shown, drawn)


def test_the_external_set_changes_nothing_of_the_other(finished, outside):
    assert finished.planned() == {}


def test_no_model_is_trained_on_an_external_set(finished, outside):
    text = finished.snakemake(f"{OUTSIDE}/models/{RUN}/model.keras", config=outside, ok=False)
    assert "MissingRuleException" in text


def test_a_patient_who_was_trained_on_stops_the_run(finished, tmp_path):
    archive = finished.root / "results/tiny/raw/archive.zip"
    config = config_with(tmp_path, "leaky", archive={"path": str(archive)})
    target = f"results/leaky/predictions/{RUN}/test"
    text = finished.snakemake(target, config=config, ok=False)
    assert "Error in rule leakage" in text
    log = (finished.root / "results/logs/leaky/leakage.log").read_text()
    assert "is in the set that the models were trained on" in log
    assert "Traceback" not in log
    assert not (finished.root / target).exists()
    assert not (finished.root / "results/leaky/split/leakage.tsv").exists()
