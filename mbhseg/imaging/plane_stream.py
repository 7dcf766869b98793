"""NIfTI from bytes: a checked header, then the voxels, in order and within bounds.

Whatever the header claims, memory is taken only for what the file can hold.

`zlib_ng.gzip_ng` would read the members too (10 % faster), but at bytes after the last member it
raises and drops the voxels before them, and it accepts reserved gzip flags: so `_Stream` stays.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from numpy.typing import NDArray

from mbhseg.errors import InputError, reason
from mbhseg.imaging import deflate

MAX_BYTES = 2**31  # of voxels in one file; a head CT of 512 x 512 x 400 has 0.4 GiB as float32
MAX_OFFSET = 2**26  # bytes before the first voxel: header and extensions
_DEFLATE_LIMIT = 1032  # a byte of deflate never makes more bytes (zlib's documentation)
_GZIP = b"\x1f\x8b"
_PACKED = 2**19  # compressed bytes per call of the inflater
_PIECE = 2**20  # bytes inflated at once at most; they stay in the processor's cache
_TRAILING = 2**16  # bytes after the voxels tolerated (tape padding)
_QUIET = logging.Logger(
    "mbhseg.imaging.plane_stream", logging.CRITICAL + 1
)  # nibabel's remarks: see `notes`


@contextlib.contextmanager
def readable(where: str) -> Iterator[None]:
    """Turn the errors of reading a broken file into InputError."""
    try:
        yield
    except (
        *(EOFError, OSError, deflate.ERROR, ValueError, OverflowError, MemoryError, KeyError),
        *(HeaderDataError, HeaderTypeError, np.linalg.LinAlgError),
    ) as error:
        problem = f"not a readable NIfTI volume ({reason(error)})"
        raise InputError(where, problem, "Fetch it again") from error


class Source(NamedTuple):
    """An opened file: its checked header, and a stream that stands at the next voxel."""

    header: nib.Nifti1Header
    notes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: tuple[float, float] | None  # slope and intercept, if the file has them
    stream: "_Stream"

    def finish(self) -> int:
        """Read to the end, so that checksums are verified; the number of bytes after the voxels."""
        return self.stream.drain(_TRAILING)

    def read_volume(self) -> NDArray[Any]:
        """All voxels, first axis fastest, in the machine's byte order.

        The stored values, or float32 after slope and intercept where the header has them.
        """
        voxels: NDArray[Any] = np.empty(self.shape, self.dtype, order="F")
        got = self.stream.read_into(voxels.reshape(-1, order="F").view(np.uint8).data)
        _check_length(got, voxels.nbytes)
        return self._values(voxels)

    def read_plane(self) -> NDArray[Any]:
        """The next plane [x, y], read-only; otherwise as `read_volume`."""
        needed = self.shape[0] * self.shape[1] * self.dtype.itemsize
        data = self.stream.read(needed)
        _check_length(len(data), needed)
        return self._values(np.frombuffer(data, self.dtype).reshape(self.shape[:2], order="F"))

    def _values(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """The values that stored voxels stand for."""
        if not self.dtype.isnative:
            voxels = voxels.astype(self.dtype.newbyteorder("="))
        if self.scale is not None:
            voxels = voxels.astype(np.float32)
            voxels *= np.float32(self.scale[0])
            voxels += np.float32(self.scale[1])
        return voxels


def _check_length(got: int, needed: int) -> None:
    if got < needed:
        raise EOFError(f"cut short: {got:,} of {needed:,} bytes of voxels")


def open_volume(data: bytes) -> Source:
    """Check the header of a `.nii` or `.nii.gz` file; raises what `readable` converts."""
    zipped = data[:2] == _GZIP
    stream = _Stream(data)
    header, notes = _header(stream)
    shape, dtype = _shape(header), header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ValueError(f"voxels of type {dtype.name}")
    needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if needed > MAX_BYTES:
        raise ValueError(f"the header asks for {needed:,} bytes of voxels, more than {MAX_BYTES:,}")
    if needed > len(data) * (_DEFLATE_LIMIT if zipped else 1):
        raise EOFError(f"cut short: {len(data):,} bytes cannot hold {needed:,} bytes of voxels")
    scale = header.get_slope_inter()
    scaled = scale not in ((None, None), (1.0, 0.0))
    return Source(header, tuple(notes), shape, dtype, scale if scaled else None, stream)


def _header(stream: "_Stream") -> tuple[nib.Nifti1Header, list[str]]:
    """The checked header and nibabel's remarks on it; the stream is then at the voxels."""
    start = stream.read(4)
    size = next(
        (n for n in (348, 540) if start in (n.to_bytes(4, e) for e in ("little", "big"))), 0
    )
    if not size:
        raise ValueError("no NIfTI header")
    kind = nib.Nifti1Header if size == 348 else nib.Nifti2Header
    block = start + stream.read(size - 4)
    if len(block) < size:
        raise EOFError("cut short in the header")
    header = kind(block, check=False)
    magic = header["magic"].item()
    if not magic.startswith(b"n+1" if size == 348 else b"n+2"):
        raise ValueError(f"magic {magic!r} is not that of a single NIfTI file")
    remarks = kind.diagnose_binaryblock(block)
    header.check_fix(logger=_QUIET, error_level=40)
    offset = float(header["vox_offset"])
    if not (size + 4 <= offset <= MAX_OFFSET and offset.is_integer()):
        raise ValueError(f"voxels at byte {offset:g}")
    if len(stream.read(int(offset) - size)) < int(offset) - size:
        raise EOFError("cut short before the voxels")
    return header, [" ".join(line.split()) for line in remarks.splitlines() if line.strip()]


