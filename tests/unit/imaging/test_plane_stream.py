"""The stream under the volumes: gzip members inflated in pieces of any size."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbhseg.imaging import deflate, plane_stream
from mbhseg.imaging.nifti import PlaneReader

# noise, runs that pack a thousandfold, and both together
CONTENT = st.lists(
    st.one_of(st.binary(max_size=300), st.integers(0, 200_000).map(lambda n: b"\0" * n)), max_size=4
).map(b"".join)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(CONTENT, min_size=1, max_size=3),
    st.sampled_from([b"", b"\0" * 70, b"tail", b"\0\0tail"]),
    st.sampled_from([1, 7, 100, 2**18]),
    st.lists(st.integers(1, 70_000), min_size=1, max_size=6),
)
def test_pieces_make_the_whole(
    members: list[bytes], tail: bytes, packed: int, sizes: list[int]
) -> None:
    data = b"".join(gzip.compress(m) for m in members) + tail
    expected = b"".join(members) + tail.lstrip(b"\0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plane_stream, "_PACKED", packed)
        stream = plane_stream._Stream(data)
        parts, wanted = [], iter(sizes * (len(expected) // sum(sizes) + 2))
        while part := stream.read(size := next(wanted)):
            assert len(part) <= size
            parts.append(part)
        assert b"".join(parts) == expected
        assert stream.read(5) == b""
        target = bytearray(len(expected) + 3)
        assert plane_stream._Stream(data).read_into(memoryview(target)) == len(expected)
        assert target == expected + b"\0" * 3


@settings(max_examples=100, deadline=None)
@given(CONTENT, st.data(), st.sampled_from([1, 50, 2**18]))
def test_damage_is_seen(content: bytes, choice: st.DataObject, packed: int) -> None:
    data = gzip.compress(content)
    cut = choice.draw(st.integers(3, len(data) - 1))
    spoilt = bytearray(data)
    spoilt[choice.draw(st.integers(len(data) - 8, len(data) - 1))] ^= 1  # CRC or length
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plane_stream, "_PACKED", packed)
        for broken in (data[:cut], bytes(spoilt)):
            with pytest.raises((EOFError, deflate.ERROR)):
                plane_stream._Stream(broken).read(len(content) + 1)


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f8", ">u2"])
def test_planes_are_the_volumes(dtype: str) -> None:
    voxels = np.random.default_rng(0).integers(0, 900, (7, 5, 4)).astype(dtype)
    image = plane_stream.nib.Nifti1Image(voxels, np.eye(4))
    planes = list(PlaneReader(gzip.compress(image.to_bytes()), "x"))
    np.testing.assert_array_equal(np.stack(planes, axis=2), voxels)
    assert all(plane.dtype.isnative for plane in planes)
