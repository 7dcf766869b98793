"""From volumes to slices: orientation, size, choice of planes, files."""

import itertools
import zipfile
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mbhseg.classes import KEYS
from mbhseg.errors import InputError
from mbhseg.files import manifest_of, slice_name
from mbhseg.imaging.display import (
    from_display,
    network_input,
    resize_image,
    resize_labels,
    to_display,
)
from mbhseg.imaging.masks import read_mask
from mbhseg.imaging.nifti import labels_like, load_labels, nifti_bytes
from mbhseg.imaging.png import read_image
from mbhseg.imaging.windows import Window, to_grey
from mbhseg.inspect.archive import Archive
from mbhseg.prepare import consensus, rasterize, slices
from mbhseg.prepare.slices import select_planes
from tests.volumes import save_nifti

SEED = (Window("seed", 127.5, 255),)
THREE = (Window("brain", 40, 80), Window("subdural", 75, 215), Window("bone", 600, 2800))
CASE = "ID_0000000a_ID_000000000a"

# --- orientation


def test_display_is_the_seeds_turn() -> None:
    plane = np.array([[1, 2, 3], [4, 5, 6]])  # [x, y]: two columns, three rows, y upwards
    np.testing.assert_array_equal(to_display(plane), [[3, 6], [2, 5], [1, 4]])


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5)))
@settings(deadline=None)
def test_the_way_back_is_exact(plane: np.ndarray) -> None:
    np.testing.assert_array_equal(from_display(to_display(plane)), plane)
    assert to_display(plane).shape[:2] == plane.shape[1::-1]


def orientations() -> list[np.ndarray]:
    """The 48 ways in which the axes of a volume can be permuted and flipped."""
    return [
        np.stack([order, flips], axis=1).astype(float)
        for order in itertools.permutations(range(3))
        for flips in itertools.product((1, -1), repeat=3)
    ]


