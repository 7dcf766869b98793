"""The page of scans without a ground truth: its tables, its viewer's data, and it in a browser."""

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mbhseg.classes import ANY, CLASSES, KEYS
from mbhseg.errors import InputError
from mbhseg.files import read_table, write_json, write_table
from mbhseg.imaging import sprites
from mbhseg.imaging.nifti import voxel_ml
from mbhseg.imaging.orientation import turn_of
from mbhseg.imaging.windows import Window
from mbhseg.predictions.gathering import Outcome
from mbhseg.report.scans_page import build_scans
from mbhseg.scans import outcome, outputs
from mbhseg.scans.failures import Failure, failed_table
from mbhseg.scans.layout import FAILED, VOLUMES
from mbhseg.scans.preview import doubt_levels
from mbhseg.scans.scan import Scan
from tests.heads import blocks, head
from tests.unit.report.pages import (
    READY,
    address,
    axe_violations,
    check_print,
    choose,
    loaded,
    overlay,
    rows,
    text,
)
from tests.unit.report.test_page import LINKS, Page
from tests.volumes import decode_labels

AFFINE = np.diag((-0.5, 0.5, 5.0, 1.0))
ODD = "a <b>#1 & é"  # a name that means something in HTML and in a link
SOURCE = "model:flexunet-f0-s1"
WINDOWS = (Window("brain", 40.0, 80.0), Window("bone", 600.0, 2800.0))
RUN_JSON = {
    "run": "flexunet-f0-s1",
    "input": {"size": 64, "windows": [w._asdict() for w in WINDOWS]},
    "data": {"train_slices": 1800, "valid_slices": 24, "manifest_sha256": "c0ffee"},
    "best": {"epoch": 7, "val_dice": 0.61},
}


def predicted_scan(folder: Path, name: str, labels: np.ndarray, code: str, **more: Any) -> None:
    """Write a scan of these turned labels [x, y, z], which lies in the orientation `code`."""
    straight = nib.Nifti1Image(head(labels), AFFINE)
    start = nib.orientations.io_orientation(AFFINE)
    axes = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(code))
    scan = Scan(name, name, "nifti", straight.as_reoriented(axes), **more)
    turn = turn_of(scan.image.shape, scan.affine, measured=scan.measured)
    sure = np.where(labels == 4, 102, 230).astype(np.uint8)  # .4 for SAH, .9 for the others
    result = Outcome(labels, sure, 255 - sure, None)
    nothing = dict.fromkeys(outputs.Wanted.__dataclass_fields__, False)
    wanted = outputs.Wanted(**nothing | {"viewer": True})
    outputs.write(folder, scan, turn, result, wanted, Window("brain", 40, 80))
    ml = voxel_ml(scan.affine) if scan.measured else float("nan")
    table = pd.DataFrame(outcome.rows(name, result, ml, 0.6), columns=list(outcome.COLUMNS))
    if (folder / VOLUMES).is_file():
        table = pd.concat([read_table(folder / VOLUMES), table])
    write_table(folder / VOLUMES, table)


