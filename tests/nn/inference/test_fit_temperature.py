"""The temperature is fitted on the raters' voxels of the cases, wherever they lie."""

import numpy as np
import pytest

from mbhseg.errors import InputError
from mbhseg.imaging.windows import Window
from mbhseg.inference.fit_temperature import calibrate, case_voxels
from mbhseg.inference.predictor import Predictor
from mbhseg.inspect.archive import Archive
from mbhseg.predictions.temperature import soften
from tests.unit.conftest import tiny_set  # noqa: F401 - a fixture

TRUE = 3.0


def overconfident(images: np.ndarray) -> np.ndarray:
    """Says of bright pixels IPH, and is far surer than right."""
    bright = (images[..., :1] > 45).astype(np.float32)
    honest = np.concatenate([0.55 - 0.35 * bright, *[0.05 + 0 * bright] * 5], axis=-1)
    honest[..., 2] += 0.2 + 0.35 * bright[..., 0]
    return soften(honest / honest.sum(axis=-1, keepdims=True), 1 / TRUE)


def predictor() -> Predictor:
    return Predictor(overconfident, size=48, windows=[Window("brain", 40, 80)], batch=3)


def test_calibrates_on_raters(tiny_set):  # noqa: F811
    found = calibrate(tiny_set.path, list(tiny_set.cases), predictor())
    assert found["cases"] == 4
    assert found["temperature"] > 1
    assert found["loss"]["after"] < found["loss"]["before"]
    assert found["calibration_error"]["after"] < found["calibration_error"]["before"]
    again = calibrate(tiny_set.path, list(tiny_set.cases)[::-1], predictor())
    assert again == found


def test_the_voxels_are_those_near_a_drawing(tiny_set):  # noqa: F811
    case = "ID_0000000a_ID_000000000a"
    with Archive(tiny_set.path) as archive:
        voxels = case_voxels(archive, case, predictor())
    raters = list(tiny_set.cases[case].labels.values())
    drawn = sum(int((labels > 0).sum()) for labels in raters)
    assert int((voxels.labels > 0).sum()) == drawn  # every drawn voxel is in
    assert voxels.labels.shape[0] == len(raters)
    assert voxels.probabilities.shape == (voxels.labels.shape[1], 6)


def test_no_bleed_no_temperature(tiny_set):  # noqa: F811
    with pytest.raises(InputError, match="no validation case has a hemorrhage"):
        calibrate(tiny_set.path, ["ID_0000000c_ID_000000000a"], predictor())
