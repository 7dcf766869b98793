"""DEFLATE by Intel's ISA-L where it is installed, by zlib elsewhere.

ISA-L inflates twice as fast and deflates five times as fast as zlib at level 1. Both are
lossless; they differ in the bytes they write, so files are byte for byte reproducible only with
the same of the two.
"""

import zlib
from typing import Any

_zlib: Any
try:
    from isal import isal_zlib as _zlib
except ImportError:  # no build for this platform
    _zlib = zlib

ERROR: type[Exception] = _zlib.error  # what both raise on broken input


def compress(data: Any, level: int = 1) -> bytes:
    """Deflate a buffer in zlib's format. Levels 0 to 3 exist in both libraries."""
    return _zlib.compress(data, level)


def crc32(data: Any, start: int = 0) -> int:
    """CRC-32 as zip, gzip and PNG have it, continued from `start`."""
    return _zlib.crc32(data, start)


def gzip_inflater() -> Any:
    """A decompressor of one gzip member, with zlib's interface: decompress, eof, unused_data.

    It checks length and CRC when it comes to the end. Only calls without a limit on the output
    behave alike in both libraries.
    """
    return _zlib.decompressobj(wbits=31)
