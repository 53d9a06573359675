"""What the baselines share: a check of their window, and OpenCV's extractors at given keypoints."""

from typing import Any, ClassVar

import cv2
import numpy as np

from homoreg.errors import HomoregError


def check_support(name: str, support: int, smallest: int = 8) -> None:
    """HomoregError, in one line, for a window too small to describe."""
    if support < smallest:
        raise HomoregError(
            f"descriptors.{name}.support={support}: give a window of {smallest} or more pixels"
        )


class OpenCvBaseline:
    """A descriptor of OpenCV, upright, at given keypoints and over a window of a given size.

    A subclass sets the class attributes and makes, in its constructor, the extractor and the
    keypoint that the window asks for.

    Attributes:
        name: the descriptor's name in tables.
        metric: ``"l2"`` or ``"hamming"``.
        dimension: numbers, or bits, of a descriptor.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    dimension: ClassVar[int]

    def __init__(
        self, extractor: Any, support: int, *, size: float, octave: int = 0, class_id: int = -1
    ) -> None:
        self._extractor = extractor
        self._support = support
        self._size = size
        self._octave = octave
        self._class_id = class_id

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """Describe an image at keypoints.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
            keypoints: ``(N, 2)`` float64 x, y in pixels.

        Returns:
            ``(N, dimension)`` float32, a row a keypoint; bits are unpacked to 0 and 1. A row is NaN
            where the keypoint lies outside the image (beyond the centers of its border pixels),
            where OpenCV refuses it, or where there is no gradient to describe.
        """
        height, width = image.shape[:2]
        inside = np.all((keypoints >= 0) & (keypoints <= (width - 1, height - 1)), axis=1)
        described = np.full((len(keypoints), self.dimension), np.nan, np.float32)
        # OpenCV drops and reorders keypoints. The response is the one field that every extractor
        # hands through untouched, so it carries the row (AKAZE reads its level from class_id).
        points = [
            cv2.KeyPoint(x, y, self._size, 0.0, row, self._octave, self._class_id)
            for row, (x, y) in enumerate(keypoints.tolist())
            if inside[row]
        ]
        kept, descriptors = self._extractor.compute(self._prepared(image), points)
        if descriptors is not None:
            kept_rows = np.array([point.response for point in kept], np.int64)
            described[kept_rows] = self._finished(descriptors)
        return described

    def _prepared(self, image: np.ndarray) -> np.ndarray:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        # An image that the window does not fit into repeats its edge, as patches do; without it
        # the pyramids of OpenCV run out of pixels.
        right, bottom = (max(0, self._support - side) for side in gray.shape[::-1])
        return cv2.copyMakeBorder(gray, 0, bottom, 0, right, cv2.BORDER_REPLICATE)

    def _finished(self, descriptors: np.ndarray) -> np.ndarray:
        if self.metric == "hamming":
            return np.unpackbits(descriptors, axis=1, count=self.dimension, bitorder="little")
        flat = ~descriptors.any(1)
        descriptors[flat] = np.nan
        return descriptors
