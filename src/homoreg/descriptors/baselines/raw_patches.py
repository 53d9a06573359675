"""A baseline without training: the patch itself."""

import numpy as np

from homoreg.data.patches import Window, inside_image
from homoreg.descriptors.baselines.opencv import WindowKind, check_support
from homoreg.descriptors.descriptor import check_input


class RawPatches:
    """The colors of the patch, each channel with zero mean, the whole of unit length.

    ``‖f − g‖² = 2 − 2 NCC(f, g)``, so the nearest neighbor is what template matching by normalized
    correlation finds (OpenCV's ``TM_CCOEFF_NORMED``).

    Args:
        support: side of the window in pixels of the photo.
        size: side of the patch in pixels; a descriptor has 3 · size² numbers.
        window, scale_factor: see :class:`~homoreg.data.patches.Window`.
    """

    name = "raw_patches"
    metric = "l2"

    def __init__(
        self,
        support: int = 64,
        size: int = 32,
        window: WindowKind = "fixed",
        scale_factor: float = 12.0,
    ) -> None:
        check_support(self.name, support)
        self._window = Window(support=support, size=size, window=window, scale_factor=scale_factor)
        self.wants_frames = window != "fixed"

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """Describe an image at keypoints.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            keypoints: ``(N, 2)`` float64 x, y in pixels, or frames.

        Returns:
            ``(N, 3 · size²)`` float32, a row a keypoint; NaN where the keypoint is outside the
            image or its patch is of one color.
        """
        check_input(image, keypoints)
        inside = inside_image(image, keypoints)
        patches = self._window.patches(image, keypoints[inside])
        described = np.full((len(keypoints), 3 * self._window.size**2), np.nan, np.float32)
        # Sums of whole numbers are exact, so one color becomes zeros and not rounding noise.
        values: np.ndarray = patches.astype(np.float32)
        values -= values.mean((1, 2), keepdims=True)
        values = values.reshape(len(patches), described.shape[1])
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        lengths[lengths == 0] = np.nan
        described[inside] = values / lengths
        return described
