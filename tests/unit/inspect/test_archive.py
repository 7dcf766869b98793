"""The archive: what is found in it, what is refused, what is reported."""

import copy
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbhseg.errors import InputError
from mbhseg.imaging.nifti import image_array, nifti_bytes
from mbhseg.inspect.archive import CASE_PATTERN, Archive, CaseFiles, patient_of

A, B = "ID_0000000a_ID_00000000aa", "ID_0000000b_ID_00000000bb"
VOLUME = nifti_bytes(nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4)))
CASE_A = {f"top/{A}/image.nii.gz": VOLUME, f"top/{A}/label_annot_1.nii.gz": VOLUME}
CASE_B = {f"top/{B}/image.nii.gz": VOLUME, f"top/{B}/label_annot_3.nii.gz": VOLUME}


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def findings_of(path: Path) -> set[tuple[str, str, str, str]]:
    with Archive(path) as archive:
        return {(f.case, f.file, f.severity, f.what) for f in archive.findings}


def test_finds_cases_in_order_of_their_ids(tmp_path: Path) -> None:
    more = {f"top/{A}/label_annot_10.nii.gz": VOLUME, f"top/{A}/label_annot_2.nii.gz": VOLUME}
    with Archive(write_zip(tmp_path / "x.zip", CASE_B | CASE_A | more)) as archive:
        assert list(archive.cases) == [A, B]
        labels = {k: f"top/{A}/label_annot_{k}.nii.gz" for k in (1, 2, 10)}
        files = CaseFiles(A, "ID_0000000a", f"top/{A}/image.nii.gz", labels)
        assert archive.cases[A] == files
        assert list(archive.cases[A].labels) == [1, 2, 10]
        assert archive.findings == []
        assert archive.read(files.image) == VOLUME
        assert image_array(archive.nifti(files.image))[1, 2, 3] == 23


def test_patient_is_the_first_token() -> None:
    assert patient_of(A) == "ID_0000000a"
    assert CASE_PATTERN.fullmatch(A)


@pytest.mark.parametrize(
    ("prefix", "what"),
    [
        ("", "no top folder"),
        ("top/", None),
        ("top folder/", None),
        ("outer/top/", "the top folder lies in another one ('outer/top')"),
    ],
)
def test_finds_the_cases_wherever_the_top_folder_is(
    tmp_path: Path, prefix: str, what: str | None
) -> None:
    members = {name.replace("top/", prefix): data for name, data in CASE_A.items()}
    path = write_zip(tmp_path / "x.zip", members)
    with Archive(path) as archive:
        assert archive.cases[A].image == f"{prefix}{A}/image.nii.gz"
    assert findings_of(path) == ({("", "", "info", what)} if what else set())


def test_bhsd_layout_gives_the_same_cases(tmp_path: Path) -> None:
    members = {
        f"label_192/{folder}/{case}.nii.gz": VOLUME
        for folder in ("images", "ground truths")
        for case in (B, A)
    }
    with Archive(write_zip(tmp_path / "label_192.zip", members)) as archive:
        image, mask = f"label_192/images/{A}.nii.gz", f"label_192/ground truths/{A}.nii.gz"
        assert archive.cases[A] == CaseFiles(A, "ID_0000000a", image, {1: mask})
        assert list(archive.cases) == [A, B]
        assert archive.findings == []


@pytest.mark.parametrize("prefix", ["", "outer/label_192/"])
@pytest.mark.parametrize("folder", ["ground truths", "ground_truths"])
def test_bhsd_layout_elsewhere(tmp_path: Path, prefix: str, folder: str) -> None:
    members = {f"{prefix}images/{A}.nii.gz": VOLUME, f"{prefix}{folder}/{A}.nii.gz": VOLUME}
    with Archive(write_zip(tmp_path / "x.zip", members)) as archive:
        assert archive.cases[A].labels == {1: f"{prefix}{folder}/{A}.nii.gz"}


def test_bhsd_cases_that_are_not_whole(tmp_path: Path) -> None:
    members = {f"top/images/{A}.nii.gz": VOLUME, f"top/ground truths/{B}.nii.gz": VOLUME}
    found = findings_of(write_zip(tmp_path / "x.zip", members))
    assert found == {(A, "", "error", "no rater's mask"), (B, "", "error", "no image")}


