"""No result takes the place of an input, and no report that of a folder that it did not make."""

import os
import zipfile

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mbhseg.errors import InputError
from mbhseg.files import write_table
from mbhseg.scans import outcome
from mbhseg.scans.discovery import FoundScan
from mbhseg.scans.overwrite import (
    refuse_foreign_entry,
    refuse_foreign_report,
    refuse_over,
    refuse_over_inputs,
    refuse_over_others,
)


def scan(path, name=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"scan")
    return FoundScan(name or path.name.split(".")[0], str(path), lambda: None, (path,))


REPLACED = {
    "the labels": ("a.nii.gz", None),
    "the labels, where case is ignored": ("A.NII.gz", "A"),
    "the labels of another scan": ("a.nii.gz", "b"),
    "an array's labels": ("a.npy", None),
    "probabilities": ("probabilities/a.nii.gz", None),
    "a picture": ("png/overlays/a_000.png", None),
    "a page": ("report/a.nii.gz", None),
}


@pytest.mark.parametrize(("place", "name"), REPLACED.values(), ids=REPLACED)
def test_a_result_never_replaces_an_input(tmp_path, place, name):
    given = scan(tmp_path / place, name)
    others = [FoundScan("a", "elsewhere", lambda: None)]
    with pytest.raises(InputError, match=r"is an input.*Choose another --out") as told:
        refuse_over_inputs([*others, given], tmp_path)
    assert told.value.where == str(tmp_path.resolve() / place)


def test_links_are_followed_both_ways(tmp_path):
    given = scan(tmp_path / "data" / "a.nii.gz")
    (tmp_path / "out").symlink_to(tmp_path / "data")
    with pytest.raises(InputError):
        refuse_over_inputs([given], tmp_path / "out")
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "a.nii.gz"
    link.symlink_to(given.files[0])
    for folder in (tmp_path / "links", tmp_path / "data"):
        with pytest.raises(InputError):
            refuse_over_inputs([FoundScan("a", "", lambda: None, (link,))], folder)


@pytest.mark.parametrize("place", ["in/a.nii.gz", "a.mha", "other/a.nii.gz", "../a.nii.gz"])
def test_what_lies_elsewhere_is_no_matter(tmp_path, place):
    out = tmp_path / "out"
    out.mkdir()
    refuse_over_inputs([scan(out / place)], out)
    refuse_over_inputs([], out)


def test_a_file_that_is_also_an_input(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"zip")
    (tmp_path / "link.zip").symlink_to("x.zip")
    os.link(tmp_path / "x.zip", tmp_path / "hard.zip")
    for output in ("x.zip", "link.zip", "hard.zip", "../" + tmp_path.name + "/x.zip"):
        with pytest.raises(InputError, match="is also an input"):
            refuse_over([tmp_path / "x.zip"], tmp_path / output)
    refuse_over([tmp_path / "x.zip"], tmp_path / "y.zip")


def page(folder):
    folder.mkdir(exist_ok=True)
    (folder / "index.html").write_text("<head>\n<title>Scans predicted by one</title>\n")
    (folder / "viewer").mkdir()
    (folder / "viewer" / "scan0000.js").write_text("")
    return folder


def test_only_a_page_of_scans_is_replaced(tmp_path):
    refuse_foreign_report(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    refuse_foreign_report(tmp_path / "empty")
    refuse_foreign_report(page(tmp_path / "page"))


def mine(folder):
    folder.mkdir()
    (folder / "index.html").write_text("<title>my thesis</title>")


FOREIGN = {
    "a folder of the user's": mine,
    "a file": lambda folder: folder.write_text("text"),
    "a link": lambda folder: folder.symlink_to(folder.parent),
    "a page with a note beside it": lambda folder: (page(folder) / "note.txt").write_text("n"),
    "a page with the user's table": lambda folder: (page(folder) / "mine.csv").write_text("n"),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_what_a_report_did_not_make_stays(tmp_path, make):
    make(tmp_path / "report")
    with pytest.raises(InputError, match=r"report.*Move it away"):
        refuse_foreign_report(tmp_path / "report")


def predicted(folder, *cases):
    """A folder that was predicted into: its table lists the cases."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [dict.fromkeys(outcome.COLUMNS, 0) | {"case": case} for case in cases]
    write_table(folder / "volumes.csv", pd.DataFrame(rows, columns=list(outcome.COLUMNS)))
    return folder


def volume(path, dtype):
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), dtype), np.eye(4)), path)


def linked(out):
    (out.parent / "scans").mkdir()
    (out / "probabilities").symlink_to("../scans")


def linked_deeper(out):
    (out / "png").mkdir()
    (out / "png/masks").symlink_to(out.parent)


IN_THE_WAY = {
    "a CT of the same name": lambda out: volume(out / "a.nii.gz", np.int16),
    "an array of the same name": lambda out: (out / "a.npy").write_bytes(b"HU"),
    "a table of the user's": lambda out: (out / "volumes.csv").write_text("patient,ml\nx,1\n"),
    "pictures of the user's": lambda out: (
        (out / "png").mkdir(),
        (out / "png/a.png").write_bytes(b"p"),
    ),
    "a file where a folder goes": lambda out: (out / "mosaics").write_text("x"),
    "a folder that is a link": linked,
    "a link within a folder": linked_deeper,
    "a link into nothing": lambda out: (out / "viewer").symlink_to("nowhere"),
}


@pytest.mark.parametrize("make", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_nothing_of_the_users_is_replaced(tmp_path, make):
    (tmp_path / "out").mkdir()
    make(tmp_path / "out")
    with pytest.raises(InputError, match=r"out/.*Choose another --out"):
        refuse_over_others([FoundScan("a", "elsewhere", lambda: None)], tmp_path / "out")


def test_a_folder_of_predictions_is_predicted_into_again(tmp_path):
    scans = [FoundScan(name, "elsewhere", lambda: None) for name in ("a", "b")]
    refuse_over_others(scans, tmp_path / "none")
    out = predicted(tmp_path / "out", "a")
    volume(out / "a.nii.gz", np.int16)  # listed
    volume(out / "b.nii.gz", np.uint8)  # of a run that was killed
    (out / "png/masks").mkdir(parents=True)
    (out / "png/masks/a_000.png").write_bytes(b"p")
    refuse_over_others(scans, out)
    volume(out / "b.nii.gz", np.int16)
    with pytest.raises(InputError, match=r"b\.nii\.gz"):
        refuse_over_others(scans, out)


def test_a_challenge_entry_replaces_an_entry_alone(tmp_path):
    refuse_foreign_entry(tmp_path / "new.zip")
    with zipfile.ZipFile(tmp_path / "entry.zip", "w") as archive:
        archive.writestr("a.nii.gz", b"labels")
    refuse_foreign_entry(tmp_path / "entry.zip")
    (tmp_path / "x.raw").write_bytes(b"voxels")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("top/a/image.nii.gz", b"scan")
    for name in ("x.raw", "data.zip", ""):
        with pytest.raises(InputError, match="not a challenge entry"):
            refuse_foreign_entry(tmp_path / name)
