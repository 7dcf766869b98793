"""Volumes in memory: NIfTI bytes to arrays with their geometry, and back.

Axis order is NIfTI's throughout: [x, y, z], the third axis being the slice axis.
"""

import gzip
import io
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.files import atomic_file

LABEL_TOLERANCE = 1e-3
MAX_BYTES = 2**31  # of voxels in one file; a head CT of 512 x 512 x 400 has 0.4 GiB as float32
MAX_OFFSET = 2**26  # bytes before the first voxel: header and extensions
_DEFLATE_LIMIT = 1032  # a byte of deflate never makes more bytes (zlib's documentation)
_BLOCK = 2**14  # compressed bytes inflated at once: at most 16 MiB come out
_TRAILING = 2**16  # bytes after the voxels that are put up with (tape padding)
_QUIET = logging.Logger("mbhseg.nifti", logging.CRITICAL + 1)  # nibabel's remarks: see `notes`


def parse_nifti(data: bytes, where: str) -> nib.Nifti1Image:
    """Read a `.nii` or `.nii.gz` image (NIfTI-1 or -2, either byte order) from memory.

    The image's data object is an array of the machine's byte order: the stored values, or
    float32 after slope and intercept where the header has them. Axes of length 1 behind the third
    are dropped. `image.extra` holds `dtype`, the type in the file, and `notes`, a tuple of what is
    odd about the file without making it unreadable.

    Memory is taken for what the header asks and the file can hold, never for more.

    Raises InputError where the bytes are no such image, are cut short or damaged, hold no voxels
    or values other than real numbers, or inflate to more than the header asks.
    """
    try:
        return _parse(data)
    except (
        *(EOFError, OSError, zlib.error, ValueError, OverflowError, MemoryError, KeyError),
        *(HeaderDataError, HeaderTypeError, np.linalg.LinAlgError),
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            where, f"not a readable NIfTI volume ({reason})", "Fetch it again"
        ) from error


def _parse(data: bytes) -> nib.Nifti1Image:
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
    voxels = np.empty(shape, dtype, order="F")
    got = stream.read_into(voxels.reshape(-1, order="F").view(np.uint8).data)
    if got < needed:
        raise EOFError(f"cut short: {got:,} of {needed:,} bytes of voxels")
    if trailing := stream.drain(_TRAILING):
        notes.append(f"{trailing:,} bytes after the voxels")
    if not dtype.isnative:
        voxels = voxels.byteswap(inplace=True).view(dtype.newbyteorder("="))
    slope, intercept = header.get_slope_inter()
    if slope not in (None, 1.0) or intercept not in (None, 0.0):
        voxels = voxels.astype(np.float32)
        voxels *= np.float32(slope)
        voxels += np.float32(intercept)
    header["scl_slope"] = header["scl_inter"] = np.nan  # used up, as nibabel has it
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    extra = {"dtype": dtype.name, "notes": tuple(notes)}
    return kind(voxels, header.get_best_affine(), header, extra=extra)


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
        inflater = zlib.decompressobj(wbits=31)
        while not inflater.eof:
            chunk = view[at : at + _BLOCK]
            if not chunk:
                raise EOFError("cut short: the compressed data has no end")
            yield inflater.decompress(chunk)
            at += len(chunk)
        at -= len(inflater.unused_data)


def image_array(image: nib.Nifti1Image) -> NDArray[Any]:
    """HU values [x, y, z]: the stored dtype if unscaled, else float32 after slope and intercept.

    Takes images of `parse_nifti`, without a copy, and any other nibabel image.
    """
    data: Any = image.dataobj
    if isinstance(data, np.ndarray):
        return data
    if data.slope == 1 and data.inter == 0:
        return np.asanyarray(data.get_unscaled())
    return np.asanyarray(image.get_fdata(dtype=np.float32, caching="unchanged"))


def label_array(image: nib.Nifti1Image, where: str) -> NDArray[np.uint8]:
    """Labels [x, y, z] as uint8, rounded from whatever the file stores.

    Raises InputError if a value is not finite, not within 1e-3 of a whole number, or not a class.
    """
    values = image_array(image)
    if values.dtype.kind == "f":
        labels = _whole(values, where)
    else:
        _check_range(values, where)
        labels = values.astype(np.uint8, copy=False)
    return labels


def _whole(values: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Labels from floating-point values; blocks without a label, most of them, cost one look."""
    labels = np.zeros(values.shape, np.uint8, order="F")
    source, target = values.reshape(-1, order="F"), labels.reshape(-1, order="F")
    for start in range(0, source.size, 2**16):
        block = source[start : start + 2**16]
        if not block.any():  # NaN counts as something
            continue
        rounded = np.rint(block)
        with np.errstate(invalid="ignore"):
            off = ~(np.abs(block - rounded) <= LABEL_TOLERANCE)  # NaN and infinity are off too
        if off.any():
            raise InputError(
                where, f"label {block[off][0]:g} is not a whole number", "Redraw or exclude it"
            )
        _check_range(rounded, where)
        target[start : start + 2**16] = rounded
    return labels


def _check_range(values: NDArray[Any], where: str) -> None:
    if values.size and (values.min() < 0 or values.max() >= len(CLASSES)):
        odd = values.max() if values.max() >= len(CLASSES) else values.min()
        raise InputError(
            where,
            f"label {odd:g} is outside 0..{len(CLASSES) - 1}",
            "Map it to a class or exclude it",
        )


def voxel_ml(affine: NDArray[Any]) -> float:
    """Volume of one voxel in ml, from |det(affine)|.

    The product of zooms overstates tilted scans, whose axes are not orthogonal.
    """
    return abs(float(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000.0


def labels_like(labels: NDArray[np.uint8], scan: nib.Nifti1Image) -> nib.Nifti1Image:
    """A uint8 label image [x, y, z] in the geometry of `scan`: affine, qform, sform, codes, units.

    Raises ValueError if the shapes differ.
    """
    if labels.shape != scan.shape[:3]:
        raise ValueError(f"labels {labels.shape} do not fit the scan {scan.shape}")
    header = scan.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, len(CLASSES) - 1
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    return kind(labels, header.get_best_affine(), header)


def nifti_bytes(image: nib.Nifti1Image) -> bytes:
    """Serialise as `.nii.gz`, the same bytes for the same image (no time stamp in the gzip)."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0, filename="") as stream:
        stream.write(image.to_bytes())
    return buffer.getvalue()


def save_nifti(path: str | Path, image: nib.Nifti1Image) -> None:
    """Write `.nii.gz`, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_bytes(nifti_bytes(image))


def load_labels(path: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Read a label volume from disk: labels [x, y, z] uint8 and its 4 x 4 affine in mm."""
    image = parse_nifti(Path(path).read_bytes(), str(path))
    return label_array(image, str(path)), np.asarray(image.affine, np.float64)
