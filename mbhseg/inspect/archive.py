"""The data set's archive: one zip, read in place.

Two layouts are known, told apart by the members' names:

    <top>/<case>/image.nii.gz and <top>/<case>/label_annot_<rater>.nii.gz    (MBH-Seg25)
    <top>/images/<case>.nii.gz and <top>/ground truths/<case>.nii.gz         (BHSD, one rater: 1)

with cases named ID_<hex>_ID_<hex> in both: patient, then study. The top folder may be missing, or
lie in one more folder. Labels are the same five classes in the same order.

An archive that cannot be trusted as a whole is refused when it is opened; faults of single cases
or files are listed in `Archive.findings`.
"""

import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, NoReturn, Self

import nibabel as nib

from mbhseg.errors import InputError, reason
from mbhseg.imaging.drawn_planes import DrawnPlanes
from mbhseg.imaging.nifti import PlaneReader, parse_nifti, read_labels
from mbhseg.inspect.findings import Finding, Severity

CASE_PATTERN = re.compile(r"ID_[0-9a-f]+_ID_[0-9a-f]+")
MAX_MEMBER_BYTES = 2**31  # of one compressed volume; real ones have 3 to 30 MB
MAX_RATIO = 100  # compressed volumes hardly shrink a second time
RATIO_FREE_BYTES = 2**26  # below this size any ratio is harmless
_LABEL_PATTERN = re.compile(r"label_annot_([0-9]+)\.nii\.gz")
_FLAT_PATTERN = re.compile(rf"({CASE_PATTERN.pattern})\.nii\.gz")
_IMAGE_NAME = "image.nii.gz"
# ASSUME: BHSD's labels are 1 EDH, 2 IPH, 3 IVH, 4 SAH, 5 SDH, as in the dataset.json of its authors
_FLAT_FOLDERS = {"images": 0, "ground truths": 1, "ground_truths": 1}
_MAX_FOLDERS = 2  # above the case
_NAMED = 5  # names listed per kind of finding
_DRIVE = re.compile(r"[A-Za-z]:")
_ZIP_ERRORS = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(struct.error, RuntimeError, ValueError, OverflowError, KeyError),
)


class CaseFiles(NamedTuple):
    """Where one case lies in the archive: member names of the image and of each rater's labels.

    An incomplete case has an empty `image` or no `labels`, and a finding that says so.
    """

    case: str
    patient: str
    image: str
    labels: dict[int, str]


def patient_of(case: str) -> str:
    """The patient's id: the first `ID_` token of the case name."""
    # ASSUME: the first token is the patient, the second the study (239 patients over 240 scans)
    return "_".join(case.split("_")[:2])


