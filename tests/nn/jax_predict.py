"""Runs under the JAX backend of Keras, without TensorFlow: the same files, the same functions.

    KERAS_BACKEND=jax python jax_predict.py JOBS.json

JOBS.json is a list of {"network", "size", "h5", "keras", "images", "out"}: `out` gets
the probabilities of the model built here with the weights of `h5`, and of that loaded from `keras`.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np

from mbhseg.nn.antillia.import_h5 import import_weights
from mbhseg.nn.network.saving import load_model

if __name__ == "__main__":
    assert keras.backend.backend() == "jax"
    for job in json.loads(Path(sys.argv[1]).read_text()):
        images = np.load(job["images"])
        imported = import_weights(job["h5"], job["network"], size=job["size"])
        loaded = load_model(job["keras"])
        np.savez(
            job["out"],
            imported=imported.predict_on_batch(images),
            loaded=loaded.predict_on_batch(images),
        )
    assert "tensorflow" not in sys.modules
