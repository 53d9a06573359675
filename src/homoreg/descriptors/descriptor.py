"""What a descriptor is to the rest of the package."""

from typing import Protocol, runtime_checkable

import numpy as np

from homoreg.errors import HomoregError


@runtime_checkable
class Descriptor(Protocol):
    """An object that describes keypoints and can be evaluated.

    Attributes:
        name: value of the ``descriptor`` column.
        metric: ``"l2"`` or ``"hamming"``; binary descriptors have one column of 0 and 1 per bit.
    """

    name: str
    metric: str

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """``(H, W, 3)`` uint8 RGB and ``(N, 2)`` x, y → ``(N, D)`` float32, one row per keypoint.

        A row of NaN marks a keypoint that cannot be described; matching ignores it.
        """
        ...


def check_input(image: np.ndarray, keypoints: np.ndarray) -> None:
    """Refuse what cannot be described; every ``describe`` of the package calls it first.

    Raises:
        HomoregError: the image is not ``(H, W, 3)`` uint8, or the keypoints are not ``(N, 2)``.
    """
    if np.ndim(image) != 3 or np.shape(image)[2] != 3 or image.dtype != np.uint8:
        given = f"{np.shape(image)} of {getattr(image, 'dtype', type(image).__name__)}"
        raise HomoregError(f"describe: the image is {given}; give (H, W, 3) uint8 RGB")
    if np.ndim(keypoints) != 2 or np.shape(keypoints)[1] != 2:
        raise HomoregError(f"describe: the keypoints are {np.shape(keypoints)}; give (N, 2) x, y")
