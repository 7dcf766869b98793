"""Figures: the numbers they show, honest axes, and the same bytes every time."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mbhseg.classes import ANY, KEYS
from mbhseg.errors import InputError
from mbhseg.figures import agreement, dataset, examples, scores, style
from mbhseg.files import read_table
from mbhseg.imaging.nifti import image_array, label_array, load_labels
from mbhseg.imaging.png import read_image
from mbhseg.imaging.windows import Window, to_grey
from mbhseg.inspect.archive import Archive
from mbhseg.metrics.summary import summarise
from mbhseg.prepare.consensus import Consensus, consensus
from mbhseg.split.partition import balance

WINDOW = Window("own", 55, 90)
Keep = Callable[[ModuleType], list[Figure]]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Keep the figures that a module saves, to look at what was drawn."""

    def keep(module: ModuleType) -> list[Figure]:
        figures: list[Figure] = []

        def save(figure: Figure, path: Path) -> None:
            figures.append(figure)
            style.save(figure, path)

        monkeypatch.setattr(module, "save", save)
        return figures

    return keep


def run_of(results: Path) -> Path:
    return results / "evaluation" / "flexunet-f0-s137"


# --- numbers behind the figures


def test_class_counts_by_hand():
    rows = [
        ("train", "a1", "IPH,SAH"),
        ("train", "a1", ""),
        ("train", "a2", "SAH"),  # the same patient's second scan
        ("train", "b1", ""),
        ("test", "c1", "EDH"),
    ]
    table = pd.DataFrame(rows, columns=["subset", "case", "classes"])
    split = pd.DataFrame({"case": ["a1", "a2", "b1", "c1"], "patient": ["a", "a", "b", "c"]})
    counts = dataset.class_counts(table, split).set_index(["subset", "class"])
    assert tuple(counts.loc["train", "SAH"]) == (2, 1)
    assert tuple(counts.loc["train", "IPH"]) == (1, 1)
    assert tuple(counts.loc["train", "EDH"]) == (0, 0)
    assert tuple(counts.loc["train", ANY]) == (2, 1)
    assert tuple(counts.loc["train", "all"]) == (4, 2)
    assert tuple(counts.loc["train", "none"]) == (2, 1)  # two slices, and patient b
    assert tuple(counts.loc["valid", "all"]) == (0, 0)
    assert tuple(counts.loc["test", "EDH"]) == (1, 1)


def test_samples_cover_every_class_and_do_not_depend_on_order(results):
    table = read_table(results / "dataset.tsv")
    chosen = dataset.choose_samples(table, "train", 8)
    there = set(",".join(table[table["subset"] == "train"]["classes"]).split(",")) - {""}
    assert set(",".join(s.classes for s in chosen).split(",")) == there
    assert len(there) >= 4
    assert len(set(chosen)) == 8
    bleeding = table[(table["subset"] == "train") & (table["classes"] != "")]
    assert {s.case for s in chosen} == set(bleeding["case"])
    shuffled = table.sample(frac=1, random_state=1)
    assert dataset.choose_samples(shuffled, "train", 8) == chosen


def test_samples_of_few_slices_are_all_of_them():
    rows = [("test", "a", n, f"i{n}", f"m{n}", "EDH" if n else "") for n in range(3)]
    columns = ["subset", "case", "slice", "image", "mask", "classes"]
    table = pd.DataFrame(rows, columns=columns)
    assert [s.plane for s in dataset.choose_samples(table, "test", 9)] == [0, 1, 2]
    assert [s.plane for s in dataset.choose_samples(table, "test", 2)] == [1, 2]  # bleeds first
    assert dataset.choose_samples(table, "train", 9) == []


def test_rater_pairs_are_each_pair_once(results):
    pairs = read_table(results / "agreement/pairs.csv")
    shown = agreement.rater_pairs(pairs)
    expected = 0
    for _, rows in pairs[pairs["dice"].notna()].groupby(["case", "class"]):
        among = rows[
            rows["reference"].str.fullmatch(r"rater\d+")
            & rows["candidate"].str.fullmatch(r"rater\d+")
        ]
        expected += len(
            {frozenset(p) for p in zip(among["candidate"], among["reference"], strict=True)}
        )
    assert len(shown) == expected > 50
    assert shown["dice"].between(0, 1).all()


