"""MHA and NRRD volumes, by ITK."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from mbhseg.errors import InputError
from mbhseg.imaging.plane_stream import MAX_BYTES
from mbhseg.scans.scan import Scan, from_lps, image_of

_REMEDY = "Save the scan again"


def read(path: Path, name: str) -> Scan:
    """A MetaImage (`.mha`, `.mhd`) or NRRD (`.nrrd`, `.nhdr`) volume with one number per voxel.

    Raises InputError if ITK cannot read it, or if it is not a volume.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size, parts = reader.GetSize(), reader.GetNumberOfComponents()
        if len(size) != 3 or parts != 1:
            shown = " x ".join(map(str, size)) + (f" of {parts} numbers each" if parts > 1 else "")
            raise InputError(path, f"has {len(size)} axes ({shown})", "Give a 3-D volume")
        if int(np.prod(size, dtype=object)) > MAX_BYTES // 2:
            raise InputError(path, f"claims {' x '.join(map(str, size))} voxels", _REMEDY)
        image = reader.Execute()
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise InputError(path, f"not a readable volume ({reason})", _REMEDY) from error
    steps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    hu = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    if hu.dtype.kind not in "iuf":
        raise InputError(path, f"has voxels of type {hu.dtype}", "Save it as whole numbers")
    return Scan(name, str(path), "itk", image_of(hu, from_lps(steps, image.GetOrigin())))
