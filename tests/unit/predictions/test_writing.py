"""Predictions on disk: the scan's own geometry, exact colours, the same bytes every time."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.files import sha256, slice_name
from mbhseg.imaging.masks import read_mask
from mbhseg.imaging.nifti import load_labels, nifti_bytes, parse_nifti, voxel_ml
from mbhseg.imaging.overlays import overlay
from mbhseg.imaging.png import read_image
from mbhseg.imaging.windows import Window, to_grey
from mbhseg.inspect.archive import Archive
from mbhseg.predictions.reading import has_probabilities, read_probabilities
from mbhseg.predictions.writing import (
    MASKS,
    OVERLAYS,
    probability_bytes,
    write_case,
)
from mbhseg.prepare.annotations import read_raters

WINDOW = Window("own", 55, 90)
SHAPE = (20, 16, 5)  # not square, so that a swapped axis shows


def affine_of(tilt_deg: float) -> np.ndarray:
    """LPS axes in RAS+ terms, 0.5 x 0.5 x 5 mm, the gantry tilted about x."""
    slope = np.tan(np.radians(tilt_deg))
    affine = np.diag([-0.5, -0.5, 5.0, 1.0])
    affine[:3, 2] = 0, 5 * slope, 5
    affine[:3, 3] = 120.25, 98.5, -40.125
    return affine


def scan_of(
    dtype: type = np.int16, tilt: float = 0.0, codes: tuple[int, int] = (1, 0)
) -> nib.Nifti1Image:
    hu = np.random.default_rng(5).integers(-1024, 300, SHAPE).astype(dtype)
    image = nib.Nifti1Image(hu, None)
    image.header.set_qform(affine_of(tilt), code=codes[0], strip_shears=True)
    image.header.set_sform(affine_of(tilt), code=codes[1])
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"test scan"
    return parse_nifti(nifti_bytes(image), "scan")  # as it is read from an archive


@pytest.fixture
def labels() -> np.ndarray:
    """All classes, and no symmetry."""
    volume = np.zeros(SHAPE, np.uint8)
    for c in CLASSES[1:]:
        volume[c.label : c.label + 5, 2 * c.label : 2 * c.label + 3, c.label % 5] = c.label
    volume[1, 14, 0] = 3
    return volume


def read_masks(folder: Path, case: str) -> np.ndarray:
    """Labels [x, y, z] read back from the mask PNGs of a case."""
    files = [folder / MASKS / slice_name(case, z) for z in range(SHAPE[2])]
    return np.stack([np.rot90(read_mask(file), -1) for file in files], axis=-1)


@pytest.mark.parametrize("codes", [(1, 0), (1, 1), (0, 2), (2, 4), (0, 0)])
@pytest.mark.parametrize("tilt", [0.0, 12.5, -15.0])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_volume_lies_where_the_scan_lies(tmp_path, labels, dtype, tilt, codes):
    scan = scan_of(dtype, tilt, codes)
    write_case(tmp_path, "ID_1_ID_2", labels, scan, WINDOW, pictures=False)
    written = nib.load(tmp_path / "ID_1_ID_2.nii.gz")
    assert written.get_data_dtype() == np.uint8
    assert (np.asanyarray(written.dataobj) == labels).all()
    assert (written.affine == scan.affine).all()
    for form in ("qform", "sform"):
        expected, code = getattr(scan, f"get_{form}")(coded=True)
        found, found_code = getattr(written, f"get_{form}")(coded=True)
        assert code == found_code
        assert (expected is None) == (found is None)
        assert expected is None or (expected == found).all()
    assert written.header.get_zooms() == scan.header.get_zooms()
    assert written.header.get_xyzt_units() == scan.header.get_xyzt_units()
    assert written.header.get_slope_inter() in ((None, None), (1.0, 0.0))


def test_volume_reads_back_with_its_tilted_voxels(tmp_path, labels):
    scan = scan_of(tilt=14.0, codes=(0, 1))  # a sform holds the shear, a qform cannot
    write_case(tmp_path, "ID_1_ID_2", labels, scan, WINDOW, pictures=False)
    found, affine = load_labels(tmp_path / "ID_1_ID_2.nii.gz")
    assert (found == labels).all()
    assert voxel_ml(affine) == pytest.approx(0.5 * 0.5 * 5 / 1000)
    assert np.prod(scan.header.get_zooms()) / 1000 > 0.00128  # what zooms would make of them
    assert not list(tmp_path.glob("png*"))


def test_mask_pictures_hold_exactly_the_labels(tmp_path, labels):
    write_case(tmp_path, "ID_1_ID_2", labels, scan_of(), WINDOW)
    assert (read_masks(tmp_path, "ID_1_ID_2") == labels).all()


def test_mask_pictures_have_the_seeds_colours_and_orientation(tmp_path, labels):
    write_case(tmp_path, "ID_1_ID_2", labels, scan_of(), WINDOW)
    for plane in range(SHAPE[2]):
        rgb = read_image(tmp_path / MASKS / f"ID_1_ID_2_{plane:03d}.png")
        assert rgb.shape == (SHAPE[1], SHAPE[0], 3)  # the scan's matrix, rows are y
        for x in range(SHAPE[0]):
            for y in range(SHAPE[1]):
                colour = CLASSES[labels[x, y, plane]].rgb
                assert tuple(rgb[SHAPE[1] - 1 - y, x]) == colour


def test_overlays_show_the_windowed_scan_under_the_labels(tmp_path, labels):
    scan = scan_of()
    write_case(tmp_path, "ID_1_ID_2", labels, scan, WINDOW)
    hu = np.asanyarray(scan.dataobj)
    for plane in range(SHAPE[2]):
        picture = read_image(tmp_path / OVERLAYS / f"ID_1_ID_2_{plane:03d}.png")
        grey = np.rot90(to_grey(hu[:, :, plane], WINDOW))
        shown = np.rot90(labels[:, :, plane])
        assert (picture[shown == 0] == grey[shown == 0][:, None]).all()
        assert (picture == overlay(grey, shown)).all()


def test_manifest_rows_name_every_file(tmp_path, labels):
    rows = write_case(tmp_path, "ID_1_ID_2", labels, scan_of(), WINDOW)
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert {row.file for row in rows} == files
    assert len(rows) == 1 + 2 * SHAPE[2]
    for row in rows:
        assert row.sha256 == sha256(tmp_path / row.file)
        assert row.bytes == (tmp_path / row.file).stat().st_size


def test_same_prediction_same_bytes(tmp_path, labels):
    first = write_case(tmp_path / "a", "ID_1_ID_2", labels, scan_of(), WINDOW)
    second = write_case(tmp_path / "b", "ID_1_ID_2", np.asfortranarray(labels), scan_of(), WINDOW)
    assert first == second


def test_a_prediction_without_a_bleed_is_written_as_well(tmp_path):
    empty = np.zeros(SHAPE, np.uint8)
    write_case(tmp_path, "ID_1_ID_2", empty, scan_of(), WINDOW)
    assert not load_labels(tmp_path / "ID_1_ID_2.nii.gz")[0].any()
    assert (read_masks(tmp_path, "ID_1_ID_2") == 0).all()


@pytest.mark.parametrize("pictures", [True, False])
def test_labels_of_another_shape_or_class_are_refused(tmp_path, labels, pictures):
    with pytest.raises(ValueError, match="do not fit"):
        write_case(tmp_path, "ID_1_ID_2", labels[:-1], scan_of(), WINDOW, pictures)
    labels[0, 0, 0] = 6
    with pytest.raises(ValueError, match="label 6"):
        write_case(tmp_path, "ID_1_ID_2", labels, scan_of(), WINDOW, pictures)
    assert not list(tmp_path.iterdir())


def test_probabilities_are_bytes_with_a_slope_in_the_scan_s_geometry(tiny_set, tmp_path: Path):
    case, tiny = next(iter(tiny_set.cases.items()))
    rng = np.random.default_rng(0)
    true = rng.dirichlet([5, 1, 1, 1, 1, 1], tiny.hu.shape).astype(np.float32)
    stored = probability_bytes(true)
    assert (stored.dtype, stored.shape) == (np.uint8, (*tiny.hu.shape, 5))
    with Archive(tiny_set.path) as archive:
        scan = archive.nifti(archive.cases[case].image)
        rated = read_raters(archive, case, scan)
        rows = write_case(tmp_path, case, tiny.labels[3], scan, WINDOW, False, probabilities=stored)
    assert [row.file for row in rows] == [f"{case}.nii.gz", f"probabilities/{case}.nii.gz"]
    assert has_probabilities(tmp_path)
    assert not has_probabilities(tmp_path / "probabilities")
    image = nib.load(tmp_path / rows[1].file)
    np.testing.assert_allclose(image.affine, scan.affine, atol=1e-5)
    assert image.header["qform_code"] == scan.header["qform_code"]
    np.testing.assert_allclose(image.get_fdata(), true[..., 1:], atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(read_probabilities(tmp_path, rated), stored)
    write_case(tmp_path, case, tiny.labels[3], scan, WINDOW, False, probabilities=stored[..., :3])
    with pytest.raises(InputError, match=r"uint8 of shape \(16, 14, 6, 3\) is not uint8 of"):
        read_probabilities(tmp_path, rated)
