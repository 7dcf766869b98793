"""Zips of a few cases, made from parts of a larger one."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest

from mbhseg.acquire.excerpt import case_of, first_cases, write_directory
from mbhseg.errors import InputError
from tests.zips import case_members, first, members_of, zip_of


def cut(source: bytes | BinaryIO, n: int, path: Path) -> Path:
    """The zip of the first n cases, its bytes taken from the source as a download would."""
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    excerpt = first_cases(stream, "scans.zip", n)
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    with path.open("wb") as out:
        for start, end in excerpt.spans:
            stream.seek(start)
            out.write(stream.read(end - start))
    write_directory(path, excerpt)
    return path


def unzip_agrees(path: Path) -> bool:
    """Whether a second implementation finds the zip sound; true where there is none."""
    if shutil.which("unzip") is None:
        return True
    return subprocess.run(["unzip", "-tqq", path]).returncode == 0


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("n", [1, 3, 8, 99])
def test_members_of_the_first_cases_by_id(tmp_path: Path, method: int, n: int) -> None:
    members = case_members(8)
    path = cut(zip_of(members, method, comment=b"MBH-Seg"), n, tmp_path / "few.zip")
    assert members_of(path) == first(members, n)
    assert unzip_agrees(path)


def test_neighbours_are_fetched_in_one_go() -> None:
    members = dict(sorted(case_members(8).items()))
    excerpt = first_cases(io.BytesIO(zip_of(members)), "scans.zip", 3)
    assert len(excerpt.extents) == 9
    assert len(excerpt.spans) == 1


def test_data_descriptors_survive(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        """A sink that cannot seek, which makes zipfile write sizes after the data."""

        def __init__(self) -> None:
            self.written = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.written += data
            return len(data)

    members, pipe = case_members(6), Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            with archive.open(name, "w", force_zip64=True) as stream:
                stream.write(data)
    path = cut(bytes(pipe.written), 2, tmp_path / "few.zip")
    assert members_of(path) == first(members, 2)
    assert unzip_agrees(path)


def test_members_beyond_four_gigabytes(tmp_path: Path) -> None:
    members = case_members(3)
    with (tmp_path / "large.zip").open("w+b") as sparse:
        sparse.truncate(5 * 10**9)  # a hole: takes no room on the disk
        with zipfile.ZipFile(sparse, "a") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        path = cut(sparse, 2, tmp_path / "few.zip")
    assert members_of(path) == first(members, 2)
    assert unzip_agrees(path)
    with zipfile.ZipFile(path) as archive:
        assert [member.extra for member in archive.infolist()] == [b""] * 6


@pytest.mark.parametrize(
    ("member", "case"),
    [
        ("top/ID_0a_ID_0b/image.nii.gz", "ID_0a_ID_0b"),
        ("ID_0a_ID_0b/image.nii.gz", "ID_0a_ID_0b"),
        ("a/b/ID_0a_ID_0b/label_annot_1.nii.gz", "ID_0a_ID_0b"),
        ("images/ID_0a_ID_0b.nii.gz", "ID_0a_ID_0b"),
        ("__MACOSX/top/ID_0a_ID_0b/._image.nii.gz", None),
        ("top/ID_0a/image.nii.gz", None),
        ("top/README.txt", None),
        ("top/", None),
    ],
)
def test_the_case_of_a_member(member: str, case: str | None) -> None:
    assert case_of(member) == case


def test_strays_stay_out(tmp_path: Path) -> None:
    wanted = {f"images/ID_0a_ID_{k:02x}.nii.gz": b"x" * (k + 1) for k in range(4)}
    stray = {"__MACOSX/images/._ID_0a_ID_00.nii.gz": b"mac", "notes.txt": b"no case"}
    path = cut(zip_of(stray | wanted), 2, tmp_path / "few.zip")
    assert members_of(path) == dict(list(wanted.items())[:2])


def corrupted(what: str) -> bytes:
    """A zip of three cases whose directory lies."""
    whole = bytearray(zip_of(case_members(3)))
    entries = [whole.index(b"PK\1\2")]
    for _ in range(3):
        entries.append(whole.index(b"PK\1\2", entries[-1] + 4))
    _, second, third, _ = entries  # the first is README.txt
    if what == "offset":
        whole[second + 42 : second + 46] = (len(whole) - 50).to_bytes(4, "little")
    elif what == "twice":
        for field in (slice(20, 24), slice(42, 46)):
            place = slice(third + field.start, third + field.stop)
            whole[place] = whole[second + field.start : second + field.stop]
    elif what == "signature":
        whole[second : second + 2] = b"??"
    elif what == "version":
        whole[second + 6] = 99
    return bytes(whole)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", r"scans\.zip.*not a readable zip"),
        (b"<html>", r"scans\.zip.*not a readable zip"),
        (bytes(100_000), r"scans\.zip.*not a readable zip"),
        (zip_of(case_members(3))[:-40], r"scans\.zip.*not a readable zip"),
        (corrupted("signature"), r"scans\.zip.*not a readable zip"),
        (corrupted("version"), r"scans\.zip.*not a readable zip"),
        (corrupted("offset"), r"image\.nii\.gz.*outside.*limit_cases"),
        (corrupted("twice"), r"scans\.zip.*share.*limit_cases"),
        (zip_of({"notes.txt": b"none"}), r"scans\.zip.*no case.*huggingface\.filename"),
        (zip_of({}), "no case"),
    ],
)
def test_no_zip_to_choose_from(content: bytes, line: str) -> None:
    with pytest.raises(InputError, match=line):
        first_cases(io.BytesIO(content), "scans.zip", 3)


def test_names_beyond_ascii_must_be_utf8(tmp_path: Path) -> None:
    name = "tö/ID_0a_ID_0b/image.nii.gz"
    assert members_of(cut(zip_of({name: b"x"}), 1, tmp_path / "few.zip")) == {name: b"x"}
    whole = zip_of({"topp/ID_0a_ID_0b/image.nii.gz": b"x"})
    with pytest.raises(InputError, match=r"ID_0a_ID_0b/image\.nii\.gz.*UTF-8"):
        first_cases(io.BytesIO(whole.replace(b"topp", "tö".encode() + b"p")), "scans.zip", 1)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_with_wrong_bytes(tmp_path: Path, method: int) -> None:
    name = "top/ID_0a_ID_0b/image.nii.gz"
    whole = bytearray(zip_of({name: b"scan" * 1000}, method))
    whole[whole.index(name.encode()) + len(name) + 2] ^= 255
    with pytest.raises(InputError, match=r"image\.nii\.gz.*checksum|few\.zip.*bad member"):
        cut(bytes(whole), 1, tmp_path / "few.zip")


def test_an_encrypted_member(tmp_path: Path) -> None:
    whole = bytearray(zip_of({"top/ID_0a_ID_0b/image.nii.gz": b"scan" * 10}))
    for flags in (6, whole.index(b"PK\1\2") + 8):
        whole[flags] |= 1
    with pytest.raises(InputError, match=r"few\.zip.*bad member .*encrypted"):
        cut(bytes(whole), 1, tmp_path / "few.zip")


def test_a_member_that_ends_like_a_zip(tmp_path: Path) -> None:
    inner = zip_of({"a.txt": b"a"})
    with pytest.raises(InputError, match=r"few\.zip.*last member"):
        cut(zip_of({"top/ID_0a_ID_0b/inner.zip": inner}), 1, tmp_path / "few.zip")