LABEL_A = f"top/{A}/label_annot_1.nii.gz"
REPORTED: dict[str, tuple[dict[str, bytes], set[tuple[str, str, str, str]]]] = {
    "no image": ({LABEL_A: VOLUME} | CASE_B, {(A, "", "error", "no image")}),
    "no rater": (
        {f"top/{A}/image.nii.gz": VOLUME} | CASE_B,
        {(A, "", "error", "no rater's mask")},
    ),
    "empty case folder": (
        {f"top/{A}/": b""} | CASE_B,
        {(A, "", "error", "no image"), (A, "", "error", "no rater's mask")},
    ),
    "two masks of a rater": (
        CASE_A | {f"top/{A}/label_annot_01.nii.gz": VOLUME},
        {(A, LABEL_A, "error", "a second mask of rater 1, beside label_annot_01.nii.gz")},
    ),
    "__MACOSX": (
        CASE_A | {f"__MACOSX/top/{A}/._image.nii.gz": b"x"},
        {("", f"__MACOSX/top/{A}/._image.nii.gz", "info", "file of an operating system")},
    ),
    ".DS_Store": (
        CASE_A | {f"top/{A}/.DS_Store": b"x"},
        {(A, f"top/{A}/.DS_Store", "info", "file of an operating system")},
    ),
    "stray text": (
        CASE_A | {"top/readme.txt": b"x"},
        {("", "top/readme.txt", "info", "file outside the layout, not read")},
    ),
    "stray volume": (
        CASE_A | {f"top/{A}/label.nii.gz": VOLUME},
        {(A, f"top/{A}/label.nii.gz", "warning", "volume outside the layout, not read")},
    ),
    "rater without a number": (
        CASE_A | {f"top/{A}/label_annot_x.nii.gz": VOLUME},
        {(A, f"top/{A}/label_annot_x.nii.gz", "warning", "volume outside the layout, not read")},
    ),
    "odd case name": (
        CASE_A | {"top/ID_XYZ/image.nii.gz": VOLUME},
        {("", "top/ID_XYZ/image.nii.gz", "warning", "volume outside the layout, not read")},
    ),
    "both layouts": (
        CASE_A | {f"top/images/{B}.nii.gz": VOLUME},
        {("", f"top/images/{B}.nii.gz", "warning", "volume outside the layout, not read")},
    ),
    "two top folders": (
        CASE_A | {f"other/{B}/image.nii.gz": VOLUME, f"other/{B}/label_annot_1.nii.gz": VOLUME},
        {("", "", "warning", "cases lie in 2 folders")},
    ),
    "many stray files": (
        CASE_A | {f"top/{k}.txt": b"" for k in range(8)},
        {("", f"top/{k}.txt", "info", "file outside the layout, not read") for k in range(5)}
        | {("", "", "info", "3 more: file outside the layout, not read")},
    ),
}


@pytest.mark.parametrize(("members", "expected"), REPORTED.values(), ids=REPORTED.keys())
def test_reports(
    tmp_path: Path, members: dict[str, bytes], expected: set[tuple[str, str, str, str]]
) -> None:
    path = write_zip(tmp_path / "x.zip", members)
    assert findings_of(path) == expected
    backwards = dict(reversed(members.items()))
    assert findings_of(write_zip(tmp_path / "y.zip", backwards)) == expected


def named(name: str) -> Callable[[Path], None]:
    return lambda path: write_zip(path, CASE_A | {name: b"x"}) and None


def raw_named(name: str) -> Callable[[Path], None]:
    """A member whose name Python's own writer would not write."""
    placeholder = "q" * len(name.encode())

    def write(path: Path) -> None:
        write_zip(path, CASE_A | {placeholder: b"x"})
        path.write_bytes(path.read_bytes().replace(placeholder.encode(), name.encode()))

    return write


def of_mode(mode: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in CASE_A.items():
                archive.writestr(name, data)
            info = zipfile.ZipInfo("top/link")
            info.external_attr = (mode | 0o777) << 16
            archive.writestr(info, "/etc/passwd")

    return write


def in_directory(offset: int, layout: str, value: int) -> Callable[[Path], None]:
    """The first member with another value in its entry of the central directory."""

    def write(path: Path) -> None:
        data = bytearray(write_zip(path, CASE_A).read_bytes())
        struct.pack_into(layout, data, data.index(b"PK\1\2") + offset, value)
        path.write_bytes(data)

    return write


def duplicated(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in [*CASE_A, LABEL_A]:
            archive.writestr(name, VOLUME)


def overlapping(path: Path) -> None:
    """Many names for the same bytes."""
    noise = np.random.default_rng(0).bytes(5000)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"top/{A}/image.nii.gz", noise)
        for k in range(60):
            info = copy.copy(archive.filelist[0])
            info.filename = info.orig_filename = f"top/{A}/label_annot_{k}.nii.gz"
            archive.filelist.append(info)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"top/{A}/image.nii.gz", bytes(2**26 + 1))


