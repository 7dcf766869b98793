"""Deep supervision: auxiliary heads on the lower decoder levels, during training only.

Each head is a 1 x 1 convolution with softmax on the output of a decoder level, compared with the
labels at that level's resolution (Dou et al., 2016; weighted as in nnU-Net).
"""

from typing import Any

import keras

from mbhseg.errors import InputError
from mbhseg.nn.network.skipping import ResumableModel

_OUTPUT = "probabilities"


def with_heads(model: keras.Model, heads: int, seed: int = 0) -> ResumableModel:
    """The model to train in place of `model`: on the same layers, with `heads` auxiliary heads.

    heads: how many decoder levels, from half resolution downwards, get one; 0 gives none.
    In training the loss is the mean of the heads' losses, weighted 1, 1/2, 1/4, ... from the
    full resolution down; in inference the model gives the probabilities alone, as `model` does.
    Weights of the heads come after those of `model`; saving `model` leaves them out.

    Raises InputError unless it is a FlexUNet with that many decoder levels below the first.
    """
    if heads == 0:
        return ResumableModel(model, name=model.name)
    features = [_decoder_output(model, level, heads) for level in range(1, heads + 1)]
    last = model.get_layer(_OUTPUT)
    outputs = [model.output]
    for level, feature in enumerate(features, start=1):
        head = keras.layers.Conv2D(
            last.filters,
            1,
            activation="softmax",
            kernel_initializer=keras.initializers.GlorotUniform(seed=(seed * 31 + level) % 2**31),
            dtype="float32",
            name=f"{_OUTPUT}{level}",
        )
        outputs.append(head(feature))
        head.bias.assign(last.bias)  # the same prior
    return _Supervised(keras.Model(model.inputs, outputs), name=model.name)


def _decoder_output(model: keras.Model, level: int, heads: int) -> Any:
    names = {layer.name for layer in model.layers}
    for part in ("norm2", "conv2"):
        if f"decoder{level}_{part}" in names:
            return model.get_layer(f"decoder{level}_{part}").output
    raise InputError(
        "training.deep_supervision",
        f"asks for heads on {heads} decoder levels; {model.name} has {level - 1} below the first",
        "Lower it, or set it to 0",
    )


class _Supervised(ResumableModel):
    """All heads in training, the first one in inference."""

    def call(self, images: Any, training: bool = False) -> Any:
        outputs = self._inner(images, training=training)
        return outputs if training else outputs[0]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        outputs = y_pred if isinstance(y_pred, list | tuple) else [y_pred]
        weights = [0.5**level for level in range(len(outputs))]
        losses = [
            weight * super(_Supervised, self).compute_loss(x, _reduced(y, level), output)
            for level, (weight, output) in enumerate(zip(weights, outputs, strict=True))
        ]
        return sum(losses) / sum(weights)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        first = y_pred[0] if isinstance(y_pred, list | tuple) else y_pred
        return super().compute_metrics(x, y, first, sample_weight)


def _reduced(labels: Any, level: int) -> Any:
    """Labels [B, H, W, ...] at 1 / 2^level of the resolution: the pixel in the middle of each."""
    step = 2**level
    return labels[:, step // 2 :: step, step // 2 :: step]
