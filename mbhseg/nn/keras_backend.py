"""A trained network as a function of images: by OpenVINO on CPUs, by Keras otherwise."""

import logging
from pathlib import Path

from mbhseg.nn import device
from mbhseg.nn.network.models import computes_in, in_policy
from mbhseg.nn.network.saving import load_model
from mbhseg.nn.openvino import Ranges, UnknownLayer, compiled, translated
from mbhseg.nn.patches import Network

log = logging.getLogger(__name__)


def network_of(path: Path, precision: str, ranges: Ranges | None) -> Network:
    """The model of a file as a function of images uint8 [B, H, W, 3], as `Network` says.

    OpenVINO computes it on CPUs; Keras on GPUs, and for layers that have no translation.
    `precision` and `ranges` are those of `inference.predictor.Predictor.load`.

    Raises InputError if the file is no model, and KeyError, IndexError or TypeError if the ranges
    are those of another network.
    """
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
