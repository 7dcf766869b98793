"""NIfTI bytes to arrays and back: every kind of file that is right, and of one that is not."""

import contextlib
import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbhseg.errors import InputError
from mbhseg.imaging.nifti import (
    image_array,
    label_array,
    labels_like,
    load_labels,
    nifti_bytes,
    parse_nifti,
    voxel_ml,
)
from tests.volumes import save_nifti

AFFINE = np.diag([-0.5, 0.5, 5.0, 1.0])
AFFINE[:3, 3] = 100, -90, 20
VALUES = np.arange(-60, 60).reshape(4, 5, 6, order="F")
HEADER = 352  # bytes before the voxels


def nifti(values: np.ndarray = VALUES, dtype: str = "int16", kind=nib.Nifti1Image) -> bytes:
    """A plain `.nii` file."""
    image = kind(values.astype(dtype), AFFINE, dtype=dtype)
    image.header.set_data_dtype(dtype)
    return image.to_bytes()


def patched(offset: int, layout: str, *values: object) -> bytes:
    """A plain file whose header has other values at a byte."""
    data = bytearray(nifti())
    struct.pack_into("<" + layout, data, offset, *values)
    return bytes(data)


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


DIM, TYPE, BITS, PIXDIM, OFFSET, SLOPE, INTER = 40, 70, 72, 76, 108, 112, 116
UNITS, QFORM, SFORM, QUATERNION, SROW, MAGIC = 123, 252, 254, 256, 280, 344


@pytest.mark.parametrize("compress", [False, True], ids=["nii", "nii.gz"])
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]
)
def test_reads_what_nibabel_reads(dtype: str, compress: bool) -> None:
    values = VALUES % 100 if dtype.startswith("u") else VALUES
    data = nifti(values, dtype)
    image = parse_nifti(packed(data) if compress else data, "x.nii")
    reference = nib.Nifti1Image.from_bytes(data)
    np.testing.assert_array_equal(image_array(image), np.asarray(reference.dataobj))
    assert image_array(image).dtype == dtype
    np.testing.assert_array_equal(image.affine, reference.affine)
    assert image.extra == {"dtype": dtype, "notes": ()}


def test_reads_big_endian() -> None:
    image = nib.Nifti1Image(VALUES.astype(">i4"), AFFINE, nib.Nifti1Header(endianness=">"))
    image.header.set_data_dtype(">i4")
    found = parse_nifti(packed(image.to_bytes()), "x")
    np.testing.assert_array_equal(image_array(found), VALUES)
    assert image_array(found).dtype == np.dtype("=i4")
    np.testing.assert_allclose(found.affine, AFFINE)
    again = parse_nifti(nifti_bytes(labels_like(np.ones((4, 5, 6), np.uint8), found)), "y")
    np.testing.assert_allclose(again.affine, AFFINE)


def test_reads_nifti_2_and_writes_its_geometry() -> None:
    found = parse_nifti(packed(nifti(kind=nib.Nifti2Image)), "x")
    np.testing.assert_array_equal(image_array(found), VALUES)
    again = parse_nifti(nifti_bytes(labels_like(np.ones((4, 5, 6), np.uint8), found)), "y")
    np.testing.assert_array_equal(again.affine, AFFINE)
    assert isinstance(again, nib.Nifti2Image)


def test_reads_several_gzip_members_and_padding() -> None:
    data = nifti()
    split = packed(data[:400]) + packed(data[400:]) + b"\0" * 100
    np.testing.assert_array_equal(image_array(parse_nifti(split, "x")), VALUES)


def test_applies_slope_and_intercept() -> None:
    image = parse_nifti(patched(SLOPE, "ff", 2.0, -1024.0), "x")
    np.testing.assert_array_equal(image_array(image), VALUES * 2.0 - 1024)
    assert image_array(image).dtype == np.float32
    assert image.extra["dtype"] == "int16"
    np.testing.assert_array_equal(image.get_fdata(), VALUES * 2.0 - 1024)