@pytest.mark.parametrize("present", [True, False])
def test_scores_drawn_are_the_scores_of_the_summary(results, present):
    table, ceiling = (read_table(run_of(results) / f"{n}.csv") for n in ("cases", "ceiling"))
    name = "dice_present" if present else "dice_nnunet"
    for lane in scores.lanes(table, ceiling):
        summary = summarise(lane.rows)["classes"]
        for key in (*KEYS, ANY):
            drawn = scores.class_scores(lane.rows, key, present)
            assert len(drawn) == summary[key]["n_present" if present else "n_scored"]
            assert drawn.mean() == pytest.approx(summary[key][name], nan_ok=True)


def test_cases_are_ranked_by_mean_dice_over_present_classes():
    rows = [
        ("a", "consensus", "EDH", 9, 0.9),
        ("a", "consensus", "SDH", 0, 0.0),  # a false positive is no present class
        ("a", "consensus", ANY, 9, 0.1),
        ("a", "rater1", "EDH", 9, 0.2),
        ("b", "consensus", "EDH", 5, 1.0),
        ("b", "consensus", "IPH", 5, 0.0),  # missed
        ("c", "consensus", "EDH", 0, np.nan),  # no bleed: no rank
        ("d", "consensus", "SAH", 3, 0.5),
    ]
    table = pd.DataFrame(rows, columns=["case", "reference", "class", "reference_voxels", "dice"])
    ranked = examples.rank_cases(table)
    assert ranked.to_dict("list") == {
        "case": ["a", "b", "d"],
        "dice": [0.9, 0.5, 0.5],
        "n_classes": [1, 2, 1],
    }
    assert [(c.rank, c.case) for c in examples.choose_cases(table)] == [
        ("best", "a"),
        ("median", "b"),
        ("worst", "d"),
    ]
    two = table[table["case"].isin(["a", "d"])]
    assert [(c.rank, c.case) for c in examples.choose_cases(two)] == [("best", "a"), ("worst", "d")]
    assert [c.rank for c in examples.choose_cases(table[table["case"] == "d"])] == ["best"]
    assert examples.choose_cases(table[table["case"] == "c"]) == []


def test_informative_plane_weighs_classes_alike():
    reference, prediction = np.zeros((2, 4, 4, 5), np.uint8)
    reference[:, :, 1] = 2  # much of one class
    reference[0, 0, 3] = 1  # a little of two others, but all of them
    reference[1, 0, 3] = 5
    assert examples.informative_plane(reference, prediction) == 3
    assert examples.informative_plane(reference, prediction, [0, 1, 2]) == 1
    assert examples.informative_plane(reference * 0, prediction * 0) == 2
    assert examples.informative_plane(reference, prediction, [4, 0]) == 4


def test_a_false_positive_shows_by_its_size():
    reference, prediction = np.zeros((2, 4, 4, 5), np.uint8)
    reference[:2, :, 1] = 2
    prediction[3, 3, 0] = 4  # a speck does not win over the bleed
    assert examples.informative_plane(reference, prediction) == 1
    assert examples.informative_plane(reference * 0, prediction) == 0  # unless it is all there is
    prediction[:, :3, 4] = 4
    assert examples.informative_plane(reference * 0, prediction) == 4


def test_panel_holds_the_slice_of_scan_consensus_and_prediction(results, archive_path):
    table = read_table(run_of(results) / "cases.csv")
    choice = examples.choose_cases(table)[0]
    folder = results / "predictions/flexunet-f0-s137/test"
    with Archive(archive_path) as archive:
        panel = examples.read_panel(archive, choice, folder, Consensus(), WINDOW)
        files = archive.cases[choice.case]
        hu = image_array(archive.nifti(files.image))[:, :, panel.plane]
        labels = {k: label_array(archive.nifti(m), m) for k, m in files.labels.items()}
    truth = consensus(labels, "majority")[:, :, panel.plane]
    predicted = load_labels(folder / f"{choice.case}.nii.gz")[0][:, :, panel.plane]
    assert (panel.grey == np.rot90(to_grey(hu, WINDOW))).all()
    assert (panel.reference == np.rot90(truth)).all()
    assert (panel.prediction == np.rot90(predicted)).all()
    assert truth.any()


# --- what is drawn


