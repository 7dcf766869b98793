"""The report in a real browser, from the file system: what people see and do."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mbhseg.classes import CLASSES
from mbhseg.files import read_table
from mbhseg.imaging.nifti import image_array, label_array, load_labels
from mbhseg.imaging.windows import Window, to_grey
from mbhseg.inspect.archive import Archive
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

RUN = "flexunet-f0-s137"
WINDOW = Window("brain", 40, 80)
PAGES = ("index.html", f"run-{RUN}.html", "compare.html", "viewer.html")
TONES = "document.querySelector('#tone feFuncR').getAttribute('tableValues')"
MOVES = (
    *(("ArrowUp", 1), ("ArrowRight", 2), ("ArrowDown", 1), ("ArrowLeft", 0)),
    *(("PageUp", 5), ("PageDown", 0), ("End", 6), ("Home", 0), ("End", 6)),
)


@pytest.fixture
def viewer(tab: Any, report: Path) -> Iterator[Any]:
    """The viewer, its first case loaded. Errors and requests elsewhere fail the test."""
    with loaded(tab, report / "viewer.html"):
        yield tab


def cases_of(drawn: Path) -> list[str]:
    return sorted(read_table(drawn / "split/fold0.tsv").query("subset == 'test'")["case"])


# --- the viewer


def test_first_case_is_shown(viewer, drawn):
    assert text(viewer, "#case-title") == cases_of(drawn)[0]
    assert text(viewer, "#place").endswith("of 7)")
    assert len(rows(viewer, "cases")) == len(cases_of(drawn))
    assert [row[0] for row in rows(viewer, "scores")] == [*(c.key for c in CLASSES[1:]), "any"]


def test_filled_labels_are_those_of_the_prediction(viewer, drawn):
    case = cases_of(drawn)[0]
    predicted = load_labels(drawn / f"predictions/{RUN}/test/{case}.nii.gz")[0]
    choose(viewer, "outline", "")
    for safe in (False, True):
        for plane in range(predicted.shape[2]):
            shown = np.rot90(predicted[:, :, plane])
            viewer.run(f"document.getElementById('slider').value = {plane}")
            viewer.run("document.getElementById('slider').dispatchEvent(new Event('input'))")
            found = overlay(viewer, shown.shape)
            assert ((found[..., 3] > 0) == (shown > 0)).all()
            for c in CLASSES[1:]:
                colour = np.array(c.safe_rgb if safe else c.rgb)
                there = found[shown == c.label][:, :3].astype(int)
                assert (abs(there - colour) <= 2).all()  # alpha is multiplied in, so rounded
        viewer.click("#safe")


def test_picture_is_the_slice_in_its_window(viewer, drawn, archive_path):
    case = cases_of(drawn)[0]
    with Archive(archive_path) as archive:
        hu = image_array(archive.nifti(archive.cases[case].image))
    for field in ("fill", "outline"):
        choose(viewer, field, "")
    viewer.run("document.querySelectorAll('.side').forEach((s) => s.remove())")
    seen = []
    for plane in (0, 3, 6):
        viewer.run(f"document.getElementById('slider').value = {plane}")
        viewer.run("document.getElementById('slider').dispatchEvent(new Event('input'))")
        data = np.frombuffer(viewer.screenshot("#picture"), np.uint8)
        seen.append(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    for plane, picture in zip((0, 3, 6), seen, strict=True):
        fits = []
        for other in range(hu.shape[2]):
            grey = np.ascontiguousarray(np.rot90(to_grey(hu[:, :, other], WINDOW)))
            large = cv2.resize(grey, picture.shape[::-1], interpolation=cv2.INTER_LINEAR)
            fits.append(np.corrcoef(picture.ravel(), large.ravel())[0, 1])
        assert np.argmax(fits) == plane
        assert fits[plane] > 0.97


def test_scores_are_those_of_the_evaluation(viewer, drawn):
    table = read_table(drawn / f"evaluation/{RUN}/cases.csv").query("reference == 'consensus'")
    for case in cases_of(drawn):
        viewer.run(f"location.hash = 'case={case}'")
        viewer.until(f"document.querySelector('#case-title').textContent === '{case}' && {READY}")
        expected = table[table["case"] == case].set_index("class")
        for key, dice, _, outlined, filled in rows(viewer, "scores"):
            row = expected.loc[key]
            assert dice == ("–" if np.isnan(row["dice"]) else f"{row['dice']:.3f}")
            assert float(outlined) == pytest.approx(row["reference_ml"], abs=0.006)
            assert float(filled) == pytest.approx(row["candidate_ml"], abs=0.006)


def test_slice_scores_are_those_of_the_slice_table(viewer, drawn):
    case = cases_of(drawn)[0]
    table = read_table(drawn / f"evaluation/{RUN}/slices.csv")
    for plane in range(7):
        viewer.run(f"location.hash = 'case={case}&slice={plane}'")
        viewer.until(f"document.querySelector('#place').textContent.startsWith('slice {plane} ')")
        here = table[(table["case"] == case) & (table["slice"] == plane)].set_index("class")["dice"]
        for row in rows(viewer, "scores"):
            assert row[2] == (f"{here[row[0]]:.3f}" if row[0] in here else "–")


def test_keys_wheel_buttons_and_slider_move_through_the_slices(viewer):
    viewer.run("document.getElementById('stage').focus()")
    viewer.press("Home")
    assert address(viewer)["slice"] == "0"
    for key, expected in [
        ("ArrowUp", 1),
        ("ArrowRight", 2),
        ("ArrowDown", 1),
        ("PageUp", 6),
        ("Home", 0),
        ("End", 6),
    ]:
        viewer.press(key)
        assert address(viewer)["slice"] == str(expected), key
        assert viewer.run("document.getElementById('stage').ariaValueNow") == str(expected)
    viewer.press("ArrowUp")
    assert address(viewer)["slice"] == "6"  # the last stays
    viewer.wheel("#stage", 120)
    viewer.until("location.hash.includes('slice=3')")
    viewer.click("#previous")
    assert address(viewer)["slice"] == "2"
    viewer.click("#next")
    assert address(viewer)["slice"] == "3"
    viewer.run("document.getElementById('slider').focus()")
    viewer.press("ArrowRight")
    assert viewer.run("document.getElementById('slider').max") == "6"


def test_keys_switch_window_map_layers_and_cases(viewer, drawn):
    viewer.run("document.getElementById('stage').focus()")
    first = viewer.run(TONES)
    viewer.press("w")
    assert address(viewer)["window"] == "subdural"
    assert viewer.run("document.getElementById('window').value") == "subdural"
    assert first != viewer.run(
        "document.querySelector('#tone feFuncR').getAttribute('tableValues')"
    )
    for expected in ("errors", "raters", "labels"):
        viewer.press("m")
        assert address(viewer)["show"] == expected
    viewer.press("f")
    assert address(viewer)["fill"] == ""
    viewer.press("f")
    assert address(viewer)["fill"] == f"model:{RUN}"
    viewer.press("c")
    assert address(viewer)["safe"] == "1"
    cases = cases_of(drawn)
    viewer.press("n")
    viewer.until(f"document.querySelector('#case-title').textContent === '{cases[1]}'")
    viewer.press("b")
    viewer.until(f"document.querySelector('#case-title').textContent === '{cases[0]}'")


def test_error_map_tells_missed_from_invented(viewer, drawn, archive_path):
    case = cases_of(drawn)[0]
    predicted = load_labels(drawn / f"predictions/{RUN}/test/{case}.nii.gz")[0]
    choose(viewer, "outline", "rater1")
    choose(viewer, "show", "errors")
    plane = int(address(viewer)["slice"])
    with Archive(archive_path) as archive:
        truth = label_array(archive.nifti(archive.cases[case].labels[1]), case)
    r, c = (np.rot90(volume[:, :, plane]) for volume in (truth, predicted))
    found = overlay(viewer, r.shape)[..., :3].astype(int)
    colours = {
        (213, 94, 0): (r > 0) & (c == 0),
        (86, 180, 233): (r == 0) & (c > 0),
        (240, 228, 66): (r > 0) & (c > 0) & (r != c),
    }
    assert any(where.any() for where in colours.values())
    for colour, where in colours.items():
        assert (abs(found[where] - colour) <= 2).all()
    assert "only outlined" in text(viewer, "#legend")


def differing(archive_path: Path, cases: list[str]) -> tuple[str, int, list[np.ndarray]]:
    """A slice in which raters both agree and disagree: case, plane, the raters' labels as shown."""
    with Archive(archive_path) as archive:
        for case in cases:
            members = archive.cases[case].labels.values()
            volumes = [label_array(archive.nifti(member), member) for member in members]
            for plane in range(volumes[0].shape[2]):
                shown = [np.rot90(volume[:, :, plane]) for volume in volumes]
                same = np.all([labels == shown[0] for labels in shown], axis=0)
                if not same.all() and (same & (shown[0] > 0)).any():
                    return case, plane, shown
    raise AssertionError("no such slice")


