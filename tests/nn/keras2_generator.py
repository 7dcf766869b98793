"""Runs under TensorFlow 2.15, not under ours: the reference network in tf.keras, with its files.

    python keras2_generator.py JOBS.json

JOBS.json is a list of {"settings", "folder", "before", "graph", "seed"}; each folder gets
whole.h5, weights.h5, images.npy, probabilities.npy and count.txt. `before` models are built first,
so that the layers' names do not count from zero. `graph` turns eager execution off, as the
reference does, for the whole process.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

layers = tf.keras.layers


def mish(x):
    return x * tf.math.tanh(tf.math.softplus(x))


def build(s):
    """The reference construction: lists counting down, read backwards on the way up."""
    activation = {"mish": mish, "leaky_relu": tf.nn.leaky_relu}.get(
        s["activation"], s["activation"]
    )
    kernels, dilations = [s["kernel"]], [s["dilation"]]
    while len(kernels) < s["levels"]:
        kernels.append(max(kernels[-1] - 2, 3))
        dilations.append(max(dilations[-1] - 1, 1))

    def block(x, i):
        for part in range(2):
            x = layers.Conv2D(
                s["filters"] * 2**i,
                (kernels[i], kernels[i]),
                strides=(1, 1),
                activation=activation,
                kernel_initializer="he_normal",
                dilation_rate=(dilations[i], dilations[i]),
                padding="same",
            )(x)
            if s["normalization"]:
                x = layers.BatchNormalization()(x)
            if part == 0:
                x = layers.Dropout(s["dropout"] * i)(x)
        return x

    inputs = layers.Input((s["size"], s["size"], 3))
    x = layers.Lambda(lambda value: value / 255)(inputs) if s["normalize_input"] else inputs
    skips = []
    for i in range(s["levels"]):
        x = block(x, i)
        if i < s["levels"] - 1:
            skips.append(x)
            x = layers.MaxPool2D(pool_size=(2, 2))(x)
    for i in reversed(range(s["levels"] - 1)):
        x = layers.Conv2DTranspose(s["filters"] * 2**i, (2, 2), strides=(2, 2), padding="same")(x)
        x = layers.concatenate([x, skips[i]])
        x = block(x, i)
    outputs = layers.Conv2D(6, (1, 1), activation="softmax")(x)
    return tf.keras.Model(inputs=[inputs], outputs=[outputs])


def randomize(model, rng):
    """Biases off zero, statistics of normalization off zero and one."""
    for layer in model.layers:
        values = layer.get_weights()
        if len(values) == 2:
            layer.set_weights([values[0], rng.normal(0, 0.2, values[1].shape)])
        elif len(values) == 4:
            shape = values[0].shape
            drawn = [rng.uniform(0.5, 1.5, shape), rng.normal(0, 0.2, shape)]
            layer.set_weights([*drawn, rng.normal(0, 0.2, shape), rng.uniform(0.5, 1.5, shape)])


def moderate(model, images):
    """Scale the last kernel so that no probability is near 0 or 1, where errors would hide."""
    last = model.layers[-1]
    kernel, bias = last.get_weights()
    features = tf.keras.Model(model.inputs, last.input).predict(images, verbose=0)
    last.set_weights([kernel / (features @ kernel[0, 0]).std(), bias])


def make(job):
    s, folder, rng = job["settings"], Path(job["folder"]), np.random.default_rng(job["seed"])
    for _ in range(job["before"]):
        build(s)
    model = build(s)
    images = rng.integers(0, 256, (2, s["size"], s["size"], 3)).astype(np.uint8)
    adam = tf.keras.optimizers.legacy.Adam if job["graph"] else tf.keras.optimizers.Adam
    model.compile(adam(1e-6, clipvalue=0.5), loss="categorical_crossentropy")
    targets = np.eye(6)[images[..., 0] % 6]
    model.fit(images.astype(np.float32), targets, epochs=1, verbose=0)  # fills the optimizer
    randomize(model, rng)
    moderate(model, images.astype(np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    model.save(str(folder / "whole.h5"))
    model.save_weights(str(folder / "weights.h5"))
    np.save(folder / "images.npy", images)
    np.save(folder / "probabilities.npy", model.predict(images.astype(np.float32), verbose=0))
    (folder / "count.txt").write_text(str(model.count_params()))


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text())
    assert tf.__version__.startswith("2.15."), tf.__version__
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if any(job["graph"] for job in jobs):
        assert all(job["graph"] for job in jobs)
        tf.compat.v1.disable_eager_execution()
    for job in jobs:
        tf.keras.utils.set_random_seed(job["seed"])
        make(job)