@pytest.mark.parametrize("slope", [0.0, float("nan"), float("inf")])
def test_slope_that_means_none(slope: float) -> None:
    image = parse_nifti(patched(SLOPE, "ff", slope, 0.0), "x")
    np.testing.assert_array_equal(image_array(image), VALUES)
    assert image_array(image).dtype == np.int16


def test_array_of_any_nibabel_image(tmp_path) -> None:
    (tmp_path / "x.nii").write_bytes(nifti())
    (tmp_path / "y.nii").write_bytes(patched(SLOPE, "ff", 0.5, 1.0))
    assert image_array(nib.load(tmp_path / "x.nii")).dtype == np.int16
    scaled = image_array(nib.load(tmp_path / "y.nii"))
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, VALUES * 0.5 + 1)


def test_drops_axes_of_length_one() -> None:
    image = parse_nifti(nifti(VALUES[..., np.newaxis]), "x")
    assert image.shape == (4, 5, 6)
    assert image.header["dim"][0] == 3


def test_skips_extensions() -> None:
    image = nib.Nifti1Image(VALUES.astype(np.int16), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a remark"))
    np.testing.assert_array_equal(image_array(parse_nifti(image.to_bytes(), "x")), VALUES)


@pytest.mark.parametrize(
    ("data", "note"),
    [
        pytest.param(nifti() + b"tail", "4 bytes after the voxels", id="bytes after the voxels"),
        pytest.param(packed(nifti()) + b"tail", "4 bytes after", id="bytes after the gzip"),
        pytest.param(packed(nifti() + b"tail"), "4 bytes after", id="bytes inside the gzip"),
        pytest.param(patched(PIXDIM + 4, "fff", 0, 0, 0), "pixdim[1,2,3]", id="zero pixdim"),
        pytest.param(patched(BITS, "h", 8), "bitpix", id="wrong bitpix"),
        pytest.param(patched(PIXDIM, "f", 0), "qfac", id="no qfac"),
        pytest.param(patched(SFORM, "h", 99), "sform_code", id="unknown sform code"),
    ],
)
def test_notes_what_is_odd(data: bytes, note: str) -> None:
    image = parse_nifti(data, "x")
    np.testing.assert_array_equal(image_array(image), VALUES)
    assert any(note in text for text in image.extra["notes"]), image.extra["notes"]


def damaged_gzip(at: int) -> bytes:
    data = bytearray(packed(nifti(np.random.default_rng(0).integers(-999, 999, (20, 20, 20)))))
    data[at] ^= 0xFF
    return bytes(data)


BAD = {
    "empty": b"",
    "one byte": b"\x1f",
    "text": b"<html>503 Service Unavailable</html>" * 20,
    "gzip of nothing": packed(b""),
    "gzip of text": packed(b"hello" * 200),
    "gzip header only": packed(nifti())[:10],
    "gzip cut in the header": packed(nifti())[:60],
    "gzip cut in the voxels": packed(nifti())[:-30],
    "gzip without its checksum": packed(nifti())[:-8],
    "gzip with a wrong checksum": damaged_gzip(-6),
    "gzip with a wrong length": damaged_gzip(-2),
    "gzip with a damaged body": damaged_gzip(2000),
    "gzip of another method": b"\x1f\x8b\x07" + packed(nifti())[3:],
    "cut in the header": nifti()[:200],
    "cut before the voxels": nifti()[:350],
    "cut in the voxels": nifti()[:-1],
    "header only": nifti()[:HEADER],
    "magic of a pair of files": patched(MAGIC, "4s", b"ni1\0"),
    "magic of nothing": patched(MAGIC, "4s", b"\0\0\0\0"),
    "magic of NIfTI-2 in NIfTI-1": patched(MAGIC, "4s", b"n+2\0"),
    "wrong header size": patched(0, "i", 349),
    "no dimensions": patched(DIM, "h", 0),
    "nine dimensions": patched(DIM, "h", 9),
    "negative dimensions": patched(DIM, "h", -3),
    "a negative dimension": patched(DIM, "4h", 3, 4, -5, 6),
    "a zero dimension": patched(DIM, "4h", 3, 4, 0, 6),
    "10^12 voxels": patched(DIM, "4h", 3, 10000, 10000, 10000),
    "10^12 voxels, packed": packed(patched(DIM, "4h", 3, 10000, 10000, 10000)),
    "10^31 voxels": patched(DIM, "8h", 7, *([32767] * 7)),
    "more voxels than bytes": patched(DIM, "4h", 3, 400, 500, 600),
    "more voxels than gzip can hold": packed(patched(DIM, "4h", 3, 400, 500, 600)),
    "unknown type": patched(TYPE, "h", 7),
    "type none": patched(TYPE, "h", 0),
    "complex": nib.Nifti1Image(VALUES.astype(np.complex64), AFFINE).to_bytes(),
    "colour": patched(TYPE, "hh", 128, 24),
    "quadruple precision": patched(TYPE, "hh", 1536, 128),
    "voxels inside the header": patched(OFFSET, "f", 100),
    "voxels far away": patched(OFFSET, "f", 1e9),
    "voxels at no number": patched(OFFSET, "f", float("nan")),
    "voxels at infinity": patched(OFFSET, "f", float("inf")),
    "voxels before the file": patched(OFFSET, "f", -352),
    "infinite intercept": patched(SLOPE, "ff", 2, float("inf")),
    "NaN intercept": patched(SLOPE, "ff", 2, float("nan")),
    "NaN affine": patched(SFORM, "h24x12f", 1, *[float("nan")] * 12),
    "impossible quaternion": patched(QFORM, "hhfff", 1, 0, 9.0, 9.0, 9.0),
    "gzip bomb behind the voxels": packed(nifti() + bytes(10**7)),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_refuses(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        parse_nifti(data, "archive.zip:image.nii.gz")
    assert "\n" not in str(caught.value)
    assert caught.value.where == "archive.zip:image.nii.gz"
    assert caught.value.problem.startswith("not a readable NIfTI volume (")


def test_absurd_headers_take_no_memory() -> None:
    lies = [data for kind, data in BAD.items() if "voxels" in kind or "bomb" in kind]
    assert len(lies) >= 6
    tracemalloc.start()
    try:
        for data in lies:
            with pytest.raises(InputError):
                parse_nifti(data, "x")
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


def readable_or_refused(data: bytes) -> None:
    with contextlib.suppress(InputError):
        image = parse_nifti(data, "x")
        assert image_array(image).shape == image.shape
        assert image.affine.shape == (4, 4)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, HEADER - 1), st.integers(0, 255)), max_size=12))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_header_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    data = bytearray(nifti())
    for at, byte in changes:
        data[at] = byte
    readable_or_refused(bytes(data))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_damage_to_the_compressed_file_is_read_or_refused(data: st.DataObject) -> None:
    whole = packed(nifti())
    cut = data.draw(st.integers(0, len(whole)))
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    readable_or_refused(bytes(changed)[:cut])


