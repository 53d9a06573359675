"""The interface of descriptors."""

from typing import Protocol, runtime_checkable

import numpy as np

from homoreg.errors import HomoregError


@runtime_checkable
class Descriptor(Protocol):
    """An object that describes keypoints and can be evaluated.

    Attributes:
        name: value of the ``descriptor`` column.
        metric: ``"l2"`` or ``"hamming"``; binary descriptors have one column of 0 and 1 per bit.
        wants_frames: optional; True for a descriptor that takes the keypoints' scales and
            orientations where they are known, ``(N, 3)`` or ``(N, 4)``. Others get ``(N, 2)``.
    """

    name: str
    metric: str

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """``(H, W, 3)`` uint8 RGB and keypoints → ``(N, D)`` float32, one row per keypoint.

        Keypoints are ``(N, 2)`` x, y, or frames for a descriptor that wants them. A row of NaN
        marks a keypoint that cannot be described; matching ignores it.
        """
        ...


def check_input(image: np.ndarray, keypoints: np.ndarray) -> None:
    """Refuse what cannot be described; every ``describe`` of the package calls it first.

    Raises:
        HomoregError: the image is not ``(H, W, 3)`` uint8, or the keypoints are neither ``(N, 2)``
            nor frames, ``(N, 3)`` or ``(N, 4)``.
    """
    if np.ndim(image) != 3 or np.shape(image)[2] != 3 or image.dtype != np.uint8:
        given = f"{np.shape(image)} of {getattr(image, 'dtype', type(image).__name__)}"
        raise HomoregError(f"describe: the image is {given}; give (H, W, 3) uint8 RGB")
    if np.ndim(keypoints) != 2 or np.shape(keypoints)[1] not in (2, 3, 4):
        raise HomoregError(
            f"describe: the keypoints are {np.shape(keypoints)}; give (N, 2) x, y, or frames "
            "(N, 3) or (N, 4)"
        )


def keypoints_for(descriptor: Descriptor, frames: np.ndarray) -> np.ndarray:
    """Keypoints as a descriptor takes them: with scale and orientation, or as ``(N, 2)``."""
    return frames if getattr(descriptor, "wants_frames", False) else frames[:, :2]
