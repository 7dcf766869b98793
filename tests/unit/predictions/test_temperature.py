"""A known temperature is recovered, and improves the calibration."""

import numpy as np
import pytest

from mbhseg.errors import InputError
from mbhseg.predictions import temperature
from mbhseg.predictions.temperature import LIMITS, Voxels, soften


def cases(true: float, n: int = 20_000, seed: int = 1) -> list[Voxels]:
    """Labels sampled from probabilities that a model then overstates by the temperature `true`."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(3):
        logits = rng.normal(0, 1.5, (n, 6))
        honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        draws = rng.random((2, n, 1))
        labels = (draws > honest.cumsum(axis=1)).sum(axis=-1).clip(0, 5).astype(np.uint8)
        made.append(Voxels(soften(honest, 1 / true), labels))
    return made


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_finds_the_temperature(true):
    made = cases(true)
    found = temperature.fit(made)
    assert found == pytest.approx(true, rel=0.03)
    before, after = (temperature.mean_calibration_error(made, t) for t in (1.0, found))
    assert after < 0.01
    assert after <= before
    assert temperature.loss(made, found) <= min(temperature.loss(made, t) for t in (0.9, 1, 1.2))


def test_softening():
    p = np.array([[0.7, 0.2, 0.1, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(soften(p, 1.0), p)
    hot = soften(p, 2.0)
    roots = np.sqrt(p)
    np.testing.assert_allclose(hot, roots / roots.sum(), rtol=1e-6)
    assert hot.argmax() == 0
    np.testing.assert_allclose(soften(soften(p, 2.0), 0.5), p, atol=1e-6)


def test_certain_and_wrong_is_bounded():
    """A model that is sure of the wrong class gets the highest temperature allowed."""
    p = np.eye(6, dtype=np.float32)[[0, 0]]
    wrong = Voxels(p, np.array([[1, 2]], np.uint8))
    assert temperature.fit([wrong]) == pytest.approx(LIMITS[1], rel=0.01)
    assert np.isfinite(temperature.loss([wrong], 1.0))


def test_calibration_error_by_hand():
    p = np.array([[0.9, 0.1, 0, 0, 0, 0]] * 4, np.float32)
    labels = np.array([[0, 0, 1, 1], [0, 0, 0, 1]], np.uint8)  # right in 5 of 8
    error = temperature.mean_calibration_error([Voxels(p, labels)], 1.0)
    assert error == pytest.approx(0.9 - 5 / 8)
    empty = Voxels(p[:0], labels[:, :0])
    assert np.isnan(temperature.mean_calibration_error([empty], 1.0))
    with pytest.raises(InputError, match=r"^temperature: .*validation"):
        temperature.fit([empty])
