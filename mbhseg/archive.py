"""The data set's archive: one zip, one folder a case, read in place.

Layout, as MBH_Train_2025_voxel-label.zip has it:
    <top>/<case>/image.nii.gz and <top>/<case>/label_annot_<rater>.nii.gz
with cases named ID_<hex>_ID_<hex>: patient, then study.
"""

import re
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import nibabel as nib

from mbhseg.errors import InputError
from mbhseg.volumes import parse_nifti

CASE_PATTERN = re.compile(r"ID_[0-9a-f]+_ID_[0-9a-f]+")
_LABEL_PATTERN = re.compile(r"label_annot_([0-9]+)\.nii\.gz")
_IMAGE_NAME = "image.nii.gz"


class CaseFiles(NamedTuple):
    """Where one case lies in the archive: member names of the image and of each rater's labels."""

    case: str
    patient: str
    image: str
    labels: dict[int, str]


def patient_of(case: str) -> str:
    """The patient's id: the first `ID_` token of the case name."""
    # ASSUME: the first token is the patient, the second the study (239 patients over 240 scans)
    return "_".join(case.split("_")[:2])


class Archive:
    """An open archive; `cases` maps each case id to its files, in the order of the ids."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(
                path, f"not a readable zip ({error})", "Fetch the archive again"
            ) from error
        self.cases = self._index()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def _index(self) -> dict[str, CaseFiles]:
        images: dict[str, str] = {}
        labels: dict[str, dict[int, str]] = {}
        for name in self._zip.namelist():
            parts = name.split("/")
            if len(parts) != 3 or not CASE_PATTERN.fullmatch(parts[1]):
                continue
            if parts[2] == _IMAGE_NAME:
                images[parts[1]] = name
            elif match := _LABEL_PATTERN.fullmatch(parts[2]):
                labels.setdefault(parts[1], {})[int(match[1])] = name
        return {
            case: CaseFiles(
                case, patient_of(case), images[case], dict(sorted(labels.get(case, {}).items()))
            )
            for case in sorted(images)
        }

    def read(self, member: str) -> bytes:
        """The member's bytes, checked against its CRC."""
        try:
            return self._zip.read(member)
        except (OSError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise InputError(
                f"{self.path}:{member}", f"cannot be read ({error})", "Fetch the archive again"
            ) from error

    def nifti(self, member: str) -> nib.Nifti1Image:
        """The member as a NIfTI image."""
        return parse_nifti(self.read(member), f"{self.path.name}:{member}")
