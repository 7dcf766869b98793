"""The phantom's geometry: distances are what they say, random fields have unit variance."""

import numpy as np
import pytest

from mbhseg.phantom.fields import (
    OUTSIDE,
    Points,
    Waves,
    capsule,
    ellipsoid,
    occupancy,
    over,
    smooth_min,
)


@pytest.fixture
def points() -> Points:
    xyz = np.random.default_rng(0).uniform(-40, 40, (3, 4000)).astype(np.float32)
    return Points(*xyz)


def test_ellipsoid_and_capsule_give_the_distance_to_a_sphere(points):
    centre = (3.0, -5.0, 8.0)
    expected = np.sqrt(sum((q - c) ** 2 for q, c in zip(points[:3], centre, strict=True))) - 12
    np.testing.assert_allclose(ellipsoid(points, centre, (12, 12, 12)), expected, atol=1e-3)
    end = (3.0, -5.0, 8.001)
    np.testing.assert_allclose(capsule(points, centre, end, 12, 12), expected, atol=2e-3)


def test_ellipsoid_is_zero_on_its_surface():
    angle = np.linspace(0, 2 * np.pi, 50, dtype=np.float32)
    on = Points(10 * np.cos(angle), 30 * np.sin(angle), np.zeros_like(angle))
    np.testing.assert_allclose(ellipsoid(on, (0, 0, 0), (10, 30, 5)), 0, atol=1e-3)


def test_shapes_of_another_level_cost_nothing_and_cover_nothing(points):
    low = points._replace(z=points.z - 100).bounded()
    assert low.high < -59
    for distance in (
        ellipsoid(low, (0, 0, 30), (9, 9, 9)),
        capsule(low, (0, 0, 30), (5, 5, 40), 3, 3),
    ):
        assert distance.ndim == 0
        assert distance == np.float32(OUTSIDE)
    assert ellipsoid(low, (0, 0, -60), (9, 9, 9)).shape == low.x.shape
    empty = low.at(slice(0, 0)).bounded()
    assert empty.misses(-1000, 1000)


def test_capsule_tapers():
    z = np.zeros(2, np.float32)
    ends = Points(np.array([0, 20], np.float32), np.array([10, 10], np.float32), z)
    np.testing.assert_allclose(capsule(ends, (0, 0, 0), (20, 0, 0), 6, 2), [4, 8], atol=1e-4)


def test_smooth_min_is_the_union_away_from_the_seam():
    a, b = np.array([5, 0, -8], np.float32), np.array([20, 0, 9], np.float32)
    np.testing.assert_allclose(smooth_min(a, b, 4), [5, -1, -8])


def test_occupancy_and_over_mix_by_share():
    share = occupancy(np.array([-5, 0, 0.5, 5], np.float32), 2.0)
    np.testing.assert_allclose(share, [1, 0.5, 0.25, 0])
    values = np.array([0, 0, 0, 7], np.float32)
    over(values, share, 100.0)
    np.testing.assert_allclose(values, [100, 50, 25, 7])


def test_waves_have_unit_variance_and_their_wavelength():
    rng = np.random.default_rng(1)
    x, y, z = (axis.astype(np.float32) for axis in rng.uniform(-2000, 2000, (3, 20000)))
    values = Waves(rng, 20, 10)(Points(x, y, z))
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1, rel=0.05)
    line = np.arange(0, 2000, 0.5, dtype=np.float32)
    crossings = []
    for seed in range(20):
        wave = Waves(np.random.default_rng(seed), 20, 10)
        along = wave(Points(line, np.zeros_like(line), np.zeros_like(line)))
        crossings.append(np.count_nonzero(np.diff(np.sign(along))))
    # an isotropic field of one wavelength crosses zero 2 / (sqrt(3) wavelength) times a mm
    assert np.mean(crossings) / 2000 == pytest.approx(2 / (3**0.5 * 20), rel=0.15)
