"""A DICOM series gives the voxels and the geometry of the volume that it was written from."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless, generate_uid

from mbhseg.errors import InputError
from mbhseg.imaging import geometry
from mbhseg.scans import dicom
from mbhseg.scans.scan import check
from tests.dicoms import SYNTAXES, write_multiframe, write_series
from tests.heads import blocks, head

HU = head(blocks((48, 40, 7)))
AFFINE = np.array([[-0.5, 0, 0, 12], [0, -0.45, 0, 9], [0, 0, 5, -30], [0, 0, 0, 1.0]])


def tilted(degrees: float = 14.0, sheared: bool = True) -> np.ndarray:
    """A gantry tilt: the planes lean, and with `sheared` the table still moves along z."""
    turn = np.eye(4)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn[1:3, 1:3] = (c, -s), (s, c)
    affine = turn @ AFFINE
    if sheared:
        affine[:3, 2] = 0, 0, 5
    return affine


def read(folder, files=None):
    return dicom.read(files or sorted(folder.iterdir()), "scan", str(folder))


@pytest.mark.parametrize("syntax", [None, *SYNTAXES])
@pytest.mark.parametrize("order", ["up", "down", "shuffled"])
def test_any_order_and_any_compression(tmp_path, syntax, order):
    numbers = {"up": range(7), "down": range(6, -1, -1), "shuffled": (3, 0, 6, 1, 5, 2, 4)}[order]
    write_series(tmp_path / "s", HU, AFFINE, order=numbers, syntax=syntax)
    scan = check(read(tmp_path / "s"))
    np.testing.assert_array_equal(scan.hu, HU)
    np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-6)
    assert scan.hu.dtype == np.int16
    assert len(scan.dicom) == 7
    heights = [float(header.ImagePositionPatient[2]) for header in scan.dicom]
    assert heights == sorted(heights)


@pytest.mark.parametrize("sheared", [False, True])
def test_tilt_stays_in_the_affine(tmp_path, sheared):
    affine = tilted(sheared=sheared)
    write_series(tmp_path / "s", HU, affine)
    image = read(tmp_path / "s").image
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert geometry.shear_deg(image.affine) == pytest.approx(14 if sheared else 0, abs=0.01)
    assert int(image.header["sform_code"]) == 1
    assert int(image.header["qform_code"]) == (0 if sheared else 1)


def test_planes_that_run_down_and_other_directions(tmp_path):
    """Feet first, or coronal: the voxels come back with their affine, z along the normal."""
    for k, flip in enumerate(((1, 1, -1), (-1, 1, 1), (1, -1, -1))):
        affine = AFFINE @ np.diag((*flip, 1))
        write_series(tmp_path / str(k), HU, affine)
        scan = read(tmp_path / str(k))
        # the third axis is the normal's, so planes may come in the other order
        back = scan.hu if np.allclose(scan.affine, affine) else scan.hu[:, :, ::-1]
        np.testing.assert_array_equal(back, HU)
        assert np.linalg.det(scan.affine) > 0 or np.allclose(scan.affine, affine)
        corner = np.linalg.inv(scan.affine) @ affine @ (3, 5, 2, 1)
        x, y, z = np.rint(corner[:3]).astype(int)
        assert scan.hu[x, y, z] == HU[3, 5, 2]


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(0.5, -1024, np.float32), (1, 0, np.int16)]
)
def test_slope_and_intercept(tmp_path, slope, intercept, dtype):
    write_series(tmp_path / "s", HU, AFFINE, slope=slope, intercept=float(intercept))
    scan = read(tmp_path / "s")
    np.testing.assert_array_equal(scan.hu, HU)
    assert scan.hu.dtype == dtype


@pytest.mark.parametrize("syntax", [None, JPEGLSLossless])
def test_multiframe(tmp_path, syntax):
    path = write_multiframe(tmp_path / "m.dcm", HU, tilted(), syntax=syntax)
    scan = read(tmp_path, [path])
    np.testing.assert_array_equal(scan.hu, HU)
    np.testing.assert_allclose(scan.affine, tilted(), atol=1e-6)
    assert len(scan.dicom) == 1


def test_one_slice(tmp_path):
    files = write_series(tmp_path / "s", HU, AFFINE)
    scan = check(read(tmp_path, files[:1]))
    assert scan.hu.shape == (48, 40, 1)
    assert geometry.spacing(scan.affine) == pytest.approx((0.5, 0.45, 5.0))


def test_a_slice_twice_counts_once(tmp_path):
    files = write_series(tmp_path / "s", HU, AFFINE)
    (tmp_path / "s" / "copy.dcm").write_bytes(files[2].read_bytes())
    np.testing.assert_array_equal(read(tmp_path / "s").hu, HU)


def test_objects_without_pixels_are_passed_over(tmp_path):
    files = write_series(tmp_path / "s", HU, AFFINE)
    note = pydicom.dcmread(files[0])
    del note.PixelData, note.Rows, note.Columns
    note.Modality = "SR"
    note.save_as(tmp_path / "s" / "report.dcm")
    np.testing.assert_array_equal(read(tmp_path / "s").hu, HU)


def edited(tmp_path, index=2, **fields):
    """A series with one file changed."""
    files = write_series(tmp_path / "s", HU, AFFINE)
    ds = pydicom.dcmread(files[index])
    for key, value in fields.items():
        if value is None:
            delattr(ds, key)
        else:
            setattr(ds, key, value)
    ds.save_as(files[index])
    return files


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"Modality": "MR"}, "modality is not CT \\(1 of MR\\)"),
        ({"SeriesInstanceUID": "1.9"}, "mixes 2 series: 2 head \\(6\\), 2 head \\(1\\)"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "mixes planes of several directions"),
        ({"PixelSpacing": [0.7, 0.7]}, "mixes planes of several directions or pixel sizes"),
        ({"ImagePositionPatient": None}, r"s: .*no ImagePositionPatient"),
        ({"ImagePositionPatient": [0, 0, "x"]}, "not readable DICOM|could not convert"),
        ({"Rows": 24}, "mixes matrices"),
        ({"SamplesPerPixel": 3}, r"s: .*colour"),
        ({"BitsAllocated": 12}, "not readable DICOM"),
    ],
)
def test_refused_with_a_line(tmp_path, fields, said):
    if "x" in str(fields.get("ImagePositionPatient")):
        files = edited(tmp_path, InstanceNumber=3)
        data = files[2].read_bytes()
        files[2].write_bytes(data.replace(b"-12.0\\", b"-1x.0\\"))
    else:
        files = edited(tmp_path, **fields)
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path / "s")
    assert "\n" not in str(caught.value)


def test_missing_slice(tmp_path):
    files = write_series(tmp_path / "s", HU, AFFINE)
    files[3].unlink()
    with pytest.raises(InputError, match=r"s: .*missing.*10 mm after plane 3 of 6, 5 mm"):
        read(tmp_path / "s")


def test_uneven_slices(tmp_path):
    edited(tmp_path, index=6, ImagePositionPatient=[-12, -9, 1.0])
    with pytest.raises(InputError, match=r"s: .*not evenly spaced.*6 mm after plane 6"):
        read(tmp_path / "s")


def test_shifted_slices(tmp_path):
    edited(tmp_path, index=3, ImagePositionPatient=[-2, -9, -15.0])
    with pytest.raises(InputError, match=r"s: .*shifted.*10 mm"):
        read(tmp_path / "s")


def test_two_time_points_in_one_series(tmp_path):
    write_series(tmp_path / "s", HU, AFFINE)
    write_series(tmp_path / "s", HU[::-1], AFFINE, suffix="b.dcm", SOPInstanceUID=generate_uid())
    with pytest.raises(InputError, match=r"s: .*two different slices.*\.dcm"):
        read(tmp_path / "s")


def test_damaged_and_foreign_files(tmp_path):
    files = write_series(tmp_path / "s", HU, AFFINE)
    data = files[1].read_bytes()
    files[1].write_bytes(data[: len(data) - 1000])
    with pytest.raises(InputError, match="not readable DICOM"):
        read(tmp_path / "s")
    files[1].write_bytes(b"no DICOM at all")
    with pytest.raises(InputError, match="not readable DICOM"):
        read(tmp_path / "s")


def test_multiframe_without_positions_or_with_company(tmp_path):
    path = write_multiframe(tmp_path / "a.dcm", HU, AFFINE, groups=False)
    with pytest.raises(InputError, match=r"multi-frame without .*position"):
        read(tmp_path, [path])
    write_multiframe(tmp_path / "b.dcm", HU, AFFINE)
    write_multiframe(tmp_path / "c.dcm", HU, AFFINE)
    with pytest.raises(InputError, match="mixes 2 multi-frame objects"):
        read(tmp_path, [tmp_path / "b.dcm", tmp_path / "c.dcm"])
