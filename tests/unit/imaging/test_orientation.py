"""A scan comes to the network's orientation and a result comes back, voxel for voxel."""

import nibabel as nib
import numpy as np
import pytest

from mbhseg.imaging import geometry
from mbhseg.imaging.orientation import turn_of
from tests.heads import blocks, head
from tests.unit.imaging.test_geometry import ORIENTATIONS

HU = head(blocks((40, 36, 5)))
LAS = np.array([[-0.5, 0, 0, 10], [0, 0.5, 0, -9], [0, 0, 4, 30], [0, 0, 0, 1.0]])


def turned_to(code: str) -> nib.Nifti1Image:
    image = nib.Nifti1Image(HU, LAS)
    axes = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(LAS), nib.orientations.axcodes2ornt(code)
    )
    return image.as_reoriented(axes)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_every_orientation(code):
    image = turned_to(code)
    data = np.asarray(image.dataobj)
    assert geometry.orientation(image.affine) == code
    turn = turn_of(data.shape, image.affine)
    there = turn.there(data)
    np.testing.assert_array_equal(there[:, 2:-2], HU)  # 36 pixels padded to a square of 40
    assert (there[:, :2] == -1024).all()
    assert turn.field_mm == pytest.approx(20)
    back = turn.back(there)
    assert back.shape == data.shape
    np.testing.assert_array_equal(back, data)
    own = np.indices(data.shape)[code.find("S") if "S" in code else code.find("I")]
    numbers = turn.there(own)[0, 2]
    assert turn.planes() == numbers.tolist()  # where each plane lies in the scan's own file
    several = turn.back(np.stack([there, there + 1], axis=-1))
    np.testing.assert_array_equal(several[..., 1], data + 1)


def test_tilt_keeps_the_planes():
    c, s = np.cos(0.4), np.sin(0.4)
    affine = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]]) @ LAS
    turn = turn_of(HU.shape, affine)
    np.testing.assert_array_equal(turn.there(HU)[:, 2:-2], HU)


def test_square_in_millimetres():
    """Pixels of 0.5 x 1 mm: the plane is as wide as it is high only in mm."""
    affine = LAS @ np.diag((1, 2, 1, 1))
    turn = turn_of((40, 20, 5), affine)
    assert turn.pads == ((0, 0), (0, 0))
    turn = turn_of((40, 15, 5), affine)
    assert turn.pads == ((0, 0), (2, 3))
    assert turn_of((40, 20, 5), affine, measured=False).pads == ((0, 0), (10, 10))


def test_padding_fits_the_number_type():
    turn = turn_of((40, 36, 5), LAS)
    assert (turn.there(np.ones((40, 36, 5), np.uint8))[:, 0] == 0).all()
    assert (turn.there(np.ones((40, 36, 5), np.float32))[:, 0] == -1024).all()


def test_an_orientation_of_the_models_own():
    data = np.asarray(turned_to("RPS").dataobj)
    turn = turn_of(data.shape, turned_to("RPS").affine, "RPS")
    np.testing.assert_array_equal(turn.there(data)[:, 2:-2], data)