def _shape(header: nib.Nifti1Header) -> tuple[int, ...]:
    dims = [int(n) for n in header["dim"]]
    shape = dims[1 : 1 + dims[0]]
    if not shape or min(shape) < 1:
        raise ValueError(f"no voxels in dimensions {' x '.join(map(str, shape)) or 'none'}")
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


class _Stream:
    """Bytes read in order, never holding more of them than requested.

    Inflates the members of a gzip file one after the other, checking length and CRC of each.
    Bytes after the last member are returned as they are, except zeros, which gzip skips too.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0
        self._inflater: Any = None
        self._zipped = data[:2] == _GZIP
        self._packed: bytes | memoryview = b""  # input that the inflater has not consumed yet

    def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end."""
        parts = []
        while count and (part := self._some(count)):
            parts.append(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_into(self, target: memoryview) -> int:
        """Fill `target` with the next bytes; how many there were."""
        filled = 0
        while filled < len(target) and (part := self._some(min(len(target) - filled, _PIECE))):
            target[filled : filled + len(part)] = part
            filled += len(part)
        return filled

    def drain(self, limit: int) -> int:
        """Read to the end, so that checksums are verified; how many bytes were left.

        Raises ValueError beyond `limit` bytes.
        """
        count = len(self.read(limit + 1))
        if count > limit:
            raise ValueError(f"more than {limit:,} bytes follow the voxels")
        return count

    def _some(self, limit: int) -> bytes:
        """Between 1 and `limit` of the next bytes, none at the end."""
        while self._zipped:
            if self._inflater is None:
                self._zipped = self._open_member()
                continue
            part: bytes = self._inflater.decompress(self._packed, limit)
            self._packed = self._inflater.unconsumed_tail
            if self._inflater.eof:
                self._at -= len(self._inflater.unused_data)
                self._inflater = None
            if part:
                return part
            if self._inflater is not None:  # it has no output left: it needs more input
                self._packed = self._data[self._at : self._at + _PACKED]
                self._at += len(self._packed)
                if not self._packed:
                    raise EOFError("cut short: the compressed data has no end")
        part = bytes(self._data[self._at : self._at + limit])
        self._at += len(part)
        return part

    def _open_member(self) -> bool:
        """Whether a gzip member begins here; if none does, zeros are skipped."""
        if self._data[self._at : self._at + 2] != _GZIP:
            rest = bytes(self._data[self._at :])
            self._at += len(rest) - len(rest.lstrip(b"\0"))
            return False
        self._inflater, self._packed = deflate.gzip_inflater(), b""
        return True
