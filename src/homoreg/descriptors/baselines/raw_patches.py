"""A control that learns nothing: the patch itself."""

import numpy as np

from homoreg.data.patches import cut_patches, inside_image
from homoreg.descriptors.baselines.opencv import check_support
from homoreg.descriptors.descriptor import check_input
from homoreg.errors import HomoregError


class RawPatches:
    """The colors of the patch, each channel with zero mean, the whole of unit length.

    ``‖f − g‖² = 2 − 2 NCC(f, g)``, so the nearest neighbor is what template matching by normalized
    correlation finds (OpenCV's ``TM_CCOEFF_NORMED``).

    Args:
        support: side of the window in pixels of the photo.
        size: side of the patch in pixels; a descriptor has 3 · size² numbers.
    """

    name = "raw_patches"
    metric = "l2"

    def __init__(self, support: int = 64, size: int = 32) -> None:
        check_support(self.name, support)
        if size < 2:
            raise HomoregError(f"descriptors.{self.name}.size={size}: give 2 or more pixels")
        self._support = support
        self._size = size

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """Describe an image at keypoints.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            keypoints: ``(N, 2)`` float64 x, y in pixels.

        Returns:
            ``(N, 3 · size²)`` float32, a row a keypoint; NaN where the keypoint is outside the
            image or its patch is of one color.
        """
        check_input(image, keypoints)
        inside = inside_image(image, keypoints)
        patches = cut_patches(image, keypoints[inside], support=self._support, size=self._size)
        described = np.full((len(keypoints), 3 * self._size**2), np.nan, np.float32)
        # Sums of whole numbers are exact, so one color becomes zeros and not rounding noise.
        values: np.ndarray = patches.astype(np.float32)
        values -= values.mean((1, 2), keepdims=True)
        values = values.reshape(len(patches), described.shape[1])
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        lengths[lengths == 0] = np.nan
        described[inside] = values / lengths
        return described