LABELS = blocks((64, 64, 7))


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scans, one of them upside down, one without a bleed, one without mm; one failed."""
    folder = tmp_path_factory.mktemp("predicted")
    predicted_scan(folder, ODD, LABELS, "LAS")
    predicted_scan(folder, "clean", np.zeros((64, 64, 3), np.uint8), "LAS")
    predicted_scan(folder, "turned", LABELS, "RPI")
    predicted_scan(folder, "unmeasured", LABELS, "LAS", measured=False)
    bad = Failure("bad", "/data/bad.nii", "not a readable <volume>", "Convert it again")
    write_table(folder / FAILED, failed_table([bad]))
    write_json(folder / "run.json", RUN_JSON)
    return folder


def make(folder: Path, predicted: Path, **changes: Any) -> Path:
    settings = {"low_confidence": 0.6, "mirror": False}
    models = [("flexunet-f0-s1", predicted / "run.json")]
    given = {"settings": settings, "command": "snakemake scans", "commit": "abc123", **changes}
    build_scans(folder, predicted, given.pop("models", models), **given)
    return folder


@pytest.fixture(scope="module")
def page(predicted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "page", predicted)


def read(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def handed(path: Path) -> dict[str, Any]:
    script = path.read_text(encoding="ascii")
    assert "<" not in script
    return json.loads(script[script.index("(") + 1 : script.rindex(")")])


# --- the page


def test_windows_are_the_models(page, predicted, tmp_path):
    assert handed(page / "viewer/index.js")["windows"] == RUN_JSON["input"]["windows"]
    own = {"name": "lung", "level": -600, "width": 1500}
    brain = {"name": "brain", "level": 35, "width": 80}  # of the second model: the first's counts
    other = {**RUN_JSON, "input": {"size": 64, "windows": [own, brain]}}
    write_json(tmp_path / "run.json", other)
    models = [("one", predicted / "run.json"), ("two", tmp_path / "run.json")]
    both = make(tmp_path / "both", predicted, models=models)
    expected = [*RUN_JSON["input"]["windows"], own]
    assert handed(both / "viewer/index.js")["windows"] == expected


def test_table_is_that_of_the_volumes(page, predicted):
    found = {(row[0], row[1]): row for row in read(page).rows if len(row) == 8}
    table = read_table(predicted / VOLUMES)
    assert len(table) == 24
    for row in table.to_dict("records"):
        shown = found[row["case"], row["class"]]
        assert shown[2] == ("–" if np.isnan(row["ml"]) else f"{row['ml']:.2f}")
        assert [int(n.replace(",", "")) for n in shown[3:6]] == [
            row[name] for name in ("voxels", "components", "slices")
        ]
        p = row["mean_probability"]
        assert shown[6] == ("–" if np.isnan(p) else f"{p:.2f}")
        assert shown[7] == ("▼ low" if row["low_confidence"] else "")
    assert sum(row[7] == "▼ low" for row in found.values()) == 3  # SAH, where there is one


def test_what_failed_and_what_was_run_are_told(page):
    told = read(page)
    assert ["bad", "not a readable <volume>", "Convert it again", "/data/bad.nii"] in told.rows
    words = " ".join(text for _, text in told.texts)
    for said in ("Research only", "1 scan could not be predicted", "snakemake scans", "abc123"):
        assert said in words
    for fact in ("flexunet-f0-s1", "1,800 slices", "c0ffee", "brain 40/80", "low_confidence"):
        assert fact in words
    assert "4 scans predicted by" in " ".join(words.split())
    assert re.search(
        r"3 with [a-z ]*hemorrhage, 3 findings of low confidence", " ".join(words.split())
    )
    assert "epoch 7, validation Dice 0.610" in words


def test_everything_is_in_the_folder(page):
    ids = {attributes["id"] for _, attributes in read(page).elements if "id" in attributes}
    for tag, attribute in LINKS.items():
        for element in read(page).of(tag):
            link = element.get(attribute)
            if link and not link.startswith("#case="):
                assert link[1:] in ids if link[0] == "#" else (page / link).is_file(), link
    for path in page.rglob("*.*"):
        if path.suffix in (".html", ".css", ".js"):
            assert "http" not in path.read_text(encoding="utf-8").replace("http-equiv", "")


def test_viewer_has_the_labels_of_the_turned_scan(page):
    index = handed(page / "viewer/index.js")
    assert [entry["id"] for entry in index["cases"]] == [ODD, "clean", "turned", "unmeasured"]
    entries = {entry["id"]: entry for entry in index["cases"]}
    for name in (ODD, "turned", "unmeasured"):
        data = handed(page / entries[name]["script"])
        shape = data["rows"], data["columns"]
        volumes = {"sources": LABELS, "doubt": doubt_levels(np.where(LABELS == 4, 153, 25))}
        for key, volume in volumes.items():
            planes = data[key][SOURCE] if key == "sources" else data[key]
            for z, plane in enumerate(planes):
                shown = decode_labels(plane, shape)
                np.testing.assert_array_equal(shown, np.rot90(volume[:, :, z]))
    straight, turned, unmeasured = (
        handed(page / entries[name]["script"]) for name in (ODD, "turned", "unmeasured")
    )
    assert straight["planes"] == [*range(7)]
    assert turned["planes"] == [*range(7)][::-1]  # as its own file numbers them
    assert straight["sides"] == turned["sides"] == ["R", "L"]
    assert unmeasured["sides"] == ["", ""]
    assert unmeasured["voxelMl"] is None
    assert turned["voxelMl"] == pytest.approx(voxel_ml(AFFINE))
    assert (page / entries[ODD]["sprite"]).read_bytes() == (
        page / entries["turned"]["sprite"]
    ).read_bytes()
    low = {key: measure["low"] for key, measure in entries[ODD]["measures"].items()}
    assert low == {key: key == "SAH" for key in (*KEYS, ANY)}


def test_same_files_same_page(page, predicted, tmp_path):
    again = make(tmp_path / "again", predicted)
    files = sorted(path.relative_to(page) for path in page.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    for file in files:
        assert (page / file).read_bytes() == (again / file).read_bytes()


def test_no_scan_no_failure_an_ensemble(tmp_path):
    write_table(tmp_path / VOLUMES, pd.DataFrame(columns=list(outcome.COLUMNS)))
    write_table(tmp_path / FAILED, failed_table([]))
    write_json(tmp_path / "run.json", {"input": RUN_JSON["input"]})
    models = [(name, tmp_path / "run.json") for name in ("one", "two")]
    folder = make(tmp_path / "page", tmp_path, models=models)
    words = " ".join(text for _, text in read(folder).texts)
    assert "No scan was predicted" in words
    assert "mean of 2 models" in words
    assert not (folder / "viewer").exists()
    assert not [e for e in read(folder).elements if e[1].get("id") in ("stage", "failed")]


def test_what_is_missing_is_named(predicted, tmp_path):
    with pytest.raises(InputError, match=r"volumes\.csv: is missing"):
        make(tmp_path / "page", tmp_path)
    with pytest.raises(ValueError, match="cannot replace"):
        make(predicted, predicted)
    assert not (tmp_path / "page").exists()


def test_many_slices_fit_a_sprite():
    assert sprites.finest_rung(40).side == 512
    for n in (1, 152, 153, 400, 1500, 20_000):
        side = sprites.finest_rung(n).side
        assert 0 < side <= 512
        assert -(-n // sprites.COLUMNS) * side <= 16_383
        assert n * side**2 <= 40_000_000


# --- in a browser


@pytest.fixture
def shown(tab, page):
    """The page, its first scan loaded. Errors and requests elsewhere fail the test."""
    with loaded(tab, page / "index.html"):
        yield tab


def columns(tab: Any, *wanted: int) -> list[list[str]]:
    visible = tab.run(
        "[...document.querySelectorAll('#table tbody tr')].filter((row) => !row.hidden)"
        ".map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"
    )
    return [[row[n] for n in wanted] for row in visible]


def test_scrolls_through_the_slices(shown):
    assert text(shown, "#case-title") == ODD
    shown.run("document.getElementById('stage').focus()")
    for key, expected in (("Home", 0), ("ArrowUp", 1), ("PageUp", 6), ("ArrowDown", 5)):
        shown.press(key)
        assert address(shown)["slice"] == str(expected)
    shown.wheel("#stage", 120)
    shown.until("location.hash.includes('slice=2')")
    shown.run("document.getElementById('slider').value = 4")
    shown.run("document.getElementById('slider').dispatchEvent(new Event('input'))")
    assert text(shown, "#place") == "slice 4 (5 of 7)"


def test_the_overlay_goes_and_comes_and_volumes_stay(shown):
    plane = np.rot90(LABELS[:, :, int(address(shown)["slice"])])
    before = rows(shown, "scores")
    assert ((overlay(shown, plane.shape)[..., 3] > 0) == (plane > 0)).all()
    shown.run("document.getElementById('stage').focus()")
    shown.press("f")
    assert not overlay(shown, plane.shape)[..., 3].any()
    assert shown.run("document.getElementById('fill').value") == ""
    assert rows(shown, "scores") == before
    shown.press("o")
    assert shown.run("document.getElementById('outline').value") == SOURCE
    shown.press("o")
    shown.press("f")
    shown.press("c")
    found = overlay(shown, plane.shape)
    for c in CLASSES[1:]:
        there = found[plane == c.label][:, :3].astype(int)
        assert (abs(there - np.array(c.safe_rgb)) <= 2).all()
    shown.press("m")
    assert address(shown)["show"] == "doubt"
    found = overlay(shown, plane.shape)[..., 3]
    assert found[plane == 4].size == 0 or (found[plane == 4] > 100).all()
    assert (found[plane != 4] == 0).all()


def test_this_scan_has_the_volumes_of_the_table(shown, predicted):
    table = read_table(predicted / VOLUMES).query("case == @ODD").set_index("class")
    ml = voxel_ml(AFFINE)
    here = LABELS[:, :, int(address(shown)["slice"])]
    for key, whole, now, mean in rows(shown, "scores"):
        row = table.loc[key]
        assert float(whole) == pytest.approx(row["ml"], abs=0.006)
        labels = [c.label for c in CLASSES[1:] if key in (c.key, ANY)]
        assert float(now) == pytest.approx(np.isin(here, labels).sum() * ml, abs=0.006)
        assert mean.endswith("low") == row["low_confidence"]
    shown.run("location.hash = 'case=unmeasured'")
    shown.until(f"document.querySelector('#case-title').textContent === 'unmeasured' && {READY}")
    assert [row[1:3] for row in rows(shown, "scores")] == [["–", "–"]] * 6


def test_a_link_opens_a_scan_and_a_slice(shown, page):
    shown.open(page / "index.html", "case=turned&slice=2&window=bone&safe=1")
    shown.until(READY)
    assert text(shown, "#case-title") == "turned"
    assert text(shown, "#place") == "slice 2 (5 of 7)"
    assert shown.run("document.getElementById('window').value") == "bone"
    assert columns(shown, 0)[0] == [ODD]
    shown.click("#table tr[data-case='clean']:not([hidden]) a")
    shown.until("document.querySelector('#case-title').textContent === 'clean'")
    assert shown.run("document.activeElement.id") == "stage"  # the keys work at once
    top, bottom = shown.run(
        "(() => { const b = document.getElementById('stage').getBoundingClientRect();"
        "return [b.top, b.bottom]; })()"
    )
    assert 0 <= top < bottom <= 1000
    current = "[...document.querySelectorAll('#table [aria-current]')].map((r) => r.dataset.case)"
    assert set(shown.run(current)) == {"clean"}
    shown.run("history.back()")
    shown.until("document.querySelector('#case-title').textContent === 'turned'")


def test_the_table_sorts_and_chooses(shown):
    assert [name for name, key in columns(shown, 0, 1) if key == ANY] == [
        *(ODD, "clean", "turned", "unmeasured")
    ]
    choose(shown, "rows", "low")
    assert columns(shown, 0, 1) == [[name, "SAH"] for name in (ODD, "turned", "unmeasured")]
    choose(shown, "rows", "all")
    assert len(columns(shown, 0)) == 24
    shown.click("#table thead th:nth-child(3) button")
    for order in ("descending", "ascending"):
        heading = "document.querySelector('#table thead th:nth-child(3)').ariaSort"
        assert shown.run(heading) == order
        values = [row[0] for row in columns(shown, 2)]
        known = [float(value) for value in values if value != "–"]
        assert known == sorted(known, reverse=order == "descending")
        assert values[len(known) :] == ["–"] * 6  # no value: last
        shown.press("Enter")
    choose(shown, "rows", "any")
    assert len(columns(shown, 0)) == 4
    shown.run("document.getElementById('stage').focus()")
    order = [name for (name,) in columns(shown, 0)]
    start = order.index(text(shown, "#case-title"))
    shown.press("n")  # the next of the table, as it is sorted
    shown.until(f"document.querySelector('#case-title').textContent !== {json.dumps(ODD)}")
    assert text(shown, "#case-title") == order[(start + 1) % 4]


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(tab, page, width):
    tab.resize(width, 800)
    tab.open(page / "index.html")
    tab.until(READY)
    assert tab.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(tab, page, scheme):
    found = axe_violations(tab, page / "index.html", scheme)
    assert not found, json.dumps([(v["id"], [n["html"] for n in v["nodes"]]) for v in found])


def test_prints_dark_on_white_and_cuts_nothing_off(tab, page):
    check_print(tab, page / "index.html")