class Archive:
    """An open archive.

    `cases` maps each case id to its files, in the order of the ids; `findings` lists oddities of
    the archive and of its cases' files, but not of the files' content.

    Raises InputError if the file is no readable zip, if it has no case, duplicate or encrypted
    members, or if members could do harm: names that lead outside, links, files that inflate
    without limit.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._zip = zipfile.ZipFile(self.path)
        except _ZIP_ERRORS as error:
            raise InputError(
                path, f"not a readable zip ({reason(error)})", "Fetch the archive again"
            ) from error
        try:
            self._refuse_untrusted(self._zip.infolist())
            names = [info.filename for info in self._zip.infolist()]
            index = _Index(names, self.path)
        except BaseException:
            self._zip.close()
            raise
        self.cases, self.findings = index.cases, index.findings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def _refuse_untrusted(self, members: list[zipfile.ZipInfo]) -> None:
        seen: set[str] = set()
        inflated = packed = 0
        for info in members:
            name = _shown(info.filename)
            if problem := _unsafe_name(info.orig_filename) or _unsafe_kind(info) or _bomb(info):
                self._refuse(f"member {name} {problem}")
            if info.flag_bits & 1:
                self._refuse(f"member {name} is encrypted", "Decrypt the archive first")
            if info.filename in seen:
                self._refuse(f"holds {name} twice", "Pack it again with only the right one")
            seen.add(info.filename)
            inflated, packed = inflated + info.file_size, packed + info.compress_size
        size = self.path.stat().st_size
        if packed > size:
            self._refuse(f"its members overlap: {packed:,} bytes in a file of {size:,}")
        if inflated > max(RATIO_FREE_BYTES, MAX_RATIO * size):
            self._refuse(f"inflates from {size:,} to {inflated:,} bytes, as a zip bomb does")

    def _refuse(
        self, problem: str, remedy: str = "Do not unpack it; fetch it again from a source you trust"
    ) -> NoReturn:
        raise InputError(self.path, problem, remedy)

    def files_of(self, case: str) -> CaseFiles:
        """The case's files; InputError if the archive has no such case."""
        if case not in self.cases:
            raise InputError(self.path, f"has no case {case}", "Run inspect and later stages again")
        return self.cases[case]

    def scan(self, case: str) -> nib.Nifti1Image:
        """The case's scan, whole in memory; InputError as `files_of` and `nifti`."""
        return self.nifti(self.files_of(case).image)

    def read(self, member: str) -> bytes:
        """The member's bytes, checked against its CRC; InputError if it is damaged or missing."""
        try:
            data = self._zip.read(member)
            if len(data) != self._zip.getinfo(member).file_size:
                raise zipfile.BadZipFile("size differs from the directory's")
            return data
        except _ZIP_ERRORS as error:
            raise InputError(
                f"{self.path}:{member}",
                f"cannot be read ({reason(error)})",
                "Fetch the archive again",
            ) from error

    def nifti(self, member: str) -> nib.Nifti1Image:
        """The member as a NIfTI image, whole in memory; see `mbhseg.imaging.nifti.parse_nifti`."""
        return parse_nifti(self.read(member), self.where(member))

    def planes(self, member: str) -> PlaneReader:
        """The planes of the member, one after the other; see `mbhseg.imaging.nifti.PlaneReader`."""
        return PlaneReader(self.read(member), self.where(member))

    def labels(self, member: str) -> DrawnPlanes:
        """The member's labels; see `mbhseg.imaging.nifti.read_labels`."""
        return read_labels(self.read(member), self.where(member))

    def where(self, member: str) -> str:
        """How messages name the member."""
        return f"{self.path.name}:{member}"


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 120 else name[:117] + "...")


def _unsafe_name(name: str) -> str | None:
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "has a control character in its name"
    if "\\" in name:
        return "has a backslash in its name, where zip has slashes"
    if name.startswith("/") or _DRIVE.match(name):
        return "has an absolute name"
    if ".." in name.split("/"):
        return "leads out of the archive's folder"
    return None


def _unsafe_kind(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link"
    return None if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "is a device, a socket or a pipe"


def _bomb(info: zipfile.ZipInfo) -> str | None:
    if info.file_size > MAX_MEMBER_BYTES:
        return f"inflates to {info.file_size:,} bytes, more than {MAX_MEMBER_BYTES:,}"
    if info.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * info.compress_size):
        return f"inflates from {info.compress_size:,} to {info.file_size:,} bytes, as a bomb does"
    return None


