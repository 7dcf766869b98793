"""PNG files, written by the project and read by others, and the other way round."""

import hashlib
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from mbhseg.errors import InputError
from mbhseg.imaging import deflate
from mbhseg.imaging.png import encode_png, read_grey, read_image, write_png

SIDE = st.integers(1, 20)
RGB = st.tuples(SIDE, SIDE).flatmap(lambda shape: hnp.arrays(np.uint8, (*shape, 3)))
GREY = st.tuples(SIDE, SIDE).flatmap(lambda shape: hnp.arrays(np.uint8, shape))


@settings(max_examples=60, deadline=None)
@given(RGB)
def test_rgb_comes_back_through_opencv(pixels: np.ndarray) -> None:
    data = np.frombuffer(encode_png(pixels), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), pixels)


@settings(max_examples=60, deadline=None)
@given(GREY)
def test_grey_comes_back_through_opencv(pixels: np.ndarray) -> None:
    data = np.frombuffer(encode_png(pixels), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), pixels)


@pytest.mark.parametrize("shape", [(512, 512, 3), (37, 512, 3), (300, 5)])
def test_another_reader_agrees(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels)
    with Image.open(tmp_path / "a.png") as image:
        image.verify()  # the checksums
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == ("RGB" if len(shape) == 3 else "L")
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    view = np.rot90(pixels)[:, ::2]
    write_png(tmp_path / "a.png", view)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), view)


def test_equal_pixels_make_equal_bytes() -> None:
    pixels = np.random.default_rng(0).integers(0, 9, (64, 64, 3), dtype=np.uint8)
    assert encode_png(pixels) == encode_png(np.asfortranarray(pixels))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
    ids=["16 bit", "two channels", "no rows", "one axis"],
)
def test_what_is_no_image_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="is not 8-bit grey or RGB"):
        encode_png(pixels)


def test_grey_and_palette_files_are_read_as_rgb(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    write_png(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(
        read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=2)
    )
    rgb = np.array([[[255, 0, 0], [0, 255, 255]]], np.uint8)
    Image.fromarray(rgb).quantize(4).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), rgb)
    np.testing.assert_array_equal(read_grey(tmp_path / "grey.png"), grey)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-30] + bytes([data[-30] ^ 255]) + data[-29:],
        lambda data: b"hello, world" * 20,
    ],
    ids=["empty", "header cut", "half", "bit flipped", "no image"],
)
def test_damaged_files_are_refused(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    path.write_bytes(damage(encode_png(pixels)))  # type: ignore[operator]
    with pytest.raises(InputError, match=r"a\.png: not a readable image"):
        read_image(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b\.png: cannot be read \(No such file"):
        read_image(tmp_path / "b.png")


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=5000), st.binary(max_size=50))
def test_deflate_is_what_zlib_reads(data: bytes, more: bytes) -> None:
    assert zlib.decompress(deflate.compress(data)) == data
    assert deflate.crc32(more, deflate.crc32(data)) == zlib.crc32(data + more)


def test_the_bytes_are_the_same_on_every_machine() -> None:
    """What a processor without AVX, one with AVX-512 and an emulated one have written here."""
    rows, columns = np.mgrid[:96, :80]
    texture = (rows * 7 + columns * columns // 5) % 64 + (rows * columns) % 11
    head = np.where((rows - 48) ** 2 + (columns - 40) ** 2 < 900, texture, 0).astype(np.uint8)
    data = encode_png(np.stack([head, head // 2, head // 3], axis=-1))
    assert hashlib.sha256(data).hexdigest() == (
        "61b2dfaa50454c432ddd2d5978302c0eb12e0fa30ff8ab91ec46f22f675b491a"
    )
