"""NIfTI, ITK's formats, arrays and pictures give the same record."""

import cv2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from mbhseg.errors import InputError
from mbhseg.imaging.display import to_display
from mbhseg.scans import itk, nifti, npy_png
from mbhseg.scans.scan import check, compact, image_of
from tests.heads import blocks, head
from tests.volumes import save_nifti

HU = head(blocks((48, 40, 6)))
COS, SIN = np.cos(0.25), np.sin(0.25)
TURN = np.array([[1, 0, 0, 0], [0, COS, -SIN, 0], [0, SIN, COS, 0], [0, 0, 0, 1]])
TILTED = TURN @ np.array([[-0.5, 0, 0, 12], [0, 0.5, 0, 9], [0, 0, 5, -30], [0, 0, 0, 1.0]])
SHEARED = np.array([[-0.5, 0, 0, 12], [0, 0.5, -1, 9], [0, 0, 5, -30], [0, 0, 0, 1.0]])


def sitk_image(hu: np.ndarray, affine: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(hu.transpose(2, 1, 0))
    lps = np.diag((-1, -1, 1, 1)) @ affine
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(steps.tolist())
    image.SetDirection((lps[:3, :3] / steps).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
@pytest.mark.parametrize("affine", [TILTED, SHEARED], ids=["tilted", "sheared"])
def test_itk_formats(tmp_path, suffix, dtype, affine):
    path = tmp_path / f"s{suffix}"
    sitk.WriteImage(sitk_image(HU.astype(dtype), affine), str(path))
    scan = check(itk.read(path, "s"))
    np.testing.assert_array_equal(scan.hu, HU)
    assert scan.hu.dtype == (np.float32 if dtype is np.float32 else np.int16)
    np.testing.assert_allclose(scan.affine, affine, atol=1e-6)
    assert scan.measured


def test_itk_says_the_same_as_nibabel(tmp_path):
    """One volume through both libraries: left and back are not right and front."""
    save_nifti(tmp_path / "a.nii.gz", nib.Nifti1Image(HU, TILTED))
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii.gz")), str(tmp_path / "a.nrrd"))
    direct, by_itk = nifti.read(tmp_path / "a.nii.gz", "a"), itk.read(tmp_path / "a.nrrd", "a")
    np.testing.assert_array_equal(direct.hu, by_itk.hu)
    np.testing.assert_allclose(direct.affine, by_itk.affine, atol=1e-4)


@pytest.mark.parametrize("slope", [(1.0, 0.0), (0.25, -7.0)])
def test_nifti_keeps_its_header(tmp_path, slope):
    image = nib.Nifti1Image(HU, None)
    image.set_qform(np.diag((-0.5, 0.5, 5, 1)), 1)
    image.header.set_slope_inter(*slope)
    (tmp_path / "s.nii").write_bytes(image.to_bytes())
    scan = check(nifti.read(tmp_path / "s.nii", "s"), intensity=False)
    np.testing.assert_allclose(scan.hu, HU * slope[0] + slope[1])
    assert (int(scan.image.header["qform_code"]), int(scan.image.header["sform_code"])) == (1, 0)


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float64, np.float16])
def test_arrays(tmp_path, dtype):
    np.save(tmp_path / "s.npy", HU.astype(dtype))
    scan = check(npy_png.read_array(tmp_path / "s.npy", "s"))
    np.testing.assert_array_equal(scan.hu, HU)
    assert not scan.measured


@pytest.mark.parametrize("colour", [False, True])
def test_pictures(tmp_path, colour):
    grey = np.ascontiguousarray(to_display(HU[:, :, 2]).clip(0, 255).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "s.png"), cv2.merge([grey] * 3) if colour else grey)
    scan = check(npy_png.read_picture(tmp_path / "s.png", "s"), intensity=False)
    np.testing.assert_array_equal(scan.hu[:, :, 0], HU[:, :, 2].clip(0, 255))
    assert not scan.measured


def test_pictures_that_are_no_grey_slices(tmp_path):
    colour = np.zeros((40, 40, 3), np.uint8)
    colour[3, 3] = 1, 2, 3
    cv2.imwrite(str(tmp_path / "c.png"), colour)
    cv2.imwrite(str(tmp_path / "d.png"), np.zeros((40, 40), np.uint16))
    for name in "cd":
        with pytest.raises(InputError, match=rf"{name}\.png: .*8-bit grey"):
            npy_png.read_picture(tmp_path / f"{name}.png", name)
    (tmp_path / "e.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"e\.png: .*not a readable picture"):
        npy_png.read_picture(tmp_path / "e.png", "e")


def test_a_sheared_affine_goes_into_the_sform_alone():
    header = image_of(HU, SHEARED).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 1)
    np.testing.assert_allclose(header.get_best_affine(), SHEARED, atol=1e-6)
    header = image_of(HU, np.diag((-0.5, 0.5, 5, 1))).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)


def test_compact_keeps_values():
    for values, dtype in (
        (np.array([-5, 7], np.int64), np.int16),
        (np.array([-5, 40000], np.int32), np.int32),
        (np.array([0, 40000], np.uint16), np.int32),
        (np.array([0, 2**40], np.int64), np.float32),
        (np.array([0.5], np.float64), np.float32),
        (np.array([], np.uint8), np.int16),
    ):
        assert compact(values).dtype == dtype
        np.testing.assert_array_equal(compact(values), values)
