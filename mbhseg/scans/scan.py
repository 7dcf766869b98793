"""One scan, whatever file format it came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from mbhseg.errors import InputError
from mbhseg.imaging import geometry
from mbhseg.imaging.nifti import image_array
from mbhseg.inspect import checks

Kind = Literal["nifti", "itk", "npy", "png", "dicom", "zip"]
SMALLEST = 32  # pixels along a side; smaller slices show no anatomy
_ANY_MM = (0.02, 50.0)  # outside of this, the unit is wrong
_WHOLE = (np.int16, np.int32)  # types that NIfTI has and every viewer opens


@dataclass(frozen=True)
class Scan:
    """A CT volume in HU with the geometry needed to write labels on its voxels.

    name: names every output. where: how messages name the source. kind: the format read.
    image: HU [x, y, z] and the geometry that outputs copy: affine to mm (RAS+), qform, sform and
        their codes. If the source has no geometry, the affine is a placeholder and `measured` is
        False: no millimetres, no ml.
    dicom: the headers of a DICOM series, one per plane in the order of z, or the one of a
        multi-frame object; empty for other formats. frames: the frame of each plane in its file.
    """

    name: str
    where: str
    kind: Kind
    image: nib.Nifti1Image
    measured: bool = True
    dicom: tuple[Any, ...] = ()
    frames: tuple[int, ...] = ()

    @property
    def hu(self) -> NDArray[Any]:
        """HU values [x, y, z], in the stored type or float32."""
        return image_array(self.image)

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel indices to mm, 4 x 4, RAS+."""
        return np.asarray(self.image.affine, np.float64)


def check(scan: Scan, *, intensity: bool = True) -> Scan:
    """The scan itself, if a network for head CT can be applied to it.

    `intensity`: also refuse values that cannot be HU of a head, such as MR.
    Raises InputError for a volume that is not 3-D, is tiny, has no extent in space, or has voxels
    that are not finite or such values.
    """
    shape = tuple(scan.image.shape)
    shown = " x ".join(map(str, shape))
    if len(shape) != 3:
        raise InputError(scan.where, f"has {len(shape)} axes ({shown})", "Give a 3-D volume")
    if sorted(shape)[1] < SMALLEST or 0 in shape:
        raise InputError(scan.where, f"is tiny ({shown} voxels)", "Give the whole scan")
    if geometry.is_degenerate(scan.affine):
        raise InputError(scan.where, "the affine gives the scan no volume", "Convert it again")
    steps = geometry.spacing(scan.affine)
    if scan.measured and not all(_ANY_MM[0] <= step <= _ANY_MM[1] for step in steps):
        sizes = " x ".join(f"{step:.4g}" for step in steps)
        raise InputError(scan.where, f"voxels of {sizes} mm", "Check the unit, convert it again")
    hu = scan.hu
    if hu.dtype.kind == "f" and not (finite := np.isfinite(hu)).all():
        count = hu.size - int(finite.sum())
        raise InputError(
            scan.where, f"{count:,} voxels are not finite", "Set them to the padding, -1024"
        )
    if intensity:
        for remark in checks.check_intensity(hu, float(hu.min()), float(hu.max())):
            if remark.severity == "error":
                raise InputError(scan.where, remark.what, remark.remedy)
    return scan


def image_of(hu: NDArray[Any], affine: NDArray[Any]) -> nib.Nifti1Image:
    """An image in scanner coordinates of HU [x, y, z] and an affine in mm (RAS+).

    A sheared affine, as of a tilted gantry, is stored in the sform only: the qform cannot store it.
    """
    image = nib.Nifti1Image(compact(hu), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    if geometry.is_orthogonal(affine):
        image.set_qform(affine, code=1)
    else:
        image.set_qform(None, code=0)
    return image


def from_lps(
    columns: Sequence[Sequence[float]] | NDArray[Any], origin: Sequence[float] | NDArray[Any]
) -> NDArray[np.float64]:
    """The affine to RAS+ of voxel steps (columns x, y, z of a 3 x 3) and origin in LPS+ mm.

    In DICOM and ITK, coordinates grow to the patient's left and back, in NIfTI to right and front.
    """
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = np.asarray(columns, float), np.asarray(origin, float)
    return np.diag((-1.0, -1.0, 1.0, 1.0)) @ affine


def compact(values: NDArray[Any]) -> NDArray[Any]:
    """The values as int16, int32 or float32, the smallest of the first two that holds them.

    Floating-point values become float32; an array that already has the type is not copied.
    """
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for dtype in _WHOLE:
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return values.astype(dtype, copy=False)
    return values.astype(np.float32)
