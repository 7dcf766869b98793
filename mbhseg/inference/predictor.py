"""From a CT volume in HU to labels on the same voxels, a few slices at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mbhseg.classes import CLASSES
from mbhseg.errors import InputError
from mbhseg.files import read_json
from mbhseg.imaging.display import from_display, network_input, to_display
from mbhseg.imaging.orientation import ORIENTATION
from mbhseg.imaging.windows import Window, shown_in
from mbhseg.inference.averaging import mirrored, tempered
from mbhseg.inference.tiling import FIELD_MM, Tiling, tiled
from mbhseg.nn.patches import Network, Patch, Probabilities, around

Volume = NDArray[Any]


class Predictor:
    """A trained network with its input settings.

    `network` maps images uint8 [B, size, size, 3], display orientation, to class probabilities
    [B, size, size, 6]. Memory is bounded by `batch` slices, whatever the volume. `field_mm` is
    the side of the training slices in mm, `orientation` that of their voxels. `window`, for
    pictures of its scans, is the one of `windows` that `shown_in` takes.
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
        self._windows, self.window = tuple(windows), shown_in(windows)
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
        """Load a model folder or a `.keras` file; run.json is read from beside it unless given.

        precision: `model` computes as the model was trained; auto, float32 and bfloat16 as
            `device.dtype_policy` has them, whatever it was trained in; int8 is quantized by the
            ranges in run.json on CPUs with int8 units, and computed in float32 elsewhere.
        mirror: average with the prediction of the mirror images.
        temperature: divides the logits.

        Raises InputError if a file is missing or broken, was trained on other classes, or has no
        activation ranges and precision is int8.
        """
        from mbhseg.nn.keras_backend import network_of  # TensorFlow takes seconds to import

        path = Path(model)
        path = path / "model.keras" if path.is_dir() else path
        record = Path(run_json) if run_json is not None else path.with_name("run.json")
        try:
            run = read_json(record)
            size, classes = int(run["input"]["size"]), run["classes"]
            windows = [Window(**window) for window in run["input"]["windows"]]
            if not windows:
                raise ValueError("no windows")
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
                "has no activation ranges, which int8 needs",
                "Choose another precision, or train again",
            )
        try:
            network = network_of(path, precision, ranges)
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
        """Each slice's index z with its class probabilities [x, y, 6] on the scan's own pixels.

        Slices are resized to the network's size, or cut into tiles of it.
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

    def labels(self, hu: Volume) -> NDArray[np.uint8]:
        """The most probable class of each voxel, uint8 [x, y, z], of HU values [x, y, z].

        The probabilities are resized to the scan's pixels before the choice, so that borders
        are as fine as the scan. A volume without slices gives one without slices.
        """
        result = np.zeros(hu.shape, np.uint8)
        for z, plane in self.planes(hu):
            result[:, :, z] = plane.argmax(axis=-1)
        return result


def _resize(probabilities: Probabilities, shape: tuple[int, ...]) -> Probabilities:
    """Interpolate [H, W, C] linearly to `shape` (rows, columns)."""
    if probabilities.shape[:2] == tuple(shape[:2]):
        return probabilities
    rows, columns = shape[:2]
    resized = cv2.resize(probabilities, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)
