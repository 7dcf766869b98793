"""The public Python API: `mbhseg.load_model`, `mbhseg.predict`, `mbhseg.score`.

Arrays in, arrays out; what the command line and the workflow do to files, these do to volumes in
memory, by the same functions. docs/api.md shows them at work.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mbhseg.classes import Labels
from mbhseg.config.defaults import defaults, schemas_folder
from mbhseg.config.schema import check_section
from mbhseg.errors import InputError, reason
from mbhseg.imaging import geometry
from mbhseg.imaging.nifti import label_array
from mbhseg.inference.averaging import PlanePredictor
from mbhseg.metrics.pairs import CaseLabels, Pair, PairScores
from mbhseg.metrics.summary import COLUMNS, PAIR_COLUMNS, typed_table
from mbhseg.predictions.writing import FULL
from mbhseg.runtime.extras import not_installed
from mbhseg.scans.pipeline import Settings, load_predictor, measure_scan, predict_scan
from mbhseg.scans.scan import Scan, check, image_of

OPTIONS = (  # keys of the config's section `inference` that matter to arrays
    *("batch_size", "threads", "precision", "mirror", "temperature", "postprocess", "fit"),
    "any_intensity",
)
_NOTHING = dict.fromkeys(
    ("overlays", "mosaics", "animations", "entropy", "dicom_seg", "report"), False
)


class Prediction(NamedTuple):
    """What a model says about one scan.

    labels: uint8 [x, y, z] on the scan's own voxels: 0 background, 1 EDH, 2 IPH, 3 IVH, 4 SAH,
        5 SDH.
    ml: volume in ml per class, `EDH` to `SDH` and `any`; 0 where there is none.
    probabilities: float32 [x, y, z, 5] of EDH..SDH in steps of 1/255, or None if not asked for.
    """

    labels: Labels
    ml: dict[str, float]
    probabilities: NDArray[np.float32] | None


class Model:
    """A trained model, or an ensemble of several, as `load_model` gives it."""

    def __init__(self, predictor: PlanePredictor, settings: Settings) -> None:
        self._predictor, self._settings = predictor, settings

    def predict(self, hu: NDArray[Any], affine: NDArray[Any]) -> Prediction:
        """As `mbhseg.predict`, with this model."""
        hu = _array("hu", hu)
        if hu.dtype.kind not in "iuf":
            raise InputError("hu", f"values of type {hu.dtype} are no HU", "Give numbers")
        affine = _affine(affine)
        scan = Scan("hu", "hu", "nifti", image_of(hu, affine))
        check(scan, intensity=self._settings.intensity)
        turn, result = predict_scan(scan, self._predictor, self._settings)
        result, rows = measure_scan(scan, result, self._settings)
        likely = None
        if result.probabilities is not None:
            likely = np.asarray(turn.back(result.probabilities) / np.float32(FULL), np.float32)
        labels = np.asarray(turn.back(result.labels), np.uint8)
        ml = {str(row["class"]): cast(float, row["ml"]) for row in rows}
        return Prediction(labels, ml, likely)


def load_model(
    model: str | Path | Sequence[str | Path], *, probabilities: bool = False, **options: Any
) -> Model:
    """Load a trained model, to predict any number of scans with it.

    Args:
        model: a folder with model.keras and run.json, or `owner/name@revision` of the Hugging Face
            hub. Several: their mean.
        probabilities: whether predictions hold them, too.
        options: keys of the config's section `inference`, of which `OPTIONS` are known, such as
            precision="int8" or postprocess=True. Defaults are the config's.

    TensorFlow's threads and determinism are set for the process.

    Raises InputError if there is no such model, if it is broken, if the models of an ensemble do
    not fit each other, if an option has a value that the config may not have, or if TensorFlow is
    not installed; TypeError for an unknown option.
    """
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"no option {name!r}. There are {', '.join(OPTIONS)}")
    models = _models(model)
    inference = defaults()["inference"] | options | _NOTHING | {"probabilities": probabilities}
    inference = {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in inference.items()
    }
    check_section("inference", inference, schemas_folder())
    try:
        predictor, settings = load_predictor(models, inference, inference["threads"])
    except ModuleNotFoundError as error:
        raise not_installed(error.name or "tensorflow") from error
    return Model(predictor, settings)


def predict(
    hu: NDArray[Any],
    affine: NDArray[Any],
    *,
    model: Model | str | Path | Sequence[str | Path],
    **options: Any,
) -> Prediction:
    """Predict the hemorrhages of one scan: the labels that `mbhseg infer` writes for its file.

    Args:
        hu: Hounsfield units, real numbers [x, y, z]; at least 32 voxels along two axes.
        affine: 4 x 4, voxel indices to mm, RAS+, as NIfTI has it. Any orientation: the head is
            turned to that of the training, and the labels are turned back.
        model: what `load_model` gave, or what it takes; the latter is loaded anew by every call.
        options: those of `load_model`, for a model that is loaded here.

    Raises InputError for a volume that is not 3-D, is tiny or empty, has voxels that are not
    finite, values that cannot be HU of a head (unless any_intensity=True) or an affine that is
    none, and as `load_model` does; TypeError for options given along with a loaded model.
    """
    if not isinstance(model, Model):
        model = load_model(model, **options)
    elif options:
        raise TypeError("options belong to load_model where the model is loaded already")
    return model.predict(hu, affine)


def score(reference: NDArray[Any], prediction: NDArray[Any], affine: NDArray[Any]) -> pd.DataFrame:
    """Score predicted labels against a reference: overlap, volumes, surfaces and lesions per class.

    Args:
        reference, prediction: labels 0..5 [x, y, z] of one shape, of any number type.
        affine: 4 x 4, voxel indices to mm, RAS+.

    Returns a table with the classes `EDH` to `SDH` and `any` as index. Columns are those of
    cases.csv (docs/scores.md): voxels and ml of both, dice, nsd_1mm to nsd_3mm, hd95_mm in mm,
    lesions. `status` is both, missed (reference only), spurious (prediction only) or absent.
    Where both are empty, scores are NaN; where one is, Dice and NSD are 0, and HD95 is the
    diagonal of the volume. A volume without voxels is one where all are absent.

    Raises InputError for labels that are no whole numbers from 0 to 5, volumes that are not 3-D
    or differ in shape, and an affine that is none.
    """
    affine = _affine(affine)
    volumes = {}
    for name, values in (("reference", reference), ("prediction", prediction)):
        values = _array(name, values)
        if values.ndim != 3 or values.dtype.kind not in "biuf":
            shown = f"{values.dtype} of shape {values.shape}"
            raise InputError(name, f"{shown} is no volume of labels", "Give labels [x, y, z]")
        volumes[name] = label_array(image_of(values, affine), name)
    shapes = [volume.shape for volume in volumes.values()]
    if shapes[0] != shapes[1]:
        raise InputError(
            "prediction",
            f"its shape {shapes[1]} is not the reference's, {shapes[0]}",
            "Resample it to the voxels of the reference (labels by nearest neighbour)",
        )
    rows = PairScores(CaseLabels("", "", volumes, affine)).rows([Pair("prediction", "reference")])
    table = typed_table(rows, COLUMNS).drop(columns=[*PAIR_COLUMNS, "max_probability"])
    return table.set_index("class").rename(
        columns=lambda name: name.replace("candidate", "prediction")
    )


def _models(model: Any) -> list[str | Path]:
    """The names of the models: at least one, none of them empty."""
    models = [model] if isinstance(model, str | Path) or not np.iterable(model) else list(model)
    if not models or not all(isinstance(each, str | Path) and str(each) for each in models):
        raise InputError("model", "names no model", "Give a folder, or a name of the hub")
    return models


def _affine(affine: NDArray[Any]) -> NDArray[np.float64]:
    matrix, remedy = _array("affine", affine), "Give that of the NIfTI file"
    real = matrix.dtype.kind in "iuf"
    if not real or matrix.shape != (4, 4) or geometry.is_degenerate(matrix):
        raise InputError("affine", "is no 4 x 4 matrix that maps voxels to mm", remedy)
    if not np.allclose(matrix[3], (0, 0, 0, 1), rtol=0, atol=1e-6):
        raise InputError("affine", f"its last row is {matrix[3]}, not 0 0 0 1", remedy)
    return matrix.astype(np.float64)


def _array(name: str, values: Any) -> NDArray[Any]:
    if np.ma.isMaskedArray(values):
        raise InputError(name, "is a masked array", "Fill it first, by its method filled")
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(name, f"is no array ({reason(error)})", "Give an array") from error
