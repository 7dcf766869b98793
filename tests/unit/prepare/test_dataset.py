"""The assembled data set: the same for any shards and order, whole or not at all."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mbhseg.config.run_names import SUBSETS
from mbhseg.errors import InputError
from mbhseg.files import manifest_of, read_table, sha256, slice_name
from mbhseg.imaging.masks import encode_rgb, read_mask
from mbhseg.imaging.png import read_image, write_png
from mbhseg.prepare import dataset
from mbhseg.prepare.dataset import Png, SliceId

CASES = {"ID_a_ID_1": 3, "ID_a_ID_2": 1, "ID_b_ID_1": 2, "ID_c_ID_1": 2, "ID_d_ID_1": 0}
SPLIT = pd.DataFrame(
    [
        ("ID_a_ID_1", "ID_a", "train"),
        ("ID_a_ID_2", "ID_a", "train"),
        ("ID_b_ID_1", "ID_b", "valid"),
        ("ID_c_ID_1", "ID_c", "test"),
        ("ID_d_ID_1", "ID_d", "test"),
    ],
    columns=["case", "patient", "subset"],
)
Index = Mapping[SliceId, Png]


def shards(root: Path, n: int) -> tuple[Index, Index]:
    """Images and masks of CASES in n shards, as the slice and rasterize stages write them."""
    found = []
    for stage, under in (("slices", ""), ("masks", "consensus")):
        manifests = []
        for i in range(n):
            folder = root / stage / f"{i + 1}-of-{n}"
            (folder / under).mkdir(parents=True)
            for case in sorted(CASES)[i::n]:
                for z in range(CASES[case]):
                    write_png(folder / under / slice_name(case, z), picture(stage, case, z))
            manifest = manifest_of(folder)
            if stage == "masks":  # an empty cell is read as NaN
                bleeds = ~manifest["file"].str.endswith("_000.png")
                manifest["classes"] = bleeds.map({True: "SAH", False: float("nan")})
            manifests.append((folder, manifest))
        found.append(dataset.index_shards(reversed(manifests), under))
    return found[0], found[1]


def picture(stage: str, case: str, z: int) -> np.ndarray:
    """An image whose grey values say which slice it is, or a mask with one pixel of SAH."""
    if stage == "masks":
        labels = np.zeros((4, 4), np.uint8)
        labels[0, z] = 4 if z else 0
        return encode_rgb(labels)
    return np.full((4, 4, 3), sorted(CASES).index(case) * 10 + z, np.uint8)


def assembled(root: Path, images: Index, masks: Index, split: pd.DataFrame = SPLIT) -> pd.DataFrame:
    return dataset.assemble(
        split, images, masks, root=root, out_dir=root / "dataset", out_table=root / "dataset.tsv"
    )


def test_layout_and_manifest(tmp_path: Path) -> None:
    table = assembled(tmp_path, *shards(tmp_path, 2))
    assert tuple(table.columns) == dataset.COLUMNS
    keys = list(table[["subset", "case", "slice"]].itertuples(index=False, name=None))
    assert keys == [
        ("train", "ID_a_ID_1", 0),
        ("train", "ID_a_ID_1", 1),
        ("train", "ID_a_ID_1", 2),
        ("train", "ID_a_ID_2", 0),
        ("valid", "ID_b_ID_1", 0),
        ("valid", "ID_b_ID_1", 1),
        ("test", "ID_c_ID_1", 0),
        ("test", "ID_c_ID_1", 1),
    ]
    assert table["image"][1] == "dataset/train/images/ID_a_ID_1_001.png"
    assert table["mask"][7] == "dataset/test/masks/ID_c_ID_1_001.png"
    assert list(table["classes"]) == ["", "SAH", "SAH", "", "", "SAH", "", "SAH"]
    for row in table.to_dict("records"):
        assert sha256(tmp_path / row["image"]) == row["image_sha256"]
        assert sha256(tmp_path / row["mask"]) == row["mask_sha256"]
        pixels = read_image(tmp_path / row["image"])
        np.testing.assert_array_equal(pixels, picture("slices", row["case"], row["slice"]))
        np.testing.assert_array_equal(
            read_mask(tmp_path / row["mask"]) == 4,
            (picture("masks", row["case"], row["slice"]) != 0).any(axis=-1),
        )
    listed = {f"dataset/{name}" for name in manifest_of(tmp_path / "dataset")["file"]}
    assert listed == set(table["image"]) | set(table["mask"])
    read = read_table(tmp_path / "dataset.tsv", text=("classes",))
    pd.testing.assert_frame_equal(read, table, check_dtype=False)


def test_same_for_any_number_of_shards(tmp_path: Path) -> None:
    results = []
    for n in (1, 2, 4):
        root = tmp_path / str(n)
        assembled(root, *shards(root, n))
        results.append((manifest_of(root / "dataset"), (root / "dataset.tsv").read_bytes()))
    for manifest, table in results[1:]:
        pd.testing.assert_frame_equal(manifest, results[0][0])
        assert table == results[0][1]


def test_files_are_links(tmp_path: Path) -> None:
    images, masks = shards(tmp_path, 1)
    table = assembled(tmp_path, images, masks)
    assert images["ID_a_ID_1", 0].path.samefile(tmp_path / table["image"][0])


def _refuse(code: int) -> Callable[..., None]:
    def link(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    return link


def test_files_are_copied_where_links_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, masks = shards(tmp_path, 1)
    monkeypatch.setattr(os, "link", _refuse(errno.EXDEV))
    table = assembled(tmp_path, images, masks)
    copy = tmp_path / table["image"][0]
    assert not images["ID_a_ID_1", 0].path.samefile(copy)
    assert sha256(copy) == table["image_sha256"][0]


def test_a_full_disk_is_no_reason_to_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, masks = shards(tmp_path, 1)
    monkeypatch.setattr(os, "link", _refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        assembled(tmp_path, images, masks)


def test_slice_level_split(tmp_path: Path) -> None:
    rows = [("ID_a_ID_1", "ID_a", subset, z) for z, subset in enumerate(SUBSETS)]
    split = pd.DataFrame(rows, columns=["case", "patient", "subset", "slice"])
    table = assembled(tmp_path, *shards(tmp_path, 1), split)
    assert list(table["image"]) == [
        f"dataset/{subset}/images/ID_a_ID_1_{z:03d}.png" for z, subset in enumerate(SUBSETS)
    ]
    images, masks = shards(tmp_path / "again", 1)
    lost = {key: png for key, png in images.items() if key != ("ID_a_ID_1", 2)}
    with pytest.raises(InputError, match=r"ID_a_ID_1_002\.png: .*test.* no image"):
        assembled(tmp_path, lost, masks, split)


def test_masks_without_image_and_cases_outside_the_split_are_left_out(tmp_path: Path) -> None:
    images, masks = shards(tmp_path, 1)
    fewer = {key: png for key, png in images.items() if key[1] == 0}
    table = assembled(tmp_path, fewer, masks, SPLIT[SPLIT["patient"] != "ID_c"])
    assert list(table["case"]) == ["ID_a_ID_1", "ID_a_ID_2", "ID_b_ID_1"]
    assert (tmp_path / "dataset/test/masks").is_dir()


def test_faults_leave_nothing(tmp_path: Path) -> None:
    images, masks = shards(tmp_path, 1)
    assembled(tmp_path, images, masks)
    before = manifest_of(tmp_path / "dataset")
    half = {key: png for key, png in masks.items() if key[1] == 0}
    with pytest.raises(InputError, match=r"ID_a_ID_1_001\.png: .*mask"):
        assembled(tmp_path, images, half)
    images["ID_c_ID_1", 1].path.unlink()
    with pytest.raises(InputError, match=r"ID_c_ID_1_001\.png: .*missing"):
        assembled(tmp_path, images, masks)
    assert not (tmp_path / "dataset.tsv").exists()
    pd.testing.assert_frame_equal(manifest_of(tmp_path / "dataset"), before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset", "masks", "slices"]


def annotated(root: Path, n: int) -> pd.DataFrame:
    """Two raters' masks and the votes of two slices of CASES, in n shards."""
    made = []
    for i in range(n):
        folder = root / "masks" / f"{i + 1}-of-{n}"
        for case in sorted(CASES)[i::n]:
            for kind in ("consensus", "rater1", "rater3", "soft"):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                if kind != "rater1" or case != "ID_b_ID_1":  # which rater 1 did not annotate
                    for z in range(CASES[case]):
                        write_png(folder / kind / slice_name(case, z), picture("masks", case, z))
        manifest = manifest_of(folder)
        manifest["classes"] = ["" if "soft" in file else "SAH" for file in manifest["file"]]
        made.append((folder, manifest))
    place, table = root / "annotations", root / "annotations.tsv"
    return dataset.assemble_annotations(reversed(made), root=root, out_dir=place, out_table=table)