@pytest.fixture(scope="module")
def oriented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of one head in all 48 orientations, its affine tilted; no two sides are equal."""
    rng = np.random.default_rng(7)
    tilt = np.deg2rad(11)
    affine = np.diag([-0.5, -0.6, 5.0, 1])
    affine[:3, :3] = [
        [1, 0, 0],
        [0, np.cos(tilt), -np.sin(tilt)],
        [0, np.sin(tilt), np.cos(tilt)],
    ] @ affine[:3, :3]
    head = nib.Nifti1Image(rng.integers(-50, 300, (9, 7, 5)).astype(np.int16), affine)
    labels = nib.Nifti1Image(rng.integers(0, 6, (9, 7, 5)).astype(np.uint16), affine)
    path = tmp_path_factory.mktemp("oriented") / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n, orientation in enumerate(orientations()):
            for name, image in (("image", head), ("label_annot_3", labels)):
                data = nifti_bytes(image.as_reoriented(orientation))
                archive.writestr(f"top/ID_0a_ID_{n:02x}/{name}.nii.gz", data)
    return path


def test_planes_come_back_from_images_in_all_orientations(oriented: Path, tmp_path: Path) -> None:
    with Archive(oriented) as archive:
        volumes = {
            case: np.asarray(archive.nifti(files.image).dataobj)
            for case, files in archive.cases.items()
        }
    assert len(volumes) == 48
    assert len({volume.shape for volume in volumes.values()}) == 6
    planes = {case: range(volume.shape[2]) for case, volume in volumes.items()}
    slices.run(oriented, planes, SEED, None, tmp_path / "images")
    for case, volume in volumes.items():
        shown = [read_image(tmp_path / "images" / slice_name(case, k)) for k in planes[case]]
        back = np.stack([from_display(image[..., 0]) for image in shown], axis=2)
        np.testing.assert_array_equal(back, volume.clip(0, 255))


def test_labels_come_back_as_nifti_in_all_orientations(oriented: Path, tmp_path: Path) -> None:
    with Archive(oriented) as archive:
        truth = {case: archive.nifti(files.labels[3]) for case, files in archive.cases.items()}
    planes = {case: range(image.shape[2]) for case, image in truth.items()}
    rasterize.run(oriented, planes, consensus.Consensus(), None, False, tmp_path / "masks")
    for case, image in truth.items():
        masks = [
            read_mask(tmp_path / "masks/consensus" / slice_name(case, k)) for k in planes[case]
        ]
        labels = np.stack([from_display(mask) for mask in masks], axis=2)
        save_nifti(tmp_path / "back.nii.gz", labels_like(labels, image))
        voxels, affine = load_labels(tmp_path / "back.nii.gz")
        np.testing.assert_array_equal(voxels, np.asarray(image.dataobj))
        np.testing.assert_array_equal(affine, image.affine)


# --- size


def test_shrinking_averages_the_area() -> None:
    image = np.array([[0, 100, 8, 8], [100, 200, 8, 8], [1, 1, 9, 9], [1, 1, 9, 9]], np.uint8)
    np.testing.assert_array_equal(resize_image(image, 2), [[100, 8], [1, 9]])


def test_growing_interpolates() -> None:
    image = np.array([[0, 100], [0, 100]], np.uint8)
    np.testing.assert_array_equal(resize_image(image, 4), [[0, 25, 75, 100]] * 4)


def test_an_axis_may_shrink_while_the_other_grows() -> None:
    image = np.array([[10, 20, 30, 40], [10, 20, 30, 40]], np.uint8)
    np.testing.assert_array_equal(resize_image(image, (4, 2)), [[15, 35]] * 4)


@pytest.mark.parametrize("shape", [(6, 9), (6, 9, 1), (6, 9, 3)])
def test_channels_are_resized_alone(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    small = resize_image(image, 4)
    assert small.shape == (4, 4, *shape[2:])
    for index in np.ndindex(shape[2:]):
        at = (slice(None), slice(None), *index)
        np.testing.assert_array_equal(small[at], resize_image(np.ascontiguousarray(image[at]), 4))


@pytest.mark.parametrize("resize", [resize_image, resize_labels])
def test_no_size_keeps_the_image(resize: Any) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(resize(image, None), image)
    np.testing.assert_array_equal(resize(image, (3, 4)), image)


SIDES = st.integers(1, 40)


@given(SIDES, SIDES, SIDES, SIDES)
@settings(deadline=None)
def test_labels_follow_the_nearest_pixel_centre(a: int, b: int, rows: int, columns: int) -> None:
    labels = np.random.default_rng([a, b]).integers(0, 6, (a, b)).astype(np.uint8)
    resized = resize_labels(labels, (rows, columns))
    exact = cv2.resize(labels, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
    if rows % a == 0 and columns % b == 0:  # no centre lies on an edge between two pixels
        np.testing.assert_array_equal(resized, exact.reshape(rows, columns))
    for i, j in ((0, 0), (rows - 1, columns - 1), (rows // 2, columns // 3)):
        # |centre - source centre| <= half a source pixel, in units of 1 / (2 rows) of a pixel
        source = np.argwhere(labels == resized[i, j])
        off = np.abs((2 * i + 1) * a - (2 * source[:, 0] + 1) * rows) <= rows
        across = np.abs((2 * j + 1) * b - (2 * source[:, 1] + 1) * columns) <= columns
        assert (off & across).any()


@given(SIDES, SIDES, st.integers(0, 30), st.integers(0, 30))
@settings(deadline=None)
def test_enlarged_labels_shrink_to_themselves(a: int, b: int, more: int, wider: int) -> None:
    labels = np.random.default_rng([a, b]).integers(0, 6, (a, b, 2)).astype(np.uint8)
    large = resize_labels(labels, (a + more, b + wider))
    np.testing.assert_array_equal(resize_labels(large, (a, b)), labels)


# --- network input


def test_network_input_is_windowed_turned_and_resized() -> None:
    planes = np.random.default_rng(0).integers(-1100, 1900, (12, 10, 4)).astype(np.int16)
    images = network_input(planes, THREE, 5)
    assert images.shape == (4, 5, 5, 3)
    assert images.dtype == np.uint8
    for k, (channel, window) in itertools.product(range(4), enumerate(THREE)):
        shown = np.ascontiguousarray(np.rot90(to_grey(planes[:, :, k], window)))
        np.testing.assert_array_equal(images[k, ..., channel], resize_image(shown, 5))


def test_one_window_makes_grey_and_two_leave_the_third_black() -> None:
    planes = np.arange(24).reshape(2, 3, 4)
    grey = network_input(planes, SEED)
    assert grey.shape == (4, 3, 2, 3)
    np.testing.assert_array_equal(grey, np.repeat(grey[..., :1], 3, axis=-1))
    two = network_input(planes, THREE[:2])
    np.testing.assert_array_equal(two[..., :2], network_input(planes, THREE)[..., :2])
    assert not two[..., 2].any()


@pytest.mark.parametrize("windows", [(), (*THREE, *SEED)])
def test_windows_must_fit_an_image(windows: tuple[Window, ...]) -> None:
    with pytest.raises(ValueError, match="1 to 3 windows"):
        network_input(np.zeros((2, 2, 1)), windows)


def test_no_planes_give_no_images() -> None:
    assert network_input(np.zeros((4, 6, 0)), SEED).shape == (0, 6, 4, 3)
    assert network_input(np.zeros((4, 6, 0)), SEED, 8).shape == (0, 8, 8, 3)


# --- choice of planes


def table(rows: list[tuple[str, int, int]]) -> pd.DataFrame:
    """inventory/slices.tsv from case, plane and rater, each with a little EDH."""
    counts = [(*row, 5, *[0] * (len(KEYS) - 1)) for row in rows]
    return pd.DataFrame(counts, columns=["case", "slice", "rater", *KEYS])


COUNTS = table([("a", 3, 1), ("a", 4, 1), ("a", 4, 3), ("a", 9, 3), ("b", 0, 1)])


def select(
    keep: str, fraction: float = 0.0, seed: int = 1, case: str = "a", **more: Any
) -> list[int]:
    return select_planes(COUNTS, 20, keep, fraction, seed, case, **more)


def test_all_planes() -> None:
    assert select("all") == list(range(20))
    assert select("all", case="unknown") == list(range(20))


def test_bleeding_planes_are_any_raters_or_the_named_raters() -> None:
    assert select("bleeding") == [3, 4, 9]
    assert select("bleeding", raters=[1]) == [3, 4]
    assert select("bleeding", raters=[2]) == []
    assert select("bleeding", case="unknown") == []


def test_rows_without_voxels_are_no_bleed() -> None:
    counts = COUNTS.assign(EDH=0)
    assert select_planes(counts, 20, "bleeding", 0, 1, "a") == []


@pytest.mark.parametrize("fraction", [0, 0.1, 0.5, 1])
def test_a_share_of_the_other_planes_joins(fraction: float) -> None:
    planes = select("bleeding_plus", fraction)
    assert planes == sorted(set(planes))
    assert {3, 4, 9} <= set(planes)
    assert len(planes) == 3 + round(17 * fraction)


def test_a_larger_share_keeps_the_same_planes() -> None:
    chosen = [set(select("bleeding_plus", f / 10)) for f in range(11)]
    assert all(less <= more for less, more in itertools.pairwise(chosen))
    assert chosen[10] == set(range(20))


def test_the_draw_depends_on_seed_and_case_alone() -> None:
    first = select("bleeding_plus", 0.5)
    shuffled = COUNTS.sample(frac=1, random_state=3)
    assert select_planes(shuffled, 20, "bleeding_plus", 0.5, 1, "a") == first
    assert select_planes(COUNTS[COUNTS["case"] == "a"], 20, "bleeding_plus", 0.5, 1, "a") == first
    assert select("bleeding_plus", 0.5, seed=2) != first
    others = [select("bleeding_plus", 0.5, case=case) for case in ("c", "d", "e")]
    assert len({tuple(planes) for planes in others}) == 3


def test_tables_of_another_scan_are_refused() -> None:
    with pytest.raises(InputError, match=r"plane 9 is in slices\.tsv, but the scan has 5"):
        select_planes(COUNTS, 5, "bleeding", 0, 1, "a")


def test_unknown_keep_is_refused() -> None:
    with pytest.raises(ValueError, match="all, bleeding, bleeding_plus"):
        select("some")


# --- files of a shard


def test_a_shard_writes_its_planes_and_their_manifest(tiny_set: Any, tmp_path: Path) -> None:
    cases = list(tiny_set.cases)
    planes = {cases[0]: [0, 5], cases[2]: [3], cases[3]: []}
    manifest = slices.run(tiny_set.path, planes, THREE, 8, tmp_path / "images")
    pd.testing.assert_frame_equal(manifest, manifest_of(tmp_path / "images"))
    assert list(manifest["file"]) == sorted(
        [f"{cases[0]}_000.png", f"{cases[0]}_005.png", f"{cases[2]}_003.png"]
    )
    hu = tiny_set.cases[cases[0]].hu[:, :, [5]]
    np.testing.assert_array_equal(
        read_image(tmp_path / "images" / f"{cases[0]}_005.png"), network_input(hu, THREE, 8)[0]
    )


def test_bytes_do_not_depend_on_shards_order_or_other_planes(tiny_set: Any, tmp_path: Path) -> None:
    planes = {case: list(range(6)) for case in tiny_set.cases}
    whole = slices.run(tiny_set.path, planes, THREE, None, tmp_path / "whole")
    parts = [
        slices.run(tiny_set.path, {case: [5, 2, 0]}, THREE, None, tmp_path / case)
        for case in reversed(planes)
    ]
    part = pd.concat(parts).sort_values("file", ignore_index=True)
    expected = whole[whole["file"].isin(part["file"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, expected)
    shuffled = tmp_path / "shuffled.zip"
    with zipfile.ZipFile(tiny_set.path) as old, zipfile.ZipFile(shuffled, "w") as new:
        for name in reversed(old.namelist()):
            new.writestr(name, old.read(name))
    again = slices.run(shuffled, planes, THREE, None, tmp_path / "again")
    pd.testing.assert_frame_equal(again, whole)


def test_an_empty_shard_is_an_empty_folder(tiny_set: Any, tmp_path: Path) -> None:
    manifest = slices.run(tiny_set.path, {}, SEED, None, tmp_path / "images")
    assert manifest.empty
    assert list(manifest.columns) == ["file", "bytes", "sha256"]
    assert (tmp_path / "images").is_dir()


def test_a_new_run_replaces_the_old_one(tiny_set: Any, tmp_path: Path) -> None:
    case = next(iter(tiny_set.cases))
    slices.run(tiny_set.path, {case: [0, 1]}, SEED, None, tmp_path / "images")
    slices.run(tiny_set.path, {case: [2]}, SEED, None, tmp_path / "images")
    assert [p.name for p in (tmp_path / "images").iterdir()] == [f"{case}_002.png"]


@pytest.mark.parametrize(
    ("planes", "problem"),
    [({"ID_0b_ID_0c": [0]}, "has no case ID_0b_ID_0c"), (None, "has 6 planes, not a plane 6")],
)
def test_what_is_not_there_is_named(
    tiny_set: Any, tmp_path: Path, planes: dict[str, list[int]] | None, problem: str
) -> None:
    first = next(iter(tiny_set.cases))
    wanted = {first: [0, 6]} if planes is None else {first: [0], **planes}
    with pytest.raises(InputError, match=problem):
        slices.run(tiny_set.path, wanted, SEED, None, tmp_path / "images")
    assert not list(tmp_path.glob("*images*"))


def damaged(source: Path, target: Path, keep: float) -> None:
    """Cut every volume short, in a zip that is whole."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data[: int(len(data) * keep)])


