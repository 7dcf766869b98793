"""The phantom as an archive, laid out as MBH_Train_2025_voxel-label.zip is."""

import functools
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mbhseg.files import atomic_file
from mbhseg.imaging.nifti import nifti_bytes
from mbhseg.phantom.compose import PhantomCase, make_case
from mbhseg.phantom.spec import PhantomSpec, check
from mbhseg.runtime.parallel import in_order

TOP_FOLDER = "MBH_Train_2025_voxel-label"
_STAMP = (2025, 6, 15, 0, 0, 0)  # one date for all, so that equal specs make equal bytes
_MODE = 0o600 << 16

Members = list[tuple[str, bytes]]
Progress = Callable[[Iterable[Members], int], Iterable[Members]]


def write_archive(
    path: str | Path, spec: PhantomSpec, progress: Progress | None = None, processes: int = 1
) -> None:
    """Generate the data set into one zip, which appears whole or not at all.

    Memory holds a few scans at a time. Equal specs give equal bytes (on one machine and with one
    set of library versions), whatever the number of `processes`. `progress` may wrap the loop over
    the scans: it is called with them and their number. Raises InputError if the spec is out of
    bounds.
    """
    check(spec)
    cases: Iterable[Members] = in_order(
        functools.partial(_members_of, spec), range(spec.cases), processes
    )
    if progress is not None:
        cases = progress(cases, spec.cases)
    with atomic_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for members in cases:
            for name, data in members:
                entry = zipfile.ZipInfo(f"{TOP_FOLDER}/{name}", date_time=_STAMP)
                entry.create_system = 3
                entry.external_attr = _MODE
                archive.writestr(entry, data)  # stored: the members are gzip already


def _members_of(spec: PhantomSpec, index: int) -> Members:
    return case_members(make_case(spec, index))


def case_members(case: PhantomCase) -> Members:
    """Names below the top folder and bytes of one case's files: the image, then its raters'."""
    members = [(f"{case.case}/image.nii.gz", nifti_bytes(_image(case.hu, case.affine)))]
    for rater, labels in sorted(case.labels.items()):
        data = nifti_bytes(_image(labels.astype(case.mask_dtype), case.affine))
        members.append((f"{case.case}/label_annot_{rater}.nii.gz", data))
    return members


def _image(voxels: NDArray[Any], affine: NDArray[np.float64]) -> nib.Nifti1Image:
    """An image whose geometry is in the qform alone (code 1, sform code 0), in mm."""
    image = nib.Nifti1Image(voxels, None)
    image.header.set_qform(affine, code=1)
    image.header.set_sform(None, code=0)
    image.header.set_xyzt_units("mm")
    return nib.Nifti1Image(voxels, None, image.header)
