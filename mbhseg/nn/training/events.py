"""TensorBoard's event file: the history as scalars, without the time of day in it.

TensorFlow's own summary writer needs the package tensorboard and puts time and host into every
record, so that two equal trainings would write different files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

_FORMAT = "brain.Event:2"  # what TensorBoard expects in the first record


class WriteEvents(keras.callbacks.Callback):
    """A scalar for every number in an epoch's logs; the step is the epoch, counted from 1.

    The file grows by one record per epoch, which TensorBoard can follow. `close` ends it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._rows: list[dict[str, float]] = []
        self._writer: Any = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._rows.append({"step": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}})
        self._append(self._rows[-1])

    def state(self) -> dict[str, Any]:
        """The records so far."""
        return {"rows": self._rows}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state and write its records."""
        self._rows = list(state["rows"])
        for row in self._rows:
            self._append(row)

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()

    def _append(self, row: Mapping[str, float]) -> None:
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = tf.io.TFRecordWriter(str(self._path))
            self._write(tf.compat.v1.Event(file_version=_FORMAT))
        scalars = [
            tf.compat.v1.Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name != "step"
        ]
        summary = tf.compat.v1.Summary(value=scalars)
        self._write(tf.compat.v1.Event(step=int(row["step"]), summary=summary))

    def _write(self, event: Any) -> None:
        self._writer.write(event.SerializeToString())
        self._writer.flush()