def test_a_truncated_scan_leaves_nothing(tiny_set: Any, tmp_path: Path) -> None:
    damaged(tiny_set.path, tmp_path / "cut.zip", 0.6)
    case = next(iter(tiny_set.cases))
    with pytest.raises(InputError, match=r"cut\.zip:.*image\.nii\.gz: not a readable NIfTI"):
        slices.run(tmp_path / "cut.zip", {case: range(6)}, SEED, None, tmp_path / "images")
    assert not list(tmp_path.glob("*images*"))


def test_checksum_of_a_scan_read_to_its_end_counts(tiny_set: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(tiny_set.path) as old, zipfile.ZipFile(tmp_path / "bad.zip", "w") as new:
        for name in old.namelist():
            data = bytearray(old.read(name))
            data[-6] ^= 1  # in the gzip's CRC
            new.writestr(name, bytes(data))
    case = next(iter(tiny_set.cases))
    with pytest.raises(InputError, match="not a readable NIfTI"):
        slices.run(tmp_path / "bad.zip", {case: [5]}, SEED, None, tmp_path / "images")


# --- real slices


def test_images_of_real_slices_are_the_slices(real_ct: Path, tmp_path: Path) -> None:
    archive_path = real_ct / "MBH_Train_2025_voxel-label.zip"
    files = sorted((real_ct / "slices/images").glob("*.png"))
    sources = np.stack([read_image(path)[..., 0] for path in files])
    with Archive(archive_path) as archive:
        case = next(iter(archive.cases))
        volume = np.asarray(archive.nifti(archive.cases[case].image).dataobj)
    planes = {case: range(volume.shape[2])}
    slices.run(archive_path, planes, SEED, 512, tmp_path / "images")
    compared = 0
    for k in planes[case]:
        image = read_image(tmp_path / "images" / slice_name(case, k))
        hu = np.rot90(volume[:, :, k])
        inside = (hu >= 0) & (hu <= 255)
        assert (image == image[..., :1]).all()
        same = ((sources == image[..., 0]) | ~inside).all(axis=(1, 2))
        assert same.any()
        assert (image[hu < 0] == 0).all()
        assert (image[hu > 255] == 255).all()
        compared += inside.sum() > 10_000 and sum(same) == 1
    assert compared >= 10  # planes with tissue, each of which is one slice and no other
