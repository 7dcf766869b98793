"""The report page: well-formed, self-contained, escaped, accessible, the same bytes every time."""

import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest

from mbhseg.classes import ANY, KEYS
from mbhseg.errors import InputError
from mbhseg.evaluation import choose_postprocess, run_summary
from mbhseg.files import read_json, read_table, write_json, write_table
from mbhseg.imaging.png import read_image
from mbhseg.imaging.windows import Window
from mbhseg.report import comparison
from mbhseg.report.assets import Assets
from mbhseg.report.facts import as_text, flatten, trained_with
from mbhseg.report.page import INDEX, build, unique_slugs
from mbhseg.report.quality import Quality, quality
from mbhseg.report.render import render

RUN = "flexunet-f0-s137"
SEVERAL = (RUN, "wide-f0-s7", "other")  # as the fixture `several` has them
BRAIN = Window("brain", 40, 80)
THUMBNAILS = "inventory/shards/1-of-1.thumbnails"
BARE: dict[str, Any] = {"config": {}, "windows": [BRAIN], "window": BRAIN}
VOID = {"meta", "link", "img", "br", "hr", "input"}
LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}


class Page(HTMLParser):
    """A strict reading of the page: every tag closed, in order; its elements, texts and rows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []  # tag around, text
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()
        assert not self.open, self.open
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, names)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"stray </{tag}>"
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))
        if "tr" in self.open and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def row(self, first: str, *more: str) -> list[str]:
        """The first table row with this first cell, after a row that begins with `more`."""
        rows = iter(self.rows)
        for name in more:
            next(row for row in rows if row and name in row)
        return next(row for row in rows if row and row[0] == first)


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page((report / INDEX).read_text(encoding="utf-8"))


# --- a folder that stands alone


@pytest.mark.parametrize("kind", ["report", "several"])
def test_every_link_leads_into_the_folder(kind, request):
    report = request.getfixturevalue(kind)
    pages = {path.name: Page(path.read_text(encoding="utf-8")) for path in report.glob("*.html")}
    more = {"compare.html", *(f"run-{run}.html" for run in SEVERAL)}
    assert set(pages) == {"index.html", "viewer.html", *(more if kind == "several" else ())}
    ids = {
        name: [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        for name, page in pages.items()
    }
    assert all(len(set(found)) == len(found) for found in ids.values())
    found = {
        (report / entry[kind]).resolve()
        for entry in viewer_index(report)["cases"]
        for kind in ("script", "sprite")
    }
    for name, page in pages.items():
        for tag, attribute in LINKS.items():
            for attributes in page.of(tag):
                link = urlsplit(attributes[attribute])
                assert not link.scheme, attributes
                assert not link.netloc, attributes
                assert not link.path.startswith("/"), attributes
                target = (report / (unquote(link.path) or name)).resolve()
                assert target.is_file(), attributes
                assert report.resolve() in target.parents, attributes
                found.add(target)
                if link.fragment and target.name != "viewer.html":
                    assert link.fragment in ids[target.name], attributes
    assert found == {p.resolve() for p in report.rglob("*") if p.is_file()}  # nothing unreachable


def viewer_index(report: Path) -> dict[str, Any]:
    script = (report / "viewer/index.js").read_text()
    assert script.startswith("mbhsegViewer.index(")
    return json.loads(script[len("mbhsegViewer.index(") : script.rindex(")")])


def test_nothing_is_loaded_from_elsewhere(report, page):
    for name in ("report.css", "viewer.css", "viewer.js"):
        text = (report / name).read_text()
        assert not re.search(r"@import|https?:|[\"'(]//[a-z]|\bfetch\(|XMLHttp|\beval\(", text), (
            name
        )
        assert not re.search(r"innerHTML|outerHTML|document\.write|insertAdjacent", text), name
    assert not re.search(r"url\((?!#)", (report / "viewer.css").read_text())
    assert not page.of("script")
    viewer = Page((report / "viewer.html").read_text())
    assert [script["src"] for script in viewer.of("script")] == ["viewer.js", "viewer/index.js"]
    for _, attributes in page.elements + viewer.elements:
        assert "http" not in attributes.get("style", "")
        assert not any(name.startswith("on") for name in attributes)
    assert not page.of("iframe") + viewer.of("iframe")


def test_folder_is_small(report):
    assert sum(p.stat().st_size for p in report.rglob("*") if p.is_file()) < 20_000_000


def test_same_results_same_bytes_wherever_they_lie(report, drawn, tmp_path, settings):
    moved = tmp_path / "elsewhere"
    shutil.copytree(drawn, moved)
    other = moved / "report"
    build(other, moved, "phantom", [RUN], thumbnails=[moved / THUMBNAILS], **settings)
    names = sorted(p.relative_to(report) for p in report.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    for name in names:
        assert (report / name).read_bytes() == (other / name).read_bytes(), name
    assert str(tmp_path) not in (other / INDEX).read_text()


def test_a_missing_file_is_named_and_leaves_nothing(drawn, tmp_path):
    with pytest.raises(InputError, match=r"absent-f0-s1"):
        build(tmp_path / "report", drawn, "phantom", ["absent-f0-s1"], **BARE)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_is_none_is_refused(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path / "results")
    (tmp_path / "results/figures/agreement.png").write_text("<svg/>")
    with pytest.raises(InputError, match=r"agreement\.png: not a readable image"):
        build(tmp_path / "report", tmp_path / "results", "phantom", [], **BARE)


def test_an_earlier_report_is_replaced_and_results_never(drawn, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "old.html").write_text("old")
    build(tmp_path / "report", drawn, "phantom", [], **BARE)
    assert not (tmp_path / "report" / "old.html").exists()
    with pytest.raises(ValueError, match="cannot replace"):
        build(drawn, drawn, "phantom", [], **BARE)
    assert (drawn / "dataset.tsv").is_file()


# --- what it says


def test_scores_on_the_page_are_those_of_the_evaluation(page, drawn):
    summary = read_json(drawn / "evaluation" / RUN / "summary.json")
    model = summary["model"]["consensus"]

    def shown(entry: dict[str, Any], score: str, digits: int = 3) -> str:
        if entry[score] is None:
            return "–"
        low, high = entry.get("intervals", {}).get(score) or (None, None)
        bounds = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
        return f"{entry[score]:.{digits}f}{bounds}"

    glance = page.row(RUN)
    whole = model["classes"][ANY]
    assert glance[1:] == [
        str(model["n_cases"]),
        shown(model["macro"], "dice_present"),
        shown(whole, "dice_present"),
        shown(model["macro"], "dice_nnunet"),
        shown(whole, "dice_nnunet"),
    ]
    band = "{low_hu} to {high_hu} HU".format(**summary["threshold"]["band"])
    bound = next(row for row in page.rows if row and band in row[0])
    assert bound[3] == shown(summary["threshold"]["classes"][ANY], "dice_present")
    raters = summary["ceiling"]["raters"]["classes"]
    for key in (*KEYS, ANY):
        found, others = model["classes"][key], summary["ceiling"]["others"]["classes"][key]
        for score, n, row in (
            ("dice_present", "n_present", page.row(key, "model / rater")),
            ("dice_nnunet", "n_scored", page.row(key, "model / rater", "macro", "rater vs others")),
        ):
            assert row[2:4] == [str(found[n]), shown(found, score)]
            assert row[4:7] == [str(others[n]), shown(others, score), shown(raters[key], score)]
        ratio = page.row(key, "model / rater")[7]
        value = summary["ratio"]["classes"][key]["ratio"]
        assert ratio.startswith("–" if value is None else f"{value:.2f}")
        row = page.row(key, "false positives")
        assert row[1:3] == [str(found["n_present"]), str(found["n_missed"])]
        assert row[4:6] == [str(found["n_absent"]), str(found["n_spurious"])]
    text = " ".join("".join(data for _, data in page.texts).split())
    background = sum(summary["confusion"][0]) / sum(map(sum, summary["confusion"]))
    assert f"mask scores {background:.4f}" in text
    assert f"{summary['legacy']['all_slices']['dice_coef_multiclass']:.4f} on labels" in text


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ({"kind": "cpu", "name": "AMD EPYC", "count": 1, "threads": 2}, "CPU: AMD EPYC, 2 threads"),
        ({"kind": "gpu", "name": "H200", "count": 4, "threads": 1}, "GPU: 4 × H200, 1 thread"),
    ],
)
def test_the_device_is_said_in_words(device, words):
    assert trained_with({"device": {**device, "precision": "float32"}}).value == f"{words}, float32"


def test_post_processing_is_shown_beside_the_prediction(archive_path, drawn, tmp_path, settings):
    root = tmp_path / "results"
    shutil.copytree(drawn, root)
    fold, labels = root / "split/fold0.tsv", root / f"predictions/{RUN}/test"
    chosen = root / f"models/{RUN}/postprocess.json"
    sizes = [0.01, 0.05, 0.2]
    choose_postprocess.run(archive_path, fold, "test", labels, chosen, min_ml=sizes, reconcile=True)
    choice = read_json(chosen)
    assert any(choice["min_ml"].values())  # the model has small false components
    folder = root / "evaluation" / RUN
    run_summary.evaluate_run(archive_path, fold, "test", labels, RUN, folder, postprocessing=chosen)
    build(tmp_path / "report", root, "phantom", [RUN], **settings)
    page = Page((tmp_path / "report" / INDEX).read_text(encoding="utf-8"))
    summary = read_json(folder / "summary.json")
    raw, done = (summary[kind]["consensus"] for kind in ("model", "processed"))
    assert raw["macro"]["dice_nnunet"] < done["macro"]["dice_nnunet"]
    for key in (*KEYS, ANY):
        row = page.row(key, "model / rater", "macro", "rater vs others")
        for cell, group in ((row[3], raw), (row[4], done)):
            value = group["classes"][key]["dice_nnunet"]
            assert cell.startswith("–" if value is None else f"{value:.3f}"), key
    assert page.row(f"{RUN}, post-processed")[4].startswith(f"{done['macro']['dice_nnunet']:.3f}")
    assert ("dd", f"{choice['chosen_on']['n_cases']} cases of the test subset") in page.texts


def test_several_runs_have_pages_of_their_own(several):
    index = Page((several / INDEX).read_text())
    assert {f"run-{run}.html" for run in SEVERAL} <= {a["href"] for a in index.of("a")}
    assert index.row("wide-f0-s7")[1:]
    assert not any(image["src"].endswith("scores.webp") for image in index.of("img"))
    text = (several / "run-wide-f0-s7.html").read_text()
    assert 'id="run-wide-f0-s7-training"' in text
    other = (several / "run-other.html").read_text()
    assert "Predictions made elsewhere" in other
    assert "other-training" not in other
    assert "2 trained" in " ".join("".join(data for _, data in index.texts).split())


def test_comparison_shows_its_tables(several, compared):
    page = Page((several / "compare.html").read_text())
    assert page.row("flexunet")[2:4] == ["2", "0.500 ± 0.004 [0.450, 0.550]"]
    assert page.row("other")[3] == "0.700 ± 0.004 [0.650, 0.750]"
    assert page.row("wide-f0-s7", "Run")[2:4] == ["0.600 [0.550, 0.650]", "0.610 [0.560, 0.660]"]
    difference = page.row("flexunet − wide")
    assert difference[2:4] == ["-0.100 [-0.200, 0.020]", "-0.090 [-0.150, 0.020]"]
    summary = read_json(compared / "evaluation" / RUN / "summary.json")
    human = summary["ceiling"]["others"]["macro"]["dice_present"]
    assert page.row("a rater against the other raters' consensus")[3].startswith(f"{human:.3f}")
    bold = [text for tag, text in page.texts if tag == "b"]
    assert not any("0.020" in text for text in bold)  # the interval holds 0
    assert "3 runs on the 4 cases" in "".join(d for _, d in page.texts)


def test_a_difference_beyond_its_interval_is_bold(compared, tmp_path):
    path = compared / "comparison/differences.csv"
    folder = tmp_path / "comparison"
    shutil.copytree(path.parent, folder)
    table = read_table(path).assign(low=0.01, high=0.02, difference=0.015)
    write_table(folder / "differences.csv", table)
    summary = read_json(compared / "evaluation" / RUN / "summary.json")
    found = comparison.comparison(folder, SEVERAL, summary["ceiling"]["others"], Assets(tmp_path))
    section = found.sections[0]
    assert section.reach == 0.1
    assert section.between_experiments[0].means["macro"] == (0.015, 0.01, 0.02, None)
    assert [line.kind for line in section.experiments] == ["model"] * 3 + ["rater"]
    assert section.between_runs == []


def test_macro_means_over_different_classes_are_marked(drawn, tmp_path):
    root = tmp_path / "results"
    shutil.copytree(drawn, root)
    path = root / "evaluation" / RUN / "summary.json"
    summary = read_json(path)
    groups = [summary["model"]["consensus"], *summary["ceiling"].values()]
    for group, classes in [(groups, list(KEYS)), (groups[:1], list(KEYS[1:]))]:
        for part in group:
            part["macro"]["macro_classes"] = {"dice_present": classes, "dice_nnunet": list(KEYS)}
        write_json(path, summary)
        build(tmp_path / "report", root, "phantom", [RUN], **BARE)
        text = " ".join((tmp_path / "report" / INDEX).read_text().split())
        assert ("macro means are over different classes" in text) == (len(classes) < len(KEYS))
        assert ("model IPH, IVH, SAH, SDH where present," in text) == (len(classes) < len(KEYS))


def test_data_and_provenance_are_on_the_page(page, drawn):
    text = " ".join("".join(data for _, data in page.texts).split())
    assert "12 scans of 11 patients, 84 slices, 3 raters, 1 trained model." in text
    assert (drawn / "raw/archive.zip.sha256").read_text().split()[0] in text
    assert "snakemake --cores 2" in text
    assert "slices.size" in text
    assert text.count("Research only") == 2
    folds = [row[1] for row in page.rows if row and row[0] in ("0", "1", "all") and len(row) == 11]
    assert folds == ["train", "valid", "train", "valid", "test"]


def test_flagged_cases_are_shown_and_excluded_ones_listed(page, report, drawn):
    text = " ".join("".join(data for _, data in page.texts).split())
    cases = read_table(drawn / "inventory/cases.tsv")
    found = read_table(drawn / "inventory/findings.tsv")
    n = {kind: int((found["severity"] == kind).sum()) for kind in ("error", "warning", "info")}
    assert f"found {n['error']} errors, {n['warning']} warnings, {n['info']} notes" in text
    excluded = sorted(cases.loc[cases["status"] == "excluded", "case"])
    assert len(excluded) == 2
    assert "2 cases were excluded" in text
    for case in excluded:
        why = found[(found["case"] == case) & (found["severity"] == "error")]
        row = page.row(case)
        assert row[1] == "; ".join(why["what"].unique())
        assert row[2] == "; ".join(why["remedy"].unique())
    flagged = {*found.loc[found["severity"] != "info", "case"]} & {*cases["case"]}
    shown = {image["alt"].split()[2] for image in page.of("img") if "img/qc/" in image["src"]}
    assert {*excluded} < flagged
    unreadable = {case for case in flagged if not (drawn / THUMBNAILS / f"{case}.png").is_file()}
    assert len(unreadable) == 1
    assert shown == flagged - unreadable
    assert "no picture" in text
    for image in page.of("img"):
        if "img/qc/" in image["src"]:
            case = image["alt"].split()[2]
            kept = read_image(drawn / THUMBNAILS / f"{case}.png").astype(int)
            small = read_image(report / image["src"])
            assert small.shape == kept.shape
            assert abs(small - kept).mean() < 6


def test_no_finding_no_flag(tmp_path):
    rows = {"case": ["a"], "status": ["ok"]}
    write_table(tmp_path / "cases.tsv", pd.DataFrame(rows))
    none = pd.DataFrame(columns=["case", "file", "severity", "what", "remedy"])
    write_table(tmp_path / "findings.tsv", none)
    tables = tmp_path / "cases.tsv", tmp_path / "findings.tsv"
    found = quality(*tables, [], Assets(tmp_path))
    assert found == Quality([], dict.fromkeys(("error", "warning", "info"), 0), [], 0, 0, 0)


def test_data_alone_makes_a_report_without_runs(drawn, tmp_path):
    build(tmp_path / "report", drawn, "phantom", [], **BARE)
    page = Page((tmp_path / "report" / INDEX).read_text())
    text = "".join(data for _, data in page.texts)
    assert "At a glance" not in text
    assert "0 trained" in text


def test_hostile_names_stay_text(drawn, tmp_path):
    name = "<script>alert('1')</script>&amp;\"><img src=x onerror=alert(2)>"
    odd = {"config": {name: {name: name}}, "windows": [Window(name, 40, 80)]}
    odd["window"] = odd["windows"][0]
    build(tmp_path / "r", drawn, name, [RUN], **odd, command=name, commit=name)
    html = (tmp_path / "r" / INDEX).read_text()
    page = Page(html)
    assert not page.of("script")
    viewer = Page((tmp_path / "r" / "viewer.html").read_text())
    assert len(viewer.of("script")) == 2
    assert not viewer.of("img")
    assert {i["src"] for i in page.of("img")} == {
        a["href"] for a in page.of("a") if "img/" in a["href"]
    }
    assert ("h1", name) in page.texts
    assert ("td", "<script>alert(1)</script>") in page.texts  # from findings.tsv
    assert ("th", "<b>&\"x'</b>") in page.texts


def test_windows_are_those_given_in_their_order(drawn, tmp_path):
    windows = [Window("lung", -600, 1500), Window("brain", 35.5, 90)]
    build(tmp_path / "r", drawn, "phantom", [RUN], config={}, windows=windows, window=windows[1])
    offered = viewer_index(tmp_path / "r")["windows"]
    assert offered == [window._asdict() for window in windows]
    html = (tmp_path / "r" / INDEX).read_text()
    assert html.count("brain window, level 35.5, width 90 HU") == 2  # thumbnails and overlays


def test_an_unknown_name_in_a_template_is_an_error():
    with pytest.raises(Exception, match="undefined"):
        render("provenance.html.j2", {})


def test_runs_get_different_folders():
    slugs = unique_slugs(["a/b", "a b", "a-b", "../x", ""])
    assert len(set(slugs)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", slug) for slug in slugs)


def test_settings_read_as_in_the_config():
    facts = flatten({"a": {"b": [1, None, True], "c": {}}, "d": 1e-4, "e": "x"})
    assert [tuple(fact) for fact in facts] == [
        ("a.b", "[1, null, true]"),
        ("a.c", "none"),
        ("d", "0.0001"),
        ("e", "x"),
    ]
    assert as_text(False) == "false"


# --- for everyone


@pytest.mark.parametrize("name", ["index.html", "viewer.html"])
def test_landmarks_headings_and_tables_are_marked(report, name):
    page = Page((report / name).read_text())
    assert page.of("html")[0]["lang"] == "en"
    for landmark in ("header", "main", "footer"):
        assert len(page.of(landmark)) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all("scope" in attributes for attributes in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table")) >= 2
    assert len(page.of("label")) == len(page.of("select")) + len(page.of("input")) - (
        1 if name == "viewer.html" else 0  # the slider has its own name
    )
    for image in page.of("img"):
        assert len(image["alt"]) > 20
        assert int(image["width"]) > 0
    for attributes in (a for _, a in page.elements if a.get("role") == "region"):
        assert attributes["tabindex"] == "0"  # a keyboard can scroll it
        assert attributes["aria-label"]


def test_colours_have_contrast(report):
    css = (report / "report.css").read_text()
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", part))
        for part in css.split("@media (prefers-color-scheme: dark)")
    )
    dark = {**light, **{k: v for k, v in dark.items() if k in light}}
    for colours in (light, dark):
        for ground in ("paper", "card"):
            for name in ("ink", "soft", "link", "error"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        assert contrast(colours["warn-ink"], colours["warn-paper"]) >= 4.5
        assert contrast(colours["focus"], colours["paper"]) >= 2.5


def contrast(one: str, other: str) -> float:
    """Ratio of relative luminances, as WCAG 2 defines it."""
    lights = []
    for colour in (one, other):
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)