@given(st.binary(max_size=800))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        parse_nifti(data, "x")


LABELS = np.zeros((8, 8, 4), np.uint8)
LABELS[2:5, 3:6, 1:3] = np.arange(18).reshape(3, 3, 2) % 6


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "float32", "float64"]
)
def test_labels_of_any_type(dtype: str) -> None:
    found = label_array(parse_nifti(nifti(LABELS, dtype), "x"), "x")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, LABELS)


def test_labels_are_rounded_within_the_tolerance() -> None:
    noise = np.random.default_rng(3).uniform(-9e-4, 9e-4, LABELS.shape)
    found = label_array(parse_nifti(nifti(LABELS + noise, "float64"), "x"), "x")
    np.testing.assert_array_equal(found, LABELS)


def test_scaled_labels() -> None:
    image = nib.Nifti1Image((LABELS * 40).astype(np.uint8), AFFINE)
    data = bytearray(image.to_bytes())
    struct.pack_into("<ff", data, SLOPE, 0.025, 0)
    np.testing.assert_array_equal(label_array(parse_nifti(bytes(data), "x"), "x"), LABELS)


@pytest.mark.parametrize(
    ("dtype", "value", "problem"),
    [
        ("uint8", 6, "label 6 is outside 0..5"),
        ("uint8", 255, "label 255 is outside 0..5"),
        ("int16", -1, "label -1 is outside 0..5"),
        ("uint16", 1000, "label 1000 is outside 0..5"),
        ("int32", 2**30, "outside 0..5"),
        ("float32", 7.0, "label 7 is outside 0..5"),
        ("float64", -1.0, "label -1 is outside 0..5"),
        ("float64", 1.5, "label 1.5 is not a whole number"),
        ("float64", 0.002, "label 0.002 is not a whole number"),
        ("float32", 4.998, "label 4.998 is not a whole number"),
        ("float64", float("nan"), "label nan is not a whole number"),
        ("float32", float("inf"), "label inf is not a whole number"),
        ("float64", -float("inf"), "label -inf is not a whole number"),
    ],
)
def test_refuses_labels(dtype: str, value: float, problem: str) -> None:
    values = LABELS.astype(dtype)
    values[-1, -1, -1] = value
    with pytest.raises(InputError, match="label_annot_1") as caught:
        label_array(parse_nifti(nifti(values, dtype), "x"), "label_annot_1.nii.gz")
    assert problem in caught.value.problem