class _Index:
    """Finds the cases among the names of an archive's members."""

    def __init__(self, names: Iterable[str], path: Path) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self._images: dict[str, str] = {}
        self._labels: dict[str, dict[int, str]] = defaultdict(dict)
        self._tops: dict[str, str] = {}  # case -> top folder
        self._stray: dict[tuple[str, str], list[str]] = defaultdict(list)  # case, kind -> names
        names = sorted(names)
        flat = not any(self._place(name, flat=False) for name in names)
        for name in names:
            self._add(name, flat)
        if not self._tops:
            raise InputError(
                path,
                f"holds no case: no <top>/ID_<hex>_ID_<hex>/{_IMAGE_NAME}, no <top>/images/",
                "Check that this is the right file; its layout is described in the docs",
            )
        self.cases = {case: self._case(case) for case in sorted(self._tops)}
        self._report_tops()
        self._report_stray()

    def _place(self, name: str, flat: bool) -> tuple[str, str] | None:
        """Top folder and case of a file or folder of the layout, None for any other."""
        parts = name.split("/")
        if parts[0] == "__MACOSX" or not 1 <= len(parts) <= _MAX_FOLDERS + 2:
            return None
        if not flat:
            named = len(parts) > 1 and CASE_PATTERN.fullmatch(parts[-2])
            return ("/".join(parts[:-2]), parts[-2]) if named else None
        match = _FLAT_PATTERN.fullmatch(parts[-1])
        if match and len(parts) > 1 and parts[-2] in _FLAT_FOLDERS:
            return "/".join(parts[:-2]), match[1]
        return None

    def _add(self, name: str, flat: bool) -> None:
        place = self._place(name, flat)
        if place is None:
            self._note_stray("", name)
            return
        top, case = place
        folder, file = name.split("/")[-2:]
        if self._tops.setdefault(case, top) != top:
            raise InputError(
                self.path, f"holds case {case} in two folders", "Remove one of the two"
            )
        match = _LABEL_PATTERN.fullmatch(file)
        if flat and _FLAT_FOLDERS[folder]:
            self._add_labels(case, 1, name)
        elif flat or file == _IMAGE_NAME:
            self._images[case] = name
        elif match:
            self._add_labels(case, int(match[1]), name)
        else:
            self._note_stray(case, name)

    def _add_labels(self, case: str, rater: int, name: str) -> None:
        if rater not in self._labels[case]:
            self._labels[case][rater] = name
            return
        other = self._labels[case][rater].rsplit("/", 1)[-1]
        what = f"a second mask of rater {rater}, beside {other}"
        self._note(case, name, "error", what, "Remove or rename one of the two")

    def _case(self, case: str) -> CaseFiles:
        image, labels = self._images.get(case, ""), dict(sorted(self._labels[case].items()))
        if not image:
            self._note(case, "", "error", "no image", f"Add its {_IMAGE_NAME}, or exclude the case")
        if not labels:
            self._note(
                case,
                "",
                "error",
                "no rater's mask",
                "Add a label_annot_<k>.nii.gz, or exclude the case",
            )
        return CaseFiles(case, patient_of(case), image, labels)

    def _note(self, case: str, file: str, severity: Severity, what: str, remedy: str) -> None:
        self.findings.append(Finding(case, file, severity, what, remedy))

    def _note_stray(self, case: str, name: str) -> None:
        if name.endswith("/"):
            return
        if name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith((".", "._")):
            kind = "hidden"
        else:
            kind = "volume" if name.lower().endswith((".nii", ".nii.gz")) else "other"
        self._stray[case, kind].append(name)

    def _report_tops(self) -> None:
        tops = sorted(set(self._tops.values()))
        for top in tops:
            if not top:
                self._note("", "", "info", "no top folder", "Nothing to do; the cases were found")
            elif "/" in top:
                what = f"the top folder lies in another one ({_shown(top)})"
                self._note("", "", "info", what, "Nothing to do; the cases were found")
        if len(tops) > 1:
            what = f"cases lie in {len(tops)} folders"
            self._note("", "", "warning", what, "Check that only one data set was packed")

    def _report_stray(self) -> None:
        texts: dict[str, tuple[Severity, str, str]] = {
            "hidden": ("info", "file of an operating system", "Nothing to do; it is not read"),
            "volume": (
                "warning",
                "volume outside the layout, not read",
                f"Name it {_IMAGE_NAME} or label_annot_<k>.nii.gz if it belongs to the data",
            ),
            "other": ("info", "file outside the layout, not read", "Nothing to do"),
        }
        for (case, kind), names in sorted(self._stray.items()):
            severity, what, remedy = texts[kind]
            for name in names[:_NAMED]:
                self._note(case, name, severity, what, remedy)
            if len(names) > _NAMED:
                self._note(case, "", severity, f"{len(names) - _NAMED} more: {what}", remedy)
