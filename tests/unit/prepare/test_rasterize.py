"""Masks: the colour code, and the files of a shard."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mbhseg.errors import InputError
from mbhseg.files import manifest_of, slice_name
from mbhseg.imaging.display import resize_labels, to_display
from mbhseg.imaging.masks import decode_rgb, encode_mask, encode_rgb, read_mask
from mbhseg.imaging.png import encode_png, write_png
from mbhseg.inspect.archive import Archive
from mbhseg.prepare import consensus, rasterize
from mbhseg.prepare.consensus import Consensus
from mbhseg.prepare.rasterize import classes_in
from mbhseg.prepare.votes import encode_votes, read_votes, votes_of

LABELS = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 5)
)

# --- colours


def test_the_code_is_the_contracts() -> None:
    code = {
        (0, 0, 0): 0,
        (255, 0, 0): 1,
        (0, 0, 255): 2,
        (255, 255, 0): 3,
        (0, 255, 255): 4,
        (0, 255, 0): 5,
    }
    rgb = np.array([list(code)], np.uint8)
    np.testing.assert_array_equal(decode_rgb(rgb, "mask"), [list(code.values())])
    np.testing.assert_array_equal(encode_rgb(np.array([list(code.values())], np.uint8)), rgb)


@given(LABELS)
@settings(deadline=None)
def test_labels_come_back(labels: np.ndarray) -> None:
    rgb = encode_rgb(labels)
    assert rgb.shape == (*labels.shape, 3)
    np.testing.assert_array_equal(decode_rgb(rgb, "mask"), labels)


def test_views_keep_their_places() -> None:
    labels = np.random.default_rng(0).integers(0, 6, (7, 5)).astype(np.uint8)
    np.testing.assert_array_equal(encode_rgb(np.rot90(labels)), np.rot90(encode_rgb(labels)))
    np.testing.assert_array_equal(decode_rgb(np.rot90(encode_rgb(labels)), ""), np.rot90(labels))


@given(st.tuples(*[st.integers(0, 255)] * 3))
@settings(deadline=None)
def test_any_other_colour_is_an_error(colour: tuple[int, int, int]) -> None:
    rgb = np.zeros((3, 4, 3), np.uint8)
    rgb[1, 2] = colour
    if colour in {(0, 0, 0), (255, 0, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0)}:
        assert decode_rgb(rgb, "mask")[1, 2] == sum(map(bool, colour)) or any(colour)
        return
    with pytest.raises(InputError) as caught:
        decode_rgb(rgb, "masks/a.png")
    assert str(caught.value).startswith(f"masks/a.png: colour {colour} in 1 pixels is of no class")


@pytest.mark.parametrize("label", [6, 255])
def test_labels_without_a_colour_are_refused(label: int) -> None:
    with pytest.raises(ValueError, match=f"label {label} is outside"):
        encode_rgb(np.array([[0, label]], np.uint8))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_empty_masks(shape: tuple[int, int]) -> None:
    assert encode_rgb(np.zeros(shape, np.uint8)).shape == (*shape, 3)
    assert decode_rgb(np.zeros((*shape, 3), np.uint8), "mask").shape == shape


def test_masks_are_read_whoever_wrote_them(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 6, (20, 30)).astype(np.uint8)
    write_png(tmp_path / "ours.png", encode_rgb(labels))
    cv2.imwrite(str(tmp_path / "theirs.png"), encode_rgb(labels)[..., ::-1])
    for name in ("ours.png", "theirs.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), labels)


def test_a_smoothed_mask_names_its_file(tmp_path: Path) -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[4:12, 4:12] = 1
    cv2.imwrite(str(tmp_path / "a.png"), cv2.GaussianBlur(encode_rgb(labels)[..., ::-1], (3, 3), 1))
    with pytest.raises(InputError, match=r"a\.png: colour \(\d+, 0, 0\) in \d+ pixels"):
        read_mask(tmp_path / "a.png")


@given(LABELS)
@settings(deadline=None)
def test_mask_files_are_the_encoded_colours(labels: np.ndarray) -> None:
    assert encode_mask(labels) == encode_png(encode_rgb(labels))
    assert encode_mask(np.zeros_like(labels)) == encode_png(np.zeros((*labels.shape, 3), np.uint8))


def test_classes_are_named_in_the_order_of_the_labels() -> None:
    assert classes_in(np.array([[5, 0], [2, 5]], np.uint8)) == "IPH,SDH"
    assert classes_in(np.zeros((2, 2), np.uint8)) == ""


# --- votes


def test_votes_are_stored_exactly(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).multinomial(3, [0.5, 0.1, 0.1, 0.1, 0.1, 0.1], (7, 5))
    write_png(tmp_path / "a.png", encode_votes(counts.astype(np.uint8)))
    votes = read_votes(tmp_path / "a.png")
    assert votes.dtype == np.uint8
    np.testing.assert_array_equal(votes, counts)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda votes: votes[:-1],
        lambda votes: np.zeros_like(votes),
        lambda votes: votes + np.eye(*votes.shape, dtype=np.uint8),
    ],
    ids=["a row is missing", "no rater", "raters differ"],
)
def test_what_is_no_image_of_votes_is_refused(
    tmp_path: Path, spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    votes = np.zeros((12, 3), np.uint8)
    votes[:2] = 2
    write_png(tmp_path / "a.png", votes)
    assert read_votes(tmp_path / "a.png").shape == (2, 3, 6)
    write_png(tmp_path / "a.png", spoil(votes))
    with pytest.raises(InputError, match=r"a\.png: .*votes"):
        read_votes(tmp_path / "a.png")


# --- files of a shard


def all_planes(tiny_set: Any) -> dict[str, list[int]]:
    return {case: list(range(tiny.hu.shape[2])) for case, tiny in tiny_set.cases.items()}


@pytest.mark.parametrize(
    "settings_",
    [
        Consensus(),
        Consensus("majority", "foreground"),
        Consensus("union"),
        Consensus("intersection"),
        Consensus("staple"),
        Consensus("soft"),
        Consensus("rater", rater=3),
    ],
    ids=lambda c: f"{c.method}-{c.ties}",
)
def test_masks_hold_exactly_the_consensus(
    tiny_set: Any, tmp_path: Path, settings_: Consensus
) -> None:
    planes = all_planes(tiny_set)
    manifest = rasterize.run(tiny_set.path, planes, settings_, None, False, tmp_path / "masks")
    classes = dict(zip(manifest["file"], manifest["classes"], strict=True))
    seen = set()
    for case, tiny in tiny_set.cases.items():
        volume = consensus.consensus(dict(tiny.labels), *settings_)
        for k in planes[case]:
            name = f"consensus/{slice_name(case, k)}"
            mask = read_mask(tmp_path / "masks" / name)
            np.testing.assert_array_equal(mask, np.rot90(volume[:, :, k]))
            assert classes[name] == classes_in(mask)
            seen |= set(np.unique(mask))
    assert len(seen) > 3


def test_the_manifest_is_of_what_lies_there(tiny_set: Any, tmp_path: Path) -> None:
    planes = all_planes(tiny_set)
    manifest = rasterize.run(tiny_set.path, planes, Consensus("soft"), 9, True, tmp_path / "masks")
    assert list(manifest.columns) == ["file", "bytes", "sha256", "classes"]
    listed = manifest.drop(columns="classes").sort_values("file", ignore_index=True)
    pd.testing.assert_frame_equal(listed, manifest_of(tmp_path / "masks"))
    folders = {file.split("/")[0] for file in manifest["file"]}
    assert folders == {"consensus", "soft", "rater1", "rater2", "rater3", "rater4"}


def test_every_raters_own_masks(tiny_set: Any, tmp_path: Path) -> None:
    planes = {case: [1, 4] for case in tiny_set.cases}
    rasterize.run(tiny_set.path, planes, Consensus(), 8, True, tmp_path / "masks")
    for case, tiny in tiny_set.cases.items():
        for k in range(1, 6):
            files = sorted((tmp_path / f"masks/rater{k}").glob(f"{case}_*.png"))
            assert [f.name for f in files] == (
                [slice_name(case, z) for z in (1, 4)] if k in tiny.labels else []
            )
            for file, z in zip(files, (1, 4), strict=False):
                shown = resize_labels(to_display(tiny.labels[k][:, :, z]), 8)
                np.testing.assert_array_equal(read_mask(file), shown)


def test_votes_of_a_shard(tiny_set: Any, tmp_path: Path) -> None:
    planes = all_planes(tiny_set)
    rasterize.run(tiny_set.path, planes, Consensus("soft"), None, True, tmp_path / "m")
    for case, tiny in tiny_set.cases.items():
        stack = np.stack([np.rot90(v) for v in tiny.labels.values()])
        for k in range(stack.shape[3]):
            votes = read_votes(tmp_path / "m/soft" / slice_name(case, k))
            expected = (stack[..., k, None] == np.arange(6)).sum(axis=0)
            np.testing.assert_array_equal(votes, expected)
            hard = read_mask(tmp_path / "m/consensus" / slice_name(case, k))
            np.testing.assert_array_equal(hard, votes.argmax(axis=-1))
            own = [read_mask(tmp_path / f"m/rater{r}" / slice_name(case, k)) for r in tiny.labels]
            np.testing.assert_array_equal(votes_of(own), votes)


def test_masks_do_not_depend_on_shards_order_or_other_planes(tiny_set: Any, tmp_path: Path) -> None:
    consensus = Consensus("staple")
    whole = rasterize.run(
        tiny_set.path, all_planes(tiny_set), consensus, None, True, tmp_path / "all"
    )
    shuffled = tmp_path / "shuffled.zip"
    with zipfile.ZipFile(tiny_set.path) as old, zipfile.ZipFile(shuffled, "w") as new:
        for name in reversed(old.namelist()):
            new.writestr(name, old.read(name))
    parts = [
        rasterize.run(shuffled, {case: [4, 1]}, consensus, None, True, tmp_path / case)
        for case in reversed(list(tiny_set.cases))
    ]
    part = pd.concat(parts).sort_values("file", ignore_index=True)
    expected = whole[whole["file"].isin(part["file"])].sort_values("file", ignore_index=True)
    pd.testing.assert_frame_equal(part, expected)


def test_an_empty_shard_is_an_empty_folder(tiny_set: Any, tmp_path: Path) -> None:
    first = next(iter(tiny_set.cases))
    manifest = rasterize.run(
        tiny_set.path, {first: []}, Consensus(), None, True, tmp_path / "masks"
    )
    assert manifest.empty
    assert (tmp_path / "masks").is_dir()


@pytest.mark.parametrize(
    ("consensus", "planes", "problem"),
    [
        (Consensus("rater", rater=4), [0], r"^ID_\w+: rater 4 "),
        (Consensus(), [6], r"\.nii\.gz: .*6 planes"),
    ],
)
def test_what_is_not_there_is_named(
    tiny_set: Any, tmp_path: Path, consensus: Consensus, planes: list[int], problem: str
) -> None:
    wanted = dict.fromkeys(tiny_set.cases, planes)
    with pytest.raises(InputError, match=problem):
        rasterize.run(tiny_set.path, wanted, consensus, None, False, tmp_path / "masks")
    assert not list(tmp_path.glob("*masks*"))


def test_an_unknown_case_is_named(tiny_set: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no case ID_0b_ID_0c"):
        rasterize.run(tiny_set.path, {"ID_0b_ID_0c": [0]}, Consensus(), None, False, tmp_path / "m")


# --- real slices


def test_masks_of_real_slices_hold_exactly_the_consensus(real_ct: Path, tmp_path: Path) -> None:
    path = real_ct / "MBH_Train_2025_voxel-label.zip"
    with Archive(path) as archive:
        cases = [case for case, files in archive.cases.items() if len(files.labels) == 4][:1]
        drawn = {
            case: np.stack(
                [
                    np.rint(archive.nifti(member).dataobj).astype(np.uint8)
                    for member in archive.cases[case].labels.values()
                ]
            )
            for case in cases
        }
    planes = {case: list(range(drawn[case].shape[3])) for case in cases}
    manifest = rasterize.run(path, planes, Consensus(), 512, False, tmp_path / "masks")
    assert len(manifest) == sum(map(len, planes.values())) > 10
    for case, stack in drawn.items():
        for k in planes[case]:
            votes = np.stack([(stack[..., k] == label).sum(axis=0) for label in range(6)])
            tied = (votes == votes.max(axis=0)).sum(axis=0) > 1
            majority = np.where(tied, 0, votes.argmax(axis=0))
            mask = read_mask(tmp_path / "masks/consensus" / slice_name(case, k))
            np.testing.assert_array_equal(mask, np.rot90(majority))
