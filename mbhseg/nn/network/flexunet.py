"""FlexUNet: a U-Net whose depth, width, kernels, dilation and dropout follow from a few numbers.

Pure Keras 3 operations, so the same model builds on every Keras backend.

With levels i = 0..L-1 (0 at full resolution, L-1 the bridge) and base values F, K, D, R:

    filters_i  = F * 2**i                    (capped by `max_filters`)
    kernel_0   = K, kernel_i = max(3, K - 2 * i) for i > 0
    dilation_i = max(1, D - i)
    dropout_i  = R * i

Each level is conv, norm, dropout, conv, norm, on the way down and, after the upsampled features
and the skip are joined, on the way up. With `max_filters=None`, `normalization` None or "batch"
this is the construction of Antillia's TensorFlow-FlexUNet, layer for layer.
"""

import math
from typing import Any, NamedTuple

import keras

NORMALIZATIONS = ("batch", "instance", "group")
_GROUPS = 8


class LevelSettings(NamedTuple):
    """The settings of one level of the network."""

    filters: int
    kernel: int
    dilation: int
    dropout: float


def level_settings(
    level: int,
    *,
    filters: int,
    kernel: int,
    dilation: int,
    dropout: float,
    max_filters: int | None,
) -> LevelSettings:
    """The settings of level `level` (0 = full resolution) from the base values."""
    width = filters * 2**level
    return LevelSettings(
        filters=width if max_filters is None else min(width, max_filters),
        # no lower bound for the base value: 1 or 2 make sense at full resolution
        kernel=kernel if level == 0 else max(3, kernel - 2 * level),
        dilation=max(1, dilation - level),
        dropout=dropout * level,
    )


def build(
    *,
    size: int | None,
    channels: int,
    classes: int,
    levels: int,
    filters: int,
    kernel: int,
    dilation: int,
    dropout: float,
    normalization: str | None,
    activation: str,
    max_filters: int | None,
    input_scale: float,
    background_prior: float | None,
    dtype: str = "float32",
    seed: int = 0,
) -> keras.Model:
    """Build a FlexUNet.

    The model maps grey values [batch, size, size, channels] (0..255, float or uint8) to class
    probabilities [batch, size, size, classes] float32. It multiplies its input by `input_scale`
    itself, so that a saved model needs nothing but the PNG values.

    size: edge of the square input, divisible by 2**(levels - 1); None leaves height and width open.
    levels, filters, kernel, dilation, dropout: the base values of the module's formulas.
    normalization: None, "batch", "instance" or "group" (8 groups).
    max_filters: upper bound of the filters of a level.
    background_prior: probability of background that an untrained network starts from (Lin et al.,
        2017); None starts from equal probabilities. With few bleeding pixels the first epochs
        would learn nothing but this prior.
    dtype: "float32", or "mixed_bfloat16": bfloat16 arithmetic, float32 weights and softmax.
    seed: of initial weights and dropout; the same seed gives the same model.

    Raises ValueError if the size does not fit the levels or a name is unknown.
    """
    if levels < 1:
        raise ValueError(f"levels {levels} is below 1")
    if size is not None and size % 2 ** (levels - 1):
        raise ValueError(f"size {size} is not divisible by 2**(levels - 1) = {2 ** (levels - 1)}")
    if normalization is not None and normalization not in NORMALIZATIONS:
        raise ValueError(f"normalization {normalization!r} is none of {NORMALIZATIONS}")
    layers = _LayerFactory(normalization, activation, dtype, seed)
    settings = [
        level_settings(
            i,
            filters=filters,
            kernel=kernel,
            dilation=dilation,
            dropout=dropout,
            max_filters=max_filters,
        )
        for i in range(levels)
    ]

    inputs = keras.Input((size, size, channels), name="image")
    x: Any = inputs
    if input_scale != 1.0:
        x = keras.layers.Rescaling(input_scale, dtype=dtype, name="input_scale")(x)
    skips = []
    for i, level in enumerate(settings):
        if i > 0:
            skips.append(x)
            x = keras.layers.MaxPooling2D(2, dtype=dtype, name=f"down{i}")(x)
        x = layers.block(x, level, "bridge" if i == levels - 1 else f"encoder{i}")
    for i in reversed(range(levels - 1)):
        x = layers.upsample(x, settings[i], f"up{i}")
        x = keras.layers.Concatenate(dtype=dtype, name=f"join{i}")([x, skips[i]])
        x = layers.block(x, settings[i], f"decoder{i}")
    model = keras.Model(inputs, layers.probabilities(x, classes), name="flexunet")
    if background_prior is not None:
        # log odds of background (class 0) against each other class, spread evenly
        odds = background_prior * (classes - 1) / (1 - background_prior)
        model.get_layer("probabilities").bias.assign([math.log(odds)] + [0.0] * (classes - 1))
    return model


class _LayerFactory:
    """Makes the layers of one model; every random layer gets its own seed, in order of creation."""

    def __init__(self, normalization: str | None, activation: str, dtype: str, seed: int) -> None:
        self._normalization = normalization
        self._activation = activation
        self._dtype = dtype
        self._seed = seed
        self._made = 0

    def _next_seed(self) -> int:
        self._made += 1
        return (self._seed * 1_000_003 + self._made) % 2**31

    def block(self, x: Any, level: LevelSettings, name: str) -> Any:
        """Conv, norm, dropout, conv, norm."""
        x = self._normalize(self._convolve(x, level, f"{name}_conv1"), f"{name}_norm1")
        if level.dropout > 0:
            x = keras.layers.Dropout(
                level.dropout, seed=self._next_seed(), dtype=self._dtype, name=f"{name}_dropout"
            )(x)
        return self._normalize(self._convolve(x, level, f"{name}_conv2"), f"{name}_norm2")

    def upsample(self, x: Any, level: LevelSettings, name: str) -> Any:
        """Double height and width by a learned 2 x 2 transposed convolution."""
        return keras.layers.Conv2DTranspose(
            level.filters,
            2,
            strides=2,
            padding="same",
            kernel_initializer=keras.initializers.GlorotUniform(seed=self._next_seed()),
            dtype=self._dtype,
            name=name,
        )(x)

    def probabilities(self, x: Any, classes: int) -> Any:
        """Softmax over classes, always in float32: bfloat16 has 8 bits of precision."""
        return keras.layers.Conv2D(
            classes,
            1,
            activation="softmax",
            kernel_initializer=keras.initializers.GlorotUniform(seed=self._next_seed()),
            dtype="float32",
            name="probabilities",
        )(x)

    def _convolve(self, x: Any, level: LevelSettings, name: str) -> Any:
        return keras.layers.Conv2D(
            level.filters,
            level.kernel,
            padding="same",
            activation=self._activation,
            kernel_initializer=keras.initializers.HeNormal(seed=self._next_seed()),
            dilation_rate=level.dilation,
            dtype=self._dtype,
            name=name,
        )(x)

    def _normalize(self, x: Any, name: str) -> Any:
        # as in the reference project, normalization follows the activation
        if self._normalization is None:
            return x
        if self._normalization == "batch":
            return keras.layers.BatchNormalization(dtype=self._dtype, name=name)(x)
        groups = -1 if self._normalization == "instance" else _GROUPS
        return keras.layers.GroupNormalization(groups, dtype=self._dtype, name=name)(x)
