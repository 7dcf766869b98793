"""Whatever differs from its manifest is named."""

import hashlib

import pandas as pd
import pytest

from mbhseg.errors import InputError
from mbhseg.files import manifest_of, sha256, write_json, write_table
from mbhseg.provenance.verification import verify, verify_all


@pytest.fixture
def results(tmp_path):
    root = tmp_path / "results" / "set"
    contents = {
        "raw/archive.zip": b"zip",
        "slices/1-of-1/c_000.png": b"image",
        "masks/1-of-1/consensus/c_000.png": b"mask",
        "dataset/train/images/c_000.png": b"image",
        "dataset/train/masks/c_000.png": b"mask",
        "annotations/rater3/c_000.png": b"mask",
        "predictions/net-f0-s1/test/c.nii.gz": b"labels",
        "models/net-f0-s1/model.keras": b"weights",
    }
    for name, data in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    digest = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    (root / "raw/archive.zip.sha256").write_text(f"{digest['raw/archive.zip']}  archive.zip\n")
    for folder in ("slices/1-of-1", "masks/1-of-1", "predictions/net-f0-s1/test"):
        write_table(root / f"{folder}.tsv", manifest_of(root / folder))
    write_table(root / "models/net-f0-s1/manifest.tsv", manifest_of(root / "models/net-f0-s1"))
    image, mask = "dataset/train/images/c_000.png", "dataset/train/masks/c_000.png"
    row = {"image": image, "mask": mask, "image_sha256": digest[image], "mask_sha256": digest[mask]}
    write_table(root / "dataset.tsv", pd.DataFrame([row]))
    mask = "annotations/rater3/c_000.png"
    row = {"mask": mask, "mask_sha256": digest[mask]}
    write_table(root / "annotations.tsv", pd.DataFrame([row]))
    return root


def run(root):
    folders = [
        root / name
        for name in ("slices/1-of-1.tsv", "masks/1-of-1.tsv", "predictions/net-f0-s1/test.tsv")
    ]
    return verify(root, folders, [root / "models/net-f0-s1/manifest.tsv"])


def test_untouched_results_are_all_ok(results):
    table = run(results)
    assert set(table["status"]) == {"ok"}
    assert len(table) == 8


@pytest.mark.parametrize(
    "name",
    [
        "raw/archive.zip",
        "slices/1-of-1/c_000.png",
        "masks/1-of-1/consensus/c_000.png",
        "dataset/train/images/c_000.png",
        "dataset/train/masks/c_000.png",
        "annotations/rater3/c_000.png",
        "predictions/net-f0-s1/test/c.nii.gz",
        "models/net-f0-s1/model.keras",
    ],
)
@pytest.mark.parametrize("fault", ["changed", "missing"])
def test_a_flipped_byte_and_a_deleted_file_are_named(results, name, fault):
    path = results / name
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.unlink() if fault == "missing" else path.write_bytes(data)
    with pytest.raises(InputError, match=f"{name} {fault}"):
        run(results)


def test_a_file_that_nobody_made_is_named(results):
    (results / "slices/1-of-1/d_000.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"slices/1-of-1/d_000\.png unknown"):
        run(results)


def test_everything_is_found_without_being_told_where(results):
    report = results / "report/index.html"
    report.parent.mkdir()
    report.write_text("page")
    listed = {"file": "report/index.html", "bytes": 4, "sha256": sha256(report)}
    write_json(results / "provenance.json", {"artifacts": [listed]})
    assert set(verify_all(results)["status"]) == {"ok"}
    assert len(verify_all(results)) == 9
    report.write_text("pane")
    (results / "models/net-f0-s1/model.keras").unlink()
    found = verify_all(results)
    assert [tuple(row) for row in found[found["status"] != "ok"].to_numpy()] == [
        ("models/net-f0-s1/model.keras", "missing"),
        ("report/index.html", "changed"),
    ]


def test_nothing_finished_is_told_from_nothing_wrong(tmp_path):
    with pytest.raises(InputError, match=r"archive\.zip\.sha256.*missing.*Run the workflow"):
        verify_all(tmp_path)
