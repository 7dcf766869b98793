"""DEFLATE by zlib-ng: it inflates twice as fast as zlib and deflates four times as fast.

Its output is zlib's format, which any zlib reads. The compressed bytes are the same for the same
input and version of the library on every processor (those of ISA-L, somewhat faster, differ
without AVX-512, so a cluster's nodes would not agree).
"""

from typing import Any

from zlib_ng import zlib_ng

ERROR: Any = zlib_ng.error  # raised for broken input; Any, because the stub declares an instance


def compress(data: Any) -> bytes:
    """Deflate a buffer in zlib's format, at level 1: the next is half as fast."""
    return zlib_ng.compress(data, 1)


def crc32(data: Any, start: int = 0) -> int:
    """CRC-32 as in zip, gzip and PNG, continued from `start`."""
    return zlib_ng.crc32(data, start)


def gzip_inflater() -> Any:
    """A decompressor of one gzip member, with zlib's interface: decompress, eof, unused_data.

    It checks length and CRC at the end. With a limit on the output it may hold back more than
    `unconsumed_tail` shows: call it again with empty input until it returns nothing.
    """
    return zlib_ng.decompressobj(wbits=31)