def test_voxel_volume_of_a_sheared_scan() -> None:
    affine = AFFINE.copy()
    affine[1, 2] = 1.3  # the step goes aside: the planes lie no farther apart
    assert voxel_ml(affine) == pytest.approx(0.5 * 0.5 * 5 / 1000)


@pytest.mark.parametrize("forms", [(1, 0), (0, 2), (1, 2), (0, 0)])
def test_labels_take_the_geometry_of_the_scan(tmp_path, forms: tuple[int, int]) -> None:
    scan = nib.Nifti1Image(VALUES.astype(np.int16), AFFINE)
    tilted = AFFINE.copy()
    tilted[:3, :3] = tilted[:3, :3] @ [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]
    scan.set_qform(AFFINE, forms[0])
    scan.set_sform(tilted if forms[1] else None, forms[1])
    scan.header.set_xyzt_units("mm")
    scan = parse_nifti(scan.to_bytes(), "scan")
    labels = (VALUES % 6).astype(np.uint8)
    save_nifti(tmp_path / "x.nii.gz", labels_like(labels, scan))
    found, affine = load_labels(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(affine, scan.affine)
    header = nib.load(tmp_path / "x.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == forms
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_data_dtype() == np.uint8


def test_labels_must_fit_the_scan() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        labels_like(np.zeros((4, 5, 7), np.uint8), parse_nifti(nifti(), "x"))


def test_same_image_same_bytes() -> None:
    image = labels_like(np.ones((4, 5, 6), np.uint8), parse_nifti(nifti(), "x"))
    assert nifti_bytes(image) == nifti_bytes(image)
    assert zlib.decompress(nifti_bytes(image), 31)[:4] == struct.pack("<i", 348)


def test_voxels_are_where_nibabel_has_them() -> None:
    random: Callable[..., np.ndarray] = np.random.default_rng(1).integers
    values = random(-1000, 1000, (3, 7, 2))
    image = parse_nifti(packed(nifti(values)), "x")
    assert image.shape == (3, 7, 2)
    assert image_array(image)[2, 6, 1] == values[2, 6, 1]
    assert image_array(image)[2, 0, 1] == values[2, 0, 1]
