"""Volumes that must lie in their scan's grid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mbhseg.errors import InputError
from mbhseg.imaging.nifti import nifti_bytes
from mbhseg.predictions.reading import read_fitting

AFFINE = np.diag([-0.5, 0.5, 5.0, 1.0])


def test_the_farthest_voxel_decides(tmp_path: Path) -> None:
    """A millimetre's thousandth on each of 300 pixels takes the last ones a third of a mm away."""
    labels = np.zeros((301, 4, 3), np.uint8)
    for stretch, accepted in ((1e-6, True), (9e-4, False)):
        affine = AFFINE.copy()
        affine[0, 0] += stretch
        path = tmp_path / "x.nii.gz"
        path.write_bytes(nifti_bytes(nib.Nifti1Image(labels, affine)))
        if accepted:
            np.testing.assert_array_equal(read_fitting(path, labels.shape, AFFINE), labels)
        else:
            with pytest.raises(InputError, match=r"x\.nii\.gz: affine .* 0\.27 mm"):
                read_fitting(path, labels.shape, AFFINE)
