"""What a descriptor is to the rest of the package."""

from typing import Protocol, runtime_checkable

import numpy as np


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
