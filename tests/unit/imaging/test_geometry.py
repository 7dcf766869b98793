"""Geometry read from affines: all 48 orientations, tilts, shears."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbhseg.imaging import geometry

SIDES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
ORIENTATIONS = [
    a + b + c
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for a, b, c in itertools.product(*axes)
]
angles = st.floats(-30, 30)


def affine_of(code: str, sizes: tuple[float, float, float] = (0.5, 0.4, 5.0)) -> np.ndarray:
    """The affine whose voxel axes run to the sides in `code`."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (letter, size) in enumerate(zip(code, sizes, strict=True)):
        row, sign = SIDES[letter]
        affine[row, column] = sign * size
    affine[:3, 3] = -100, 80, 12
    return affine


def turn_x(degrees: float) -> np.ndarray:
    """Rotation about the patient's left-right axis, as a tilted gantry has it."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[c, -s], [s, c]]
    return turn


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_orientation_spacing_and_no_tilt(code: str) -> None:
    affine = affine_of(code)
    assert geometry.orientation(affine) == code
    assert geometry.spacing(affine) == pytest.approx((0.5, 0.4, 5.0))
    assert geometry.tilt_deg(affine) == pytest.approx(0, abs=1e-9)
    assert geometry.shear_deg(affine) == pytest.approx(0, abs=1e-9)
    assert not geometry.is_degenerate(affine)


@pytest.mark.parametrize("code", ORIENTATIONS)
def test_tilted_scan_keeps_its_orientation(code: str) -> None:
    affine = turn_x(15) @ affine_of(code)
    assert geometry.orientation(affine) == code
    assert geometry.spacing(affine) == pytest.approx((0.5, 0.4, 5.0))
    turned = code[2] in "AP" or code[2] in "SI"  # sagittal slices turn within themselves
    assert geometry.tilt_deg(affine) == pytest.approx(15 if turned else 0, abs=1e-6)
    assert geometry.shear_deg(affine) == pytest.approx(0, abs=1e-6)


@given(angles)
def test_tilt_is_the_angle_of_rotation(degrees: float) -> None:
    affine = turn_x(degrees) @ affine_of("LAS")
    assert geometry.tilt_deg(affine) == pytest.approx(abs(degrees), abs=1e-6)


@given(st.floats(-3, 3))
def test_shear_is_the_angle_of_the_step(shift_mm: float) -> None:
    affine = affine_of("LAS")
    affine[1, 2] = shift_mm
    expected = np.degrees(np.arctan(abs(shift_mm) / 5))
    assert geometry.shear_deg(affine) == pytest.approx(expected, abs=1e-6)
    assert geometry.tilt_deg(affine) == pytest.approx(0, abs=1e-9)
    assert geometry.spacing(affine)[2] == pytest.approx(np.hypot(5, shift_mm))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda a: a[:, :] * 0, id="all zero"),
        pytest.param(lambda a: np.full((4, 4), np.nan), id="NaN"),
        pytest.param(lambda a: a * np.inf, id="infinite"),
        pytest.param(lambda a: a[:, [0, 0, 2, 3]], id="two axes in one"),
        pytest.param(lambda a: a @ np.diag([1, 1, 0, 1]), id="no step"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_degenerate(change) -> None:
    affine = change(affine_of("LAS"))
    assert geometry.is_degenerate(affine)
    assert len(geometry.orientation(affine)) == 3


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_displacement_is_the_farthest_voxel(x: int, y: int, z: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = affine_of("LAS"), affine_of("LAS")
    b[:3] += rng.normal(0, 1e-3, (3, 4))
    voxels = np.array([*rng.integers(0, (x, y, z), (50, 3)), (0, 0, 0), (x - 1, y - 1, z - 1)])
    apart = np.linalg.norm(((voxels @ (a - b)[:3, :3].T) + (a - b)[:3, 3]), axis=1).max()
    assert geometry.displacement_mm(a, b, (x, y, z)) >= apart - 1e-12


def test_displacement_of_a_shift_is_the_shift() -> None:
    a, b = affine_of("LAS"), affine_of("LAS")
    b[:3, 3] += 3, 4, 0
    assert geometry.displacement_mm(a, b, (512, 512, 30)) == pytest.approx(5)
    assert geometry.displacement_mm(a, a, (512, 512, 30)) == 0


def test_the_same_grid_up_to_a_thousandth_of_a_millimetre() -> None:
    a, b = affine_of("LAS"), affine_of("LAS")
    for shift, off in ((0, 0), (9e-4, 0), (1.1e-3, 1.1e-3), (np.nan, np.nan)):
        b[2, 3] = a[2, 3] + shift
        assert geometry.off_grid_mm(b, a, (9, 9, 9)) == pytest.approx(off, rel=1e-6, nan_ok=True)
    assert geometry.off_grid_mm(b, a, (9, 9, 9)), "no number is no agreement"


def test_sides_shown_beside_a_picture():
    assert geometry.sides_shown("LAS") == ["R", "L"]
    assert geometry.sides_shown("RPI") == ["L", "R"]
    assert geometry.sides_shown("PIL") == geometry.sides_shown("") == ["", ""]
