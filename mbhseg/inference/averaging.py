"""Combine several predictions of one slice: mirror images, temperature, ensembles.

Probabilities are averaged, because labels do not say how certain the members are.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mbhseg.imaging.windows import Window
from mbhseg.inference.tiling import Tiling
from mbhseg.nn.patches import Network, Probabilities
from mbhseg.predictions.temperature import soften


class PlanePredictor(Protocol):
    """Predicts a volume slice by slice: a predictor, or an ensemble."""

    @property
    def size(self) -> int:
        """Side of the network's square images in pixels."""

    @property
    def field_mm(self) -> float:
        """Side of the training slices in mm."""

    @property
    def orientation(self) -> str:
        """The orientation of the training scans, such as LAS."""

    @property
    def window(self) -> Window:
        """The window that pictures of its scans are shown in."""

    def planes(
        self, hu: NDArray[Any], tiling: Tiling | None = None
    ) -> Iterator[tuple[int, Probabilities]]:
        """Each slice's index z with its class probabilities [x, y, 6] on the scan's own pixels."""


def mirrored(network: Network) -> Network:
    """The network's mean output for images [B, H, W, 3] and their left-right mirror images.

    A mirrored head is a plausible head, an upside-down one is not, so no other flip is used.
    Doubles the time.
    """

    def both(images: NDArray[np.uint8]) -> Probabilities:
        straight = np.asarray(network(images), np.float32)
        turned = np.asarray(network(np.ascontiguousarray(images[:, :, ::-1])), np.float32)
        return np.asarray((straight + turned[:, :, ::-1]) / 2, np.float32)

    return both


def tempered(network: Network, temperature: float) -> Network:
    """The network with its logits divided by `temperature`: above 1 it is less confident.

    The predicted class stays the same. Guo et al., On Calibration of Modern Neural Networks, ICML
    2017.
    """
    if temperature == 1:
        return network

    def calmer(images: NDArray[np.uint8]) -> Probabilities:
        return soften(np.asarray(network(images), np.float32), temperature)

    return calmer


class Ensemble:
    """Several predictors as one; their probabilities are averaged.

    Members may use different windows, but need the same size, field of view and orientation:
    ValueError if these differ, or if there is no member.
    """

    def __init__(self, members: Sequence[PlanePredictor]) -> None:
        kinds = {(member.size, member.field_mm, member.orientation) for member in members}
        if len(kinds) != 1:
            shown = " and ".join(f"{n} pixels, {mm:g} mm, {o}" for n, mm, o in sorted(kinds))
            raise ValueError(f"members see different slices: {shown or 'there are none'}")
        self._members = tuple(members)
        ((self.size, self.field_mm, self.orientation),) = kinds
        self.window = self._members[0].window

    def planes(
        self, hu: NDArray[Any], tiling: Tiling | None = None
    ) -> Iterator[tuple[int, Probabilities]]:
        """Each slice's index z with its class probabilities [x, y, 6] on the scan's own pixels."""
        for parts in zip(*(member.planes(hu, tiling) for member in self._members), strict=True):
            total = np.zeros_like(parts[0][1])
            for _, plane in parts:
                total += plane
            yield parts[0][0], total / np.float32(len(parts))