def bomb_of_many(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(5):
            archive.writestr(f"top/{A}/label_annot_{k}.nii.gz", bytes(2**24))


def cut(share: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        data = write_zip(path, CASE_A).read_bytes()
        path.write_bytes(data[: int(share * len(data))])

    return write


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "not a readable zip (No such file or directory)"),
    "a folder": (lambda path: path.mkdir(), "not a readable zip (Is a directory)"),
    "empty": (lambda path: path.write_bytes(b""), "not a readable zip"),
    "a web page": (lambda path: path.write_text("<html>404</html>"), "not a readable zip"),
    "a gzip": (lambda path: path.write_bytes(VOLUME), "not a readable zip"),
    "cut near the end": (cut(0.98), "not a readable zip"),
    "cut in the middle": (cut(0.5), "not a readable zip"),
    "newer zip version": (in_directory(6, "<H", 99), "not a readable zip"),
    "no member": (lambda path: write_zip(path, {}), "holds no case"),
    "other members": (lambda path: write_zip(path, {"a/b.txt": b""}), "holds no case"),
    "cases too deep": (
        lambda path: write_zip(path, {f"a/b/c/{A}/image.nii.gz": VOLUME}),
        "holds no case",
    ),
    "zip-slip": (named("top/../../x"), "'top/../../x' leads out of the archive's folder"),
    "zip-slip, first": (named("../x"), "'../x' leads out"),
    "absolute name": (named("/etc/passwd"), "'/etc/passwd' has an absolute name"),
    "drive": (named("C:/x"), "'C:/x' has an absolute name"),
    "backslashes": (named("top\\x"), "has a backslash"),
    "zip-slip with backslashes": (named("..\\x"), "has a backslash"),
    "zero in a name": (raw_named("top/x\0.nii.gz"), "has a control character"),
    "tab in a name": (named("top/x\ty"), "has a control character"),
    "new line in a name": (named("top/x\ny"), "has a control character"),
    "link": (of_mode(stat.S_IFLNK), "'top/link' is a link"),
    "device": (of_mode(stat.S_IFCHR), "'top/link' is a device"),
    "pipe": (of_mode(stat.S_IFIFO), "'top/link' is a device"),
    "encrypted": (in_directory(8, "<H", 1), "is encrypted"),
    "duplicate": (duplicated, "twice"),
    "case in two folders": (
        lambda path: write_zip(path, CASE_A | {f"other/{A}/label_annot_2.nii.gz": VOLUME}),
        f"holds case {A} in two folders",
    ),
    "bomb": (bomb, "as a bomb does"),
    "bomb of many members": (bomb_of_many, "as a zip bomb does"),
    "overlapping members": (overlapping, "overlap"),
    "member of 4 GB": (in_directory(24, "<I", 2**32 - 2), "more than 2,147,483,648"),
}


@pytest.mark.parametrize(("write", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses_the_whole_archive(
    tmp_path: Path, write: Callable[[Path], object], problem: str
) -> None:
    path = tmp_path / "x.zip"
    write(path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        Archive(path)
    assert problem in caught.value.problem
    assert caught.value.where == str(path)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def flipped(path: Path) -> None:
    data = bytearray(write_zip(path, CASE_A).read_bytes())
    data[data.index(VOLUME) + 40] ^= 1
    path.write_bytes(data)


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "wrong CRC": (flipped, "Bad CRC-32"),
    "unknown method": (in_directory(10, "<H", 77), "compression method"),
    "size too large": (in_directory(24, "<I", len(VOLUME) + 9), "size differs"),
    "place outside the file": (in_directory(42, "<I", 2**30), ""),
    "place at another member": (in_directory(42, "<I", 7), ""),
}


@pytest.mark.parametrize(("write", "problem"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_members_that_cannot_be_read(
    tmp_path: Path, write: Callable[[Path], object], problem: str
) -> None:
    write(tmp_path / "x.zip")
    with (
        Archive(tmp_path / "x.zip") as archive,
        pytest.raises(InputError, match=r"image\.nii\.gz: cannot be read") as caught,
    ):
        archive.read(archive.cases[A].image)
    assert problem in caught.value.problem


def test_unknown_member(tmp_path: Path) -> None:
    with (
        Archive(write_zip(tmp_path / "x.zip", CASE_A)) as archive,
        pytest.raises(InputError, match="cannot be read"),
    ):
        archive.read("")


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=6), st.data())
def test_any_damage_is_read_refused_or_reported(
    tmp_path: Path, changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    path = tmp_path / "x.zip"
    raw = bytearray(write_zip(path, CASE_A | CASE_B).read_bytes())
    directory = raw.index(b"PK\1\2")
    for at, byte in changes:
        low = directory if data.draw(st.booleans()) else 0
        raw[low + at % (len(raw) - low)] ^= byte
    path.write_bytes(raw[: data.draw(st.integers(len(raw) - 30, len(raw)))])
    try:
        archive = Archive(path)
    except InputError:
        return
    with archive:
        for files in archive.cases.values():
            for member in (files.image, *files.labels.values()):
                try:
                    assert archive.read(member) == VOLUME
                except InputError:
                    continue


def test_real_archive(real_ct: Path) -> None:
    with Archive(real_ct / "MBH_Train_2025_voxel-label.zip") as archive:
        raters = {tuple(files.labels) for files in archive.cases.values()}
        assert len(archive.cases) == 8
        assert len({files.patient for files in archive.cases.values()}) == 7
        assert {(3,), (1, 5)} <= raters
        assert archive.findings == []