def test_disagreement_map_shows_where_raters_differ(viewer, drawn, archive_path):
    case, plane, labels = differing(archive_path, cases_of(drawn))
    viewer.run(f"location.hash = 'case={case}&slice={plane}&show=raters'")
    viewer.until(f"document.querySelector('#case-title').textContent === '{case}'")
    differ = np.any([shown != labels[0] for shown in labels], axis=0)
    agree = np.all([shown > 0 for shown in labels], axis=0) & ~differ
    assert differ.any()
    assert agree.any()
    found = overlay(viewer, differ.shape)
    assert (found[differ][:, 0] > found[differ][:, 1] + 50).all()  # magenta
    assert (abs(found[agree][:, :3].astype(int) - 150) <= 2).all()
    assert (found[~differ & ~agree][:, 3] == 0).all()


def test_sorting_by_a_heading(viewer):
    names = viewer.run(
        "[...document.querySelectorAll('#cases thead th')].map((c) => c.textContent)"
    )
    for name in ("mean", "any", "SAH"):
        column = names.index(name)
        viewer.click(f"#cases thead th:nth-child({column + 1}) button")
        for order, sign in (("descending", -1), ("ascending", 1)):
            sort = viewer.run(
                f"document.querySelector('#cases thead th:nth-child({column + 1})').ariaSort"
            )
            assert sort == order
            shown = [row[column] for row in rows(viewer, "cases")]
            known = [float(value) for value in shown if value != "–"]
            assert known == sorted(known, key=lambda value: sign * value)
            assert shown[len(known) :] == ["–"] * (len(shown) - len(known))  # no value: last
            viewer.press("Enter")  # the heading keeps the focus


