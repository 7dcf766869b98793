"""From a CT volume in HU to labels on the same voxels, a few slices at a time."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.files import read_json
from mbhseg.imaging.orientation import ORIENTATION
from mbhseg.imaging.windows import Window
from mbhseg.inference.averaging import mirrored, tempered
from mbhseg.inference.tiling import FIELD_MM, Tiling, tiled
from mbhseg.nn import device
from mbhseg.nn.network.models import computes_in, in_policy
from mbhseg.nn.network.saving import load_model
from mbhseg.nn.openvino import Ranges, UnknownLayer, compiled, translated
from mbhseg.nn.patches import Network, Patch, Probabilities, around
from mbhseg.prepare.slices import from_display, network_input, to_display

Volume = NDArray[Any]

log = logging.getLogger(__name__)


class Predictor:
    """A trained network with the input that it was trained on.

    `network` maps images uint8 [B, size, size, 3], display orientation, to class probabilities
    [B, size, size, 6]. Memory is bounded by `batch` slices, whatever the volume. `field_mm` is
    the side of the planes that it was trained on, `orientation` how their voxels lay.
    """

    def __init__(
        self,
        network: Network,
        *,
        size: int,
        windows: Sequence[Window],
        batch: int = 8,
        field_mm: float = FIELD_MM,
        orientation: str = ORIENTATION,
    ) -> None:
        self._network, self._batch = network, batch
        self._windows = tuple(windows)
        self.size, self.field_mm, self.orientation = size, field_mm, orientation

    @classmethod
    def load(
        cls,
        model: str | Path,
        run_json: str | Path | None = None,
        *,
        batch: int = 8,
        precision: str = "model",
        mirror: bool = False,
        temperature: float = 1.0,
    ) -> "Predictor":
        """Load a model folder, or a `.keras` file; run.json lies beside it unless given.

        precision: `model` computes as the model was trained; auto, float32 and bfloat16 as
            `device.dtype_policy` has them, whatever it was trained in; int8 quantized, by the
            ranges in run.json, on CPUs that multiply such numbers, and in float32 elsewhere.
        mirror: average with the answer to the mirror images.
        temperature: what divides the logits.

        Raises InputError if a file is missing or broken, was trained on other classes, or has no
        ranges and is to be quantized.
        """
        path = Path(model)
        path = path / "model.keras" if path.is_dir() else path
        record = Path(run_json) if run_json is not None else path.with_name("run.json")
        try:
            run = read_json(record)
            size, classes = int(run["input"]["size"]), run["classes"]
            windows = [Window(**window) for window in run["input"]["windows"]]
            patch = run["input"].get("patch")
            seen = Patch(**patch) if patch is not None else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                record, f"does not describe a run ({error!r})", "Keep it beside its model"
            ) from error
        expected = [c.key for c in CLASSES]
        if classes != expected:
            raise InputError(record, f"has classes {classes}, not {expected}", "Train again")
        ranges = run.get("ranges")
        if precision == "int8" and not ranges:
            raise InputError(
                record,
                "tells no ranges of the layers, which int8 needs",
                "Choose another precision, or train again",
            )
        try:
            network = _network(path, precision, ranges)
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(
                record, f"has ranges of another network ({error!r})", "Keep it beside its model"
            ) from error
        answer = tempered(network, temperature)
        answer = mirrored(answer) if mirror else answer
        answer = around(answer, seen) if seen is not None else answer
        return cls(
            answer,
            size=size,
            windows=windows,
            batch=batch,
            field_mm=float(run["input"].get("field_mm", FIELD_MM)),
            orientation=str(run["input"].get("orientation", ORIENTATION)),
        )

    def planes(
        self, hu: Volume, tiling: Tiling | None = None
    ) -> Iterator[tuple[int, Probabilities]]:
        """Each plane's index z with its class probabilities [x, y, 6] on the scan's own pixels.

        Planes are resized to the network's size, or cut into tiles of it.
        """
        network = tiled(self._network, tiling) if tiling else self._network
        side = tiling.shape if tiling else self.size
        for start in range(0, hu.shape[2], self._batch):
            part = hu[:, :, start : start + self._batch]
            images = network_input(part, self._windows, side)
            shape = to_display(part[:, :, 0]).shape
            for offset, probabilities in enumerate(network(images)):
                native = _resize(np.asarray(probabilities, np.float32), shape)
                yield start + offset, from_display(native)

    def probabilities(self, hu: Volume) -> Probabilities:
        """Class probabilities float32 [x, y, z, 6] of HU values [x, y, z].

        Holds the whole result, 24 bytes a voxel; `labels` does not.
        """
        result = np.zeros((*hu.shape, len(CLASSES)), np.float32)
        for z, plane in self.planes(hu):
            result[:, :, z] = plane
        return result

    def labels(self, hu: Volume) -> NDArray[np.uint8]:
        """The likeliest class of each voxel, uint8 [x, y, z] of HU values [x, y, z].

        The probabilities are brought to the scan's pixels before the choice, so that borders
        are as fine as the scan. A volume without planes gives one without planes.
        """
        result = np.zeros(hu.shape, np.uint8)
        for z, plane in self.planes(hu):
            result[:, :, z] = plane.argmax(axis=-1)
        return result


def _network(path: Path, precision: str, ranges: Ranges | None) -> Network:
    """The model of a file as a function of images: by OpenVINO, or by Keras on a GPU."""
    model = load_model(path)
    policy = computes_in(model) if precision == "model" else device.inference_policy(precision)
    if not device.gpus():
        try:
            translation = translated(model, ranges if policy == "int8" else None)
            return compiled(translation, bfloat16=policy == "bfloat16", threads=device.threads())
        except (UnknownLayer, RuntimeError) as error:
            log.warning("Keras predicts with %s, as OpenVINO cannot: %s", path, error)
    if policy not in ("int8", computes_in(model)):
        model = in_policy(model, policy)
    answer: Network = model.predict_on_batch
    return answer


def _resize(probabilities: Probabilities, shape: tuple[int, ...]) -> Probabilities:
    """Interpolate [H, W, C] linearly to `shape` (rows, columns)."""
    if probabilities.shape[:2] == tuple(shape[:2]):
        return probabilities
    rows, columns = shape[:2]
    resized = cv2.resize(probabilities, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)
