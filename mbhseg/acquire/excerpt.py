"""A few cases out of a zip on the hub: which bytes to fetch, and a valid zip made from them.

Members are copied unchanged, local header and compressed data, so nothing is compressed again and
only the central directory is new.
"""

import copy
import itertools
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mbhseg.acquire.download import Span
from mbhseg.errors import InputError, reason
from mbhseg.inspect.archive import CASE_PATTERN

_FETCH_WHOLE = "Set limit_cases to null to fetch the whole zip"


class Excerpt(NamedTuple):
    """What to fetch of a zip: the members and, in the same order, where each lies in it."""

    members: list[zipfile.ZipInfo]
    extents: list[Span]

    @property
    def spans(self) -> list[Span]:
        """The extents, neighbours joined."""
        joined: list[Span] = []
        for extent in self.extents:
            if joined and joined[-1].end == extent.start:
                extent = Span(joined.pop().start, extent.end)
            joined.append(extent)
        return joined


def first_cases(stream: BinaryIO, name: str, n: int) -> Excerpt:
    """Choose the members of the first `n` cases, by case id, of the zip behind `stream`.

    Reads the zip's directory only. Files outside the cases' folders are left out. Raises
    InputError if it is no zip, holds no case, or has an inconsistent directory.
    """
    try:
        with zipfile.ZipFile(stream) as source:
            members, directory = source.infolist(), source.start_dir
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        if isinstance(error.__context__, OSError):  # zipfile takes a failing hub for a bad zip
            raise error.__context__ from None
        problem = f"not a readable zip ({reason(error)})"
        raise InputError(name, problem, "Check huggingface.filename") from error
    starts = sorted({member.header_offset for member in members} | {directory})
    ends = dict(itertools.pairwise(starts))
    by_case: dict[str, list[zipfile.ZipInfo]] = {}
    for member in members:
        if (case := case_of(member.filename)) is not None:
            by_case.setdefault(case, []).append(member)
    if not by_case:
        raise InputError(name, "holds no case folders", "Check huggingface.filename")
    chosen = [member for case in sorted(by_case)[:n] for member in by_case[case]]
    chosen.sort(key=lambda member: member.header_offset)
    extents = [Span(member.header_offset, ends.get(member.header_offset, -1)) for member in chosen]
    for member, extent in zip(chosen, extents, strict=True):
        if not 0 <= extent.start <= extent.end - member.compress_size:
            raise InputError(f"{name}:{member.filename}", "lies outside the zip", _FETCH_WHOLE)
        if not member.filename.isascii() and not member.flag_bits & 0x800:
            raise InputError(f"{name}:{member.filename}", "is no UTF-8 name", _FETCH_WHOLE)
    if len(set(extents)) < len(extents):
        raise InputError(name, "two members share their bytes", _FETCH_WHOLE)
    return Excerpt(chosen, extents)


def case_of(member: str) -> str | None:
    """The case that a member of the archive belongs to, by its folder's or its file's name."""
    if member.startswith("__MACOSX/"):
        return None
    stems = (part.split(".")[0] for part in member.split("/"))
    return next((stem for stem in stems if CASE_PATTERN.fullmatch(stem)), None)


def write_directory(path: Path, excerpt: Excerpt) -> None:
    """Turn the file of the excerpt's extents, one after the other, into a zip; check every member.

    Raises InputError if a member does not match its checksum.
    """
    # a file without a directory is to zipfile something to append to, at its end
    with zipfile.ZipFile(path, "a") as archive:
        if archive.infolist():
            raise InputError(path, "its last member ends like a zip", _FETCH_WHOLE)
        archive.infolist().extend(_moved(excerpt.members, excerpt.extents))
    with zipfile.ZipFile(path) as archive:
        try:
            bad = archive.testzip()
        except (zlib.error, RuntimeError, NotImplementedError) as error:
            raise InputError(path, f"holds a bad member ({reason(error)})", _FETCH_WHOLE) from error
    if bad:
        raise InputError(
            f"{path}:{bad}", "does not match its checksum", "Run again to fetch it anew"
        )


def _moved(
    members: Iterable[zipfile.ZipInfo], extents: Sequence[Span]
) -> Iterable[zipfile.ZipInfo]:
    """The members with their places in the file of joined extents."""
    position = 0
    for member, extent in zip(members, extents, strict=True):
        moved = copy.copy(member)
        moved.header_offset = position
        moved.extra = _without_zip64(member.extra)
        position += extent.end - extent.start
        yield moved


def _without_zip64(extra: bytes) -> bytes:
    """The extra fields without the zip64 one, which zipfile writes if needed."""
    kept, rest = b"", extra
    while len(rest) >= 4:
        end = 4 + int.from_bytes(rest[2:4], "little")
        kept += rest[:end] if rest[:2] != b"\x01\x00" else b""
        rest = rest[end:]
    return kept