def test_cases_sort_by_any_score(viewer, report):
    script = (report / "viewer/index.js").read_text()
    index = json.loads(script[len("mbhsegViewer.index(") : script.rindex(")")])
    assert len(index["scores"]) >= 5
    for score in index["scores"]:
        choose(viewer, "score", score["key"])
        assert address(viewer)["score"] == score["key"]
        names = viewer.run(
            "[...document.querySelectorAll('#cases thead th')].map((c) => c.textContent)"
        )
        column = names.index("any")
        viewer.click(f"#cases thead th:nth-child({column + 1}) button")
        expected = {e["id"]: e["scores"][RUN][score["key"]]["any"] for e in index["cases"]}
        known = sorted((v for v in expected.values() if v is not None), reverse=True)
        order = viewer.run(
            f"document.querySelector('#cases thead th:nth-child({column + 1})').ariaSort"
        )
        known = known if order == "descending" else known[::-1]
        shown = [row[column] for row in rows(viewer, "cases")]
        digits = score["digits"]
        assert shown[: len(known)] == [f"{value:.{digits}f}" for value in known]
    viewer.open(report / "viewer.html", "score=difference_ml")
    viewer.until(READY)
    assert viewer.run("document.getElementById('score').value") == "difference_ml"


def test_deep_link_restores_the_view_and_back_returns(viewer, report, drawn):
    case = cases_of(drawn)[-1]
    asked = f"case={case}&slice=2&fill=rater1&outline=&window=bone&show=labels&safe=1"
    viewer.open(report / "viewer.html", asked)
    viewer.until(READY)
    assert text(viewer, "#case-title") == case
    assert text(viewer, "#place").startswith("slice 2 ")
    values = {f: viewer.run(f"document.getElementById('{f}').value") for f in ("fill", "window")}
    assert values == {"fill": "rater1", "window": "bone"}
    assert viewer.run("document.getElementById('safe').checked")
    viewer.click(f"#cases a[href*='{cases_of(drawn)[0]}']")
    viewer.until(f"document.querySelector('#case-title').textContent === '{cases_of(drawn)[0]}'")
    assert address(viewer)["window"] == "bone"  # the display stays as it was
    viewer.run("history.back()")
    viewer.until(f"document.querySelector('#case-title').textContent === '{case}'")


def test_a_wrong_link_says_so(viewer, report):
    viewer.open(report / "viewer.html", "case=%3Cimg%20src%3Dx%3E&slice=x&window=none")
    viewer.until("document.querySelector('#status').textContent.includes('no case')")
    assert "<img src=x>" in text(viewer, "#status")
    assert not viewer.run("document.images.length")


# --- both pages


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(tab, several, name, width):
    tab.errors.clear()
    tab.resize(width, 800)
    tab.open(several / name)
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert not tab.errors


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(tab, several, name, scheme):
    found = axe_violations(tab, several / name, scheme)
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert not serious, json.dumps([(v["id"], [n["html"] for n in v["nodes"]]) for v in serious])
    assert not found, json.dumps([(v["id"], [n["html"] for n in v["nodes"]]) for v in found])


@pytest.mark.parametrize("name", PAGES)
def test_prints_dark_on_white_and_cuts_nothing_off(tab, several, name):
    check_print(tab, several / name)
