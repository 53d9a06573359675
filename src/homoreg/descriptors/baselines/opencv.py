"""OpenCV's descriptors at given keypoints: over a window of a given size, or SIFT's own windows."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import cv2
import numpy as np

from homoreg.data.patches import Window, inside_image
from homoreg.descriptors.descriptor import check_input
from homoreg.errors import HomoregError, MissingError

WindowKind = Literal["fixed", "scaled", "oriented"]


class OpenCvDescriptor:
    """A descriptor of OpenCV, with the size and the metric that OpenCV reports.

    Args:
        name: value of the ``descriptor`` column.
        extractor: OpenCV's function that creates it, such as ``"ORB_create"``.
        support: side of the window in the photo, pixels.
        smallest_support: the smallest window that it can describe, pixels.
        options: arguments of the function.
        support_options: arguments that grow with the window: ``support`` over the number given.
        window_per_size: side of the window over the size of OpenCV's keypoint.
        octave: pyramid level of OpenCV's keypoint.
        window: ``"fixed"`` for upright windows of ``support``; ``"scaled"`` for upright ones of
            ``window_per_size`` times the keypoint's scale, ``"oriented"`` turned as well. Only
            :class:`Sift` can do more than fixed ones.

    Raises:
        MissingError: the installed OpenCV lacks the function.
        HomoregError: the window is too small.
    """

    # Fewer bits than the extractor's bytes hold; None where all are used.
    bits: int | None = None

    def __init__(
        self,
        name: str,
        extractor: str,
        support: int = 64,
        smallest_support: int = 8,
        options: Mapping[str, Any] | None = None,
        support_options: Mapping[str, float] | None = None,
        window_per_size: float = 1.0,
        octave: int = 0,
        window: WindowKind = "fixed",
    ) -> None:
        check_support(name, support, smallest_support)
        arguments = dict(options or {})
        arguments |= {key: support / divisor for key, divisor in (support_options or {}).items()}
        self._extractor = _function(name, extractor)(**arguments)
        self._window = Window(support=support, window=window, scale_factor=window_per_size)
        self.wants_frames = window != "fixed"
        self._window_per_size = window_per_size
        self._octave = octave
        self.name = name
        binary = self._extractor.defaultNorm() in (cv2.NORM_HAMMING, cv2.NORM_HAMMING2)
        self.metric = "hamming" if binary else "l2"
        per_column = 8 if binary else 1
        self.dimension = self.bits or per_column * self._extractor.descriptorSize()

    def keypoint_fields(self, size: float) -> dict[str, int]:
        """Fields of OpenCV's keypoint that depend on its size, pixels."""
        return {}

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """See :class:`~homoreg.descriptors.descriptor.Descriptor`; bits are unpacked to 0 and 1.

        A row is NaN where the keypoint lies outside the image, where OpenCV refuses it, or where
        there is no gradient to describe.
        """
        check_input(image, keypoints)
        inside = inside_image(image, keypoints)
        described = np.full((len(keypoints), self.dimension), np.nan, np.float32)
        # OpenCV drops and reorders keypoints. The response is the one field that every extractor
        # leaves alone, so it carries the row number (AKAZE reads its level from class_id).
        sizes = (self._window.sides(keypoints) / self._window_per_size).tolist()
        angles = np.rad2deg(self._window.angles(keypoints)).tolist()
        points = [
            cv2.KeyPoint(
                x=x,
                y=y,
                angle=angles[row],
                response=row,
                **{"size": sizes[row], "octave": self._octave} | self.keypoint_fields(sizes[row]),
            )
            for row, (x, y) in enumerate(keypoints[:, :2].tolist())
            if inside[row]
        ]
        kept, descriptors = self._extractor.compute(self._padded_gray(image), points)
        if descriptors is not None:
            rows = np.array([point.response for point in kept], np.int64)
            described[rows] = self.finish(descriptors)
        return described

    def finish(self, descriptors: np.ndarray) -> np.ndarray:
        """OpenCV's rows as they are compared."""
        if self.metric == "hamming":
            return np.unpackbits(descriptors, axis=1, count=self.dimension, bitorder="little")
        descriptors[~descriptors.any(1)] = np.nan
        return descriptors

    def _padded_gray(self, image: np.ndarray) -> np.ndarray:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        # An image smaller than the window is extended at its edge, as for patches; otherwise the
        # pyramids of OpenCV run out of pixels.
        right, bottom = (max(0, self._window.support - side) for side in gray.shape[::-1])
        return cv2.copyMakeBorder(gray, 0, bottom, 0, right, cv2.BORDER_REPLICATE)


class Sift(OpenCvDescriptor):
    """SIFT (Lowe, IJCV 2004), or RootSIFT (Arandjelović and Zisserman, CVPR 2012).

    A cell is 3 σ wide and OpenCV's keypoint size is 2 σ, so that 4 × 4 cells span 6 sizes.

    Args:
        root: take square roots of the entries' shares, so that L2 distance is Hellinger's.
        options: see :class:`OpenCvDescriptor`.
    """

    def __init__(self, root: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._root = root

    def keypoint_fields(self, size: float) -> dict[str, int]:
        # Gradients are taken where a keypoint of this scale would have been found: at the pyramid
        # level with its blur, 1.6 · 2^(level / 3). OpenCV packs octave and layer into one number.
        # Its detector's layers are 1 to 3, and octave −1 is the image at twice its size.
        level = max(-2, round(3 * math.log2(size / 2 / 1.6)))
        octave = -(-level // 3) - 1
        return {"octave": octave & 255 | (level - 3 * octave) << 8}

    def finish(self, descriptors: np.ndarray) -> np.ndarray:
        descriptors = super().finish(descriptors)
        if self._root:
            descriptors = np.sqrt(descriptors / descriptors.sum(1, keepdims=True))
        return descriptors


class Akaze(OpenCvDescriptor):
    """AKAZE's M-LDB (Alcantarilla, Nuevo and Bartoli, BMVC 2013) in the first octave.

    That octave is the only one that exists for an image of any size.
    """

    bits = 486

    def keypoint_fields(self, size: float) -> dict[str, int]:
        # A size is 3 σ; the four levels have σ = 1.6 · 2^(level / 4).
        return {"class_id": min(max(round(4 * math.log2(size / 3 / 1.6)), 0), 3)}


def check_support(name: str, support: int, smallest: int = 8) -> None:
    """HomoregError for a window too small to describe."""
    if support < smallest:
        raise HomoregError(
            f"descriptors.{name}.support={support}: give a window of {smallest} or more pixels"
        )


def _function(name: str, function: str) -> Any:
    # What is in OpenCV's main part in version 4 may be in xfeatures2d in version 5.
    for module in (cv2, getattr(cv2, "xfeatures2d", None)):
        if hasattr(module, function):
            return getattr(module, function)
    raise MissingError(
        f"descriptor {name}: OpenCV {cv2.__version__} here lacks {function}; install "
        "opencv-contrib-python in place of opencv-python"
    )