def test_annotations_are_every_raters_masks_and_the_votes(tmp_path: Path) -> None:
    table = annotated(tmp_path, 2)
    assert tuple(table.columns) == dataset.ANNOTATION_COLUMNS
    slices_of = {case: n for case, n in CASES.items() if n}
    assert list(table[["case", "slice", "annotation"]].itertuples(index=False, name=None)) == [
        (case, z, kind)
        for case, n in slices_of.items()
        for z in range(n)
        for kind in ("rater1", "rater3", "soft")
        if (case, kind) != ("ID_b_ID_1", "rater1")
    ]
    assert table["mask"][0] == "annotations/rater1/ID_a_ID_1_000.png"
    for row in table.to_dict("records"):
        assert sha256(tmp_path / row["mask"]) == row["mask_sha256"]
        assert row["classes"] == ("" if row["annotation"] == "soft" else "SAH")
    read = read_table(tmp_path / "annotations.tsv")
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    assert {f"annotations/{f}" for f in manifest_of(tmp_path / "annotations")["file"]} == set(
        table["mask"]
    )


def test_annotations_do_not_depend_on_the_shards(tmp_path: Path) -> None:
    for n in (1, 3):
        annotated(tmp_path / str(n), n)
    one, three = (tmp_path / str(n) for n in (1, 3))
    pd.testing.assert_frame_equal(
        manifest_of(one / "annotations"), manifest_of(three / "annotations")
    )
    assert (one / "annotations.tsv").read_bytes() == (three / "annotations.tsv").read_bytes()


