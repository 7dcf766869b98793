"""Label volumes stored as their labelled planes, which are few."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


class DrawnPlanes(NamedTuple):
    """Labels [x, y, z]: `planes` maps z to uint8 [x, y], x running fastest in memory.

    Every plane with a label other than 0 is included; the others are background.
    """

    shape: tuple[int, ...]
    planes: dict[int, NDArray[np.uint8]]

    @classmethod
    def of(cls, volume: NDArray[np.uint8]) -> Self:
        """The labelled planes of a dense volume [x, y, z]; views, if x runs fastest in it."""
        volume = np.asfortranarray(volume)
        planes = ((z, volume[:, :, z]) for z in range(volume.shape[2]))
        return cls(volume.shape, {z: plane for z, plane in planes if not is_blank(plane)})

    def volume(self) -> NDArray[np.uint8]:
        """The dense volume [x, y, z], x running fastest."""
        volume = np.zeros(self.shape, np.uint8, order="F")
        for z, plane in self.planes.items():
            volume[:, :, z] = plane
        return volume


def is_blank(plane: NDArray[np.generic]) -> bool:
    """Whether every byte of the plane [x, y], x running fastest, is 0; True for an empty plane.

    One pass at memory speed for any number type; -0.0 counts as not blank.
    """
    return not plane.reshape(-1, order="F").view(np.uint8).max(initial=0)
