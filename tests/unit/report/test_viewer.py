"""The viewer's data: labels exact, slices in place, sizes within the budget."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.files import read_table, write_table
from mbhseg.imaging import sprites
from mbhseg.imaging.nifti import image_array, label_array, load_labels, voxel_ml
from mbhseg.imaging.windows import Window
from mbhseg.inspect.archive import Archive
from mbhseg.prepare.consensus import consensus
from mbhseg.report.viewer import write_viewer
from tests.volumes import decode_labels

RUN = "flexunet-f0-s137"
WINDOWS = (Window("brain", 40, 80),)


def script(path: Path, what: str) -> dict[str, Any]:
    text = path.read_text(encoding="ascii")
    assert text.startswith(f"mbhsegViewer.{what}(")
    assert text.endswith(");\n")
    assert "<" not in text
    return json.loads(text[len(f"mbhsegViewer.{what}(") : -3])


# --- labels and grey


@settings(max_examples=150, deadline=None)
@given(
    labels=hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 7]),
    )
)
def test_labels_come_back(labels):
    text = sprites.encode_labels(labels)
    assert (decode_labels(text, labels.shape) == labels).all()
    assert bool(text) == bool(labels.any())


def test_long_runs_and_gaps_come_back():
    labels = np.zeros((512, 512), np.uint8)
    labels[300:420, :] = 5
    labels[511, 511] = 1
    text = sprites.encode_labels(labels)
    assert len(text) < 20
    assert (decode_labels(text, labels.shape) == labels).all()


def test_tone_is_one_grey_a_hu_where_bleeds_are_read():
    hu = np.arange(-50, 151)
    assert (np.diff(sprites.to_tone(hu).astype(int)) == 1).all()
    ends = sprites.to_tone(np.array([-33762, -1024, 3000, 31701, np.nan]))
    assert ends.tolist() == [0, 0, 255, 255, 0]
    assert (np.diff(sprites.to_tone(np.arange(-2000, 4000)).astype(int)) >= 0).all()


def test_sprite_holds_every_tile_in_its_place():
    rng = np.random.default_rng(1)
    images = [np.full((40, 24), g, np.uint8) for g in rng.integers(20, 230, 19)]
    data = sprites.sprite(images, sprites.Rung(512, 90))
    sheet = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert sheet.shape == (3 * 40, 8 * 24)
    for n, image in enumerate(images):
        top, left = n // 8 * 40, n % 8 * 24
        tile = sheet[top + 4 : top + 36, left + 4 : left + 20].astype(int)
        assert abs(tile - int(image[0, 0])).max() <= 3
    assert sprites.sprite(images, sprites.Rung(512, 90)) == data
    small = sprites.sprite(images[:2], sprites.Rung(20, 90))
    assert cv2.imdecode(np.frombuffer(small, np.uint8), 0).shape == (20, 24)
    with pytest.raises(ValueError, match="needs a slice"):
        sprites.sprite([], sprites.Rung(20, 90))


def test_quality_falls_with_the_budget():
    rng = np.random.default_rng(2)
    samples = [[rng.integers(0, 255, (64, 64), np.uint8) for _ in range(4)]]
    rungs = [sprites.choose_rung(samples, 4, budget) for budget in (10**6, 9000, 3000, 20)]
    assert rungs[0] == sprites.LADDER[0]
    assert rungs[-1] is None
    assert rungs[1] is not None
    places = [sprites.LADDER.index(rung) for rung in rungs[:-1] if rung]
    assert places == sorted(places)
    size = len(sprites.sprite(samples[0], rungs[1]))
    assert size <= 9000


# --- the folder


def test_every_source_of_every_case_is_exact(report, drawn, archive_path):
    index = script(report / "viewer/index.js", "index")
    test = read_table(drawn / "split/fold0.tsv").query("subset == 'test'")["case"]
    assert [entry["id"] for entry in index["cases"]] == sorted(test)
    with Archive(archive_path) as archive:
        for entry in index["cases"]:
            data = script(report / entry["script"], "open")
            files = archive.cases[entry["id"]]
            labels = {k: label_array(archive.nifti(m), m) for k, m in files.labels.items()}
            predicted, affine = load_labels(drawn / f"predictions/{RUN}/test/{entry['id']}.nii.gz")
            volumes = {f"rater{k}": volume for k, volume in labels.items()}
            volumes |= {"consensus": consensus(labels, "majority"), f"model:{RUN}": predicted}
            assert set(data["sources"]) == set(volumes)
            assert data["voxelMl"] == pytest.approx(voxel_ml(affine))
            shape = data["rows"], data["columns"]
            for name, planes in data["sources"].items():
                for n, text in zip(data["planes"], planes, strict=True):
                    shown = decode_labels(text, shape)
                    assert (shown == np.rot90(volumes[name][:, :, n])).all()
            sheet = cv2.imdecode(np.fromfile(report / entry["sprite"], np.uint8), 0)
            hu = image_array(archive.nifti(files.image))
            rows, columns = shape
            for n, plane in enumerate(data["planes"]):
                top, left = n // data["across"] * rows, n % data["across"] * columns
                tile = sheet[top : top + rows, left : left + columns].astype(float)
                tone = np.rot90(sprites.to_tone(hu[:, :, plane])).astype(float)
                assert np.corrcoef(tile.ravel(), tone.ravel())[0, 1] > 0.99


def test_scores_in_the_list_are_those_of_the_tables(report, drawn):
    folder = drawn / "evaluation" / RUN
    table = read_table(folder / "cases.csv").query("reference == 'consensus'")
    ceiling = read_table(folder / "ceiling.csv")
    others = ceiling[ceiling["reference"].str.startswith("consensus-without-")]
    index = script(report / "viewer/index.js", "index")
    names = [score["key"] for score in index["scores"]]
    assert names[0] == "dice"
    assert {"candidate_ml", "difference_ml", "raters_dice"} <= set(names)
    for entry in index["cases"]:
        rows = table[table["case"] == entry["id"]].set_index("class")
        found = entry["scores"][RUN]

        def same(score: str, key: str, value: float, found: Any = found) -> bool:
            expected = None if np.isnan(value) else pytest.approx(value, abs=1e-6)
            return found[score][key] == expected

        for key, row in rows.iterrows():
            assert same("dice", key, row["dice"])
            assert same("candidate_ml", key, row["candidate_ml"])
            assert same("difference_ml", key, row["candidate_ml"] - row["reference_ml"])
            human = others[(others["case"] == entry["id"]) & (others["class"] == key)]["dice"]
            assert same("raters_dice", key, human.mean())
        present = rows.loc[list(KEYS)].query("reference_voxels > 0")
        assert same("dice", "mean", present["dice"].mean())
        assert found["candidate_ml"]["mean"] is None


def test_too_small_a_budget_leaves_out_cases_evenly(drawn, tmp_path):
    every = write_viewer(tmp_path / "every", drawn, [RUN], WINDOWS)
    texts = [path.stat().st_size for path in (tmp_path / "every/viewer").glob("case*.js")]
    budget = sum(texts) * 3 // 4  # not even the labels fit
    few = write_viewer(tmp_path / "few", drawn, [RUN], WINDOWS, budget=budget)
    assert every.n_shown == every.n_cases == few.n_cases == len(texts)
    assert 1 <= few.n_shown < few.n_cases
    for suffix in ("webp", "js"):
        shown = list((tmp_path / "few/viewer").glob(f"case*.{suffix}"))
        assert len(shown) == few.n_shown, suffix
    assert sum(path.stat().st_size for path in (tmp_path / "few/viewer").glob("case*")) <= budget
    assert write_viewer(tmp_path / "none", drawn, [], WINDOWS) is None
    assert not (tmp_path / "none").exists()


def test_a_split_by_slice_shows_the_scored_slices(drawn, tmp_path):
    root = tmp_path / "results"
    shutil.copytree(drawn, root)
    fold = read_table(root / "split/fold0.tsv")
    cut = fold.loc[fold.index.repeat(2)].assign(slice=[1, 4] * len(fold))
    write_table(root / "split/fold0.tsv", cut)
    write_viewer(tmp_path / "report", root, [RUN], WINDOWS)
    entry = script(tmp_path / "report/viewer/index.js", "index")["cases"][0]
    assert script(tmp_path / "report" / entry["script"], "open")["planes"] == [1, 4]
    assert entry["slices"] == 2


def test_a_lost_prediction_is_named(drawn, tmp_path):
    root = tmp_path / "results"
    shutil.copytree(drawn, root)
    lost = sorted((root / f"predictions/{RUN}/test").glob("*.nii.gz"))[0]
    lost.unlink()
    with pytest.raises(InputError, match=lost.name):
        write_viewer(tmp_path / "report", root, [RUN], WINDOWS)