def test_statistics_bars_are_as_long_as_the_counts(results, tmp_path, kept):
    figures = kept(dataset)
    table, split = read_table(results / "dataset.tsv"), read_table(results / "split/fold0.tsv")
    dataset.statistics(table, split, tmp_path / "statistics.png")
    images, slices, patients = figures[0].axes
    heights = [bar.get_height() for bar in images.patches]
    assert heights == [(table["subset"] == s).sum() for s in ("train", "valid", "test")]
    assert images.get_ylim()[0] == slices.get_xlim()[0] == patients.get_xlim()[0] == 0
    counts = dataset.class_counts(table, split).set_index(["subset", "class"])
    for axes, column in ((slices, "slices"), (patients, "patients")):
        lengths = [bar.get_width() for bar in axes.patches]
        rows = [(s, k) for s in ("train", "valid", "test") for k in (*KEYS, "none")]
        assert lengths == [counts.loc[row, column] for row in rows]


def test_dice_axes_are_whole(results, tmp_path, kept):
    kept_agreement, kept_scores = kept(agreement), kept(scores)
    agreement.agreement(read_table(results / "agreement/pairs.csv"), tmp_path / "a.png")
    table, ceiling = (read_table(run_of(results) / f"{n}.csv") for n in ("cases", "ceiling"))
    scores.scores(table, ceiling, tmp_path / "s.png", "title")
    low, high = kept_agreement[0].axes[0].get_ylim()
    assert low <= 0
    assert high >= 1
    for axes in kept_scores[0].axes:
        low, high = axes.get_xlim()
        assert low <= 0
        assert high >= 1


def test_balance_shows_shares_of_patients(results, tmp_path, kept):
    figures = kept(dataset)
    listed, counts = (read_table(results / f"inventory/{n}.tsv") for n in ("cases", "slices"))
    tables = {
        k: balance(read_table(results / f"split/fold{k}.tsv"), listed, counts) for k in (0, 1)
    }
    dataset.split_balance(tables, tmp_path / "balance.png")
    train, valid, test = figures[0].axes[0].collections
    assert (len(train.get_offsets()), len(valid.get_offsets())) == (12, 12)
    assert len(test.get_offsets()) == 6  # once, as it is the same in both folds
    chosen = tables[0][tables[0]["subset"] == "test"].set_index("class")["patients"]
    expected = [100 * chosen[key] / chosen["all"] for key in (*KEYS, ANY)]
    assert [x for x, _ in test.get_offsets()] == pytest.approx(expected)
    with pytest.raises(ValueError, match="no fold"):
        dataset.split_balance({}, tmp_path / "none.png")


def test_same_input_same_bytes_whatever_the_users_settings(drawn, tmp_path, draw):
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "savefig.dpi": 20}):
        draw(tmp_path)
    assert dict(matplotlib.rcParams) == before
    again = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.png"))
    assert len(again) == 11
    for name in again:
        data = (tmp_path / name).read_bytes()
        assert data == (drawn / name).read_bytes(), name
        assert b"Software" not in data, name
        assert b"tIME" not in data, name
        assert min(read_image(tmp_path / name).shape[:2]) > 300, name


def test_nothing_to_draw_is_said(results, tmp_path):
    pairs = read_table(results / "agreement/pairs.csv")
    agreement.agreement(pairs.iloc[:0], tmp_path / "agreement.png")
    table, ceiling = (read_table(run_of(results) / f"{n}.csv") for n in ("cases", "ceiling"))
    scores.scores(table, ceiling.iloc[:0], tmp_path / "scores.png", "one rater a case")
    examples.overlay_panel([], tmp_path / "overlays.png", "no bleed")
    for name in ("agreement", "scores", "overlays"):
        assert read_image(tmp_path / f"{name}.png").size
    table = read_table(results / "dataset.tsv")
    with pytest.raises(InputError, match="subset valid"):
        dataset.sample_grid(
            table[table["subset"] != "valid"],
            results,
            "valid",
            4,
            tmp_path / "i.png",
            tmp_path / "m.png",
        )


def test_names_with_dollars_are_no_formulas(results, tmp_path):
    table = read_table(results / "dataset.tsv").assign(case="ID_$x_{\\a$")
    dataset.sample_grid(table, results, "test", 2, tmp_path / "i.png", tmp_path / "m.png")
    table, ceiling = (read_table(run_of(results) / f"{n}.csv") for n in ("cases", "ceiling"))
    scores.scores(table, ceiling, tmp_path / "s.png", "$\\bad{$")