def test_without_masks_of_raters_there_are_no_annotations(tmp_path: Path) -> None:
    manifest = pd.DataFrame({"file": ["consensus/c_000.png"], "sha256": ["00"], "classes": [""]})
    place, listed = tmp_path / "annotations", tmp_path / "annotations.tsv"
    table = dataset.assemble_annotations(
        [(tmp_path / "masks", manifest)], root=tmp_path, out_dir=place, out_table=listed
    )
    assert table.empty
    assert not list(place.iterdir())
    assert tuple(read_table(listed).columns) == dataset.ANNOTATION_COLUMNS


class TestGather:
    def test_only_the_asked_folder(self) -> None:
        files = ["consensus/ID_a_ID_1_000.png", "rater1/ID_a_ID_1_000.png"]
        manifest = pd.DataFrame({"file": files, "sha256": ["00", "11"], "classes": ["IPH", ""]})
        found = dataset.index_shards([("masks/1", manifest)], "rater1")
        assert found == {("ID_a_ID_1", 0): Png(Path("masks/1") / files[1], "11", "")}
        assert dataset.index_shards([("masks/1", manifest)]) == {}

    @pytest.mark.parametrize("name", ["000.png", "ID_a_ID_1_00x.png", "ID_a_ID_1_000.jpg"])
    def test_odd_names(self, name: str) -> None:
        manifest = pd.DataFrame({"file": [name], "sha256": ["00"]})
        with pytest.raises(InputError, match="<case>_<zzz>"):
            dataset.index_shards([("slices/1", manifest)])

    def test_twice(self) -> None:
        manifest = pd.DataFrame({"file": ["ID_a_ID_1_000.png"], "sha256": ["00"]})
        with pytest.raises(InputError, match=r"slices/2/.*: .*slices/1/"):
            dataset.index_shards([("slices/1", manifest), ("slices/2", manifest)])


def test_another_fold_relabels_the_rows_it_names_and_drops_the_others():
    table = pd.DataFrame(
        [("train", "a", 0), ("train", "a", 1), ("valid", "b", 0), ("test", "c", 0)],
        columns=["subset", "case", "slice"],
    )
    table = table.assign(**dict.fromkeys(dataset.COLUMNS[3:], "x"))
    split = pd.DataFrame([("a", "valid"), ("b", "train")], columns=["case", "subset"])
    found = dataset.in_fold(table, split)
    assert list(found.columns) == list(table.columns)
    assert list(zip(found["subset"], found["case"], found["slice"], strict=True)) == [
        ("valid", "a", 0),
        ("valid", "a", 1),
        ("train", "b", 0),
    ]
    by_slice = pd.DataFrame([("a", 1, "test")], columns=["case", "slice", "subset"])
    assert list(dataset.in_fold(table, by_slice)["slice"]) == [1]
