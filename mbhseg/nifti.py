"""NIfTI from bytes: a checked header, then the voxels, in order and within bounds.

Whatever the file says of itself, memory is taken only for what it can hold.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from numpy.typing import NDArray

from mbhseg import deflate
from mbhseg.errors import InputError

MAX_BYTES = 2**31  # of voxels in one file; a head CT of 512 x 512 x 400 has 0.4 GiB as float32
MAX_OFFSET = 2**26  # bytes before the first voxel: header and extensions
_DEFLATE_LIMIT = 1032  # a byte of deflate never makes more bytes (zlib's documentation)
_BLOCK = 2**14  # compressed bytes inflated at once: at most 16 MiB come out
_TRAILING = 2**16  # bytes after the voxels that are put up with (tape padding)
_QUIET = logging.Logger("mbhseg.nifti", logging.CRITICAL + 1)  # nibabel's remarks: see `notes`


@contextlib.contextmanager
def readable(where: str) -> Iterator[None]:
    """Turn what reading a broken file raises into an InputError."""
    try:
        yield
    except (
        *(EOFError, OSError, deflate.ERROR, ValueError, OverflowError, MemoryError, KeyError),
        *(HeaderDataError, HeaderTypeError, np.linalg.LinAlgError),
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            where, f"not a readable NIfTI volume ({reason})", "Fetch it again"
        ) from error


class Source(NamedTuple):
    """An opened file: its checked header, and a stream that stands at the next voxel."""

    header: nib.Nifti1Header
    notes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: "_Stream"

    def finish(self) -> int:
        """Read to the end, so that checksums are looked at; how many bytes follow the voxels."""
        return self.stream.drain(_TRAILING)

    def read(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The next voxels, first axis fastest, in the machine's byte order.

        The stored values, or float32 after slope and intercept where the header has them.
        """
        voxels: NDArray[Any] = np.empty(shape, self.dtype, order="F")
        got = self.stream.read_into(voxels.reshape(-1, order="F").view(np.uint8).data)
        if got < voxels.nbytes:
            raise EOFError(f"cut short: {got:,} of {voxels.nbytes:,} bytes of voxels")
        if not self.dtype.isnative:
            voxels = voxels.byteswap(inplace=True).view(self.dtype.newbyteorder("="))
        slope, intercept = self.header.get_slope_inter()
        if slope not in (None, 1.0) or intercept not in (None, 0.0):
            voxels = voxels.astype(np.float32)
            voxels *= np.float32(slope)
            voxels += np.float32(intercept)
        return voxels


def open_volume(data: bytes) -> Source:
    """Check the header of a `.nii` or `.nii.gz` file; raises what `readable` turns."""
    zipped = data[:2] == b"\x1f\x8b"
    stream = _Stream(_inflate(data) if zipped else iter([data]))
    header, notes = _header(stream)
    shape, dtype = _shape(header), header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ValueError(f"voxels of type {dtype.name}")
    needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if needed > MAX_BYTES:
        raise ValueError(f"the header asks for {needed:,} bytes of voxels, more than {MAX_BYTES:,}")
    if needed > len(data) * (_DEFLATE_LIMIT if zipped else 1):
        raise EOFError(f"cut short: {len(data):,} bytes cannot hold {needed:,} bytes of voxels")
    return Source(header, tuple(notes), shape, dtype, stream)


def _header(stream: "_Stream") -> tuple[nib.Nifti1Header, list[str]]:
    """The header, checked, and what nibabel has to remark on it; the stream is at the voxels."""
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
    """Blocks of bytes, read in order without ever holding all of them."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")

    def read_into(self, target: memoryview) -> int:
        """Fill `target` as far as there are bytes; how many there were."""
        filled = 0
        while filled < len(target):
            if not self._left:
                block = next(self._blocks, None)
                if block is None:
                    break
                self._left = memoryview(block)
            part = self._left[: len(target) - filled]
            target[filled : filled + len(part)] = part
            self._left = self._left[len(part) :]
            filled += len(part)
        return filled

    def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end."""
        buffer = bytearray(count)
        return bytes(buffer[: self.read_into(memoryview(buffer))])

    def drain(self, limit: int) -> int:
        """Read to the end, so that checksums are looked at; how many bytes were left.

        Raises ValueError beyond `limit` bytes.
        """
        count = len(self._left)
        for block in self._blocks:
            count += len(block)
            if count > limit:
                break
        if count > limit:
            raise ValueError(f"goes on for more than {limit:,} bytes after the voxels")
        return count


def _inflate(data: bytes) -> Iterator[bytes]:
    """Inflate gzip members one after the other, checking length and CRC of each.

    Bytes after the last member that are no further member are given out as they are, except
    zeros, which the format's own tools pass over too.
    """
    view, at = memoryview(data), 0
    while at < len(view):
        if view[at : at + 2] != b"\x1f\x8b":
            yield bytes(view[at:]).lstrip(b"\0")
            return
        inflater = deflate.gzip_inflater()
        count = 2**10  # at most a MiB, however well the file is packed
        while not inflater.eof:
            chunk = view[at : at + count]
            if not chunk:
                raise EOFError("cut short: the compressed data has no end")
            block = inflater.decompress(chunk)
            yield block
            at += len(chunk)
            # as much as should make a MiB, which stays in the processor's cache
            count = min(_BLOCK, max(count * 2**20 // max(len(block), 1), 64))
        at -= len(inflater.unused_data)
