"""Keypoint detectors: an image in, points out, strongest first.

A detector is any callable that takes an ``(H, W, 3)`` uint8 RGB image and returns keypoints as
``(N, 2)`` float64 x, y in pixels, or with scale and orientation, ``(N, 3)`` or ``(N, 4)``, see
:mod:`homoreg.geometry.frames`. An image without keypoints gives ``(0, 2)``.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Literal, get_args

import cv2
import numpy as np
import pydantic
from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveInt

from homoreg.geometry.frames import Detector, detect_frames

# Options of the detectors below are checked; a wrong one is a pydantic.ValidationError.
_OPTIONS = ConfigDict(title="detector", extra="forbid")
GrayLevels = Annotated[int, Field(ge=1, le=255)]

_SUBPIXEL_HALF_WINDOW = 5
_ORB_PATCH_PX = 31

# What a keypoint carries: x, y; and its scale; and its orientation.
Frame = Literal["place", "scale", "orientation"]


def detect(detector: Detector, image: np.ndarray) -> np.ndarray:
    """The keypoints of an image, checked: ``(N, 2 to 4)`` float64, finite and read-only.

    Raises:
        HomoregError: the detector returned something other than points.
    """
    keypoints = detect_frames(detector, image, "detector")
    keypoints.setflags(write=False)
    return keypoints


def image_key(image: np.ndarray) -> str:
    """The same text for the same pixels."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True, repr=False)
class CachedDetector:
    """A detector that detects once in each image, however often it is asked.

    >>> calls = []
    >>> detector = CachedDetector(lambda image: calls.append(image) or [[1.0, 2.0]])
    >>> for _ in range(2):
    ...     points = detector(np.zeros((9, 9, 3), np.uint8))
    >>> points.tolist(), len(calls)
    ([[1.0, 2.0]], 1)
    """

    detector: Detector
    _found: dict[tuple[tuple[int, ...], str], np.ndarray] = field(
        default_factory=dict, compare=False
    )

    def __repr__(self) -> str:
        return repr(self.detector)  # what it finds is the detector's, as records of it say

    def __call__(self, image: np.ndarray) -> np.ndarray:
        key = image.shape, image_key(image)
        if key not in self._found:
            self._found[key] = detect(self.detector, image)
        return self._found[key]


def cached_detector(detector: Detector) -> CachedDetector:
    """A detector with a memory, one for all detectors of a process that are equal.

    The jobs of a sweep that share a process detect once in the images they are evaluated on.

    >>> cached_detector(ShiTomasi()) is cached_detector(ShiTomasi())
    True
    >>> cached_detector(ShiTomasi(9)) is cached_detector(ShiTomasi())
    False
    """
    if isinstance(detector, CachedDetector):
        return detector
    try:
        return _remembered(detector)
    except TypeError:  # of a detector without a hash
        return CachedDetector(detector)


@lru_cache(maxsize=4)
def _remembered(detector: Detector) -> CachedDetector:
    return CachedDetector(detector)


@pydantic.dataclasses.dataclass(frozen=True, config=_OPTIONS)
class ShiTomasi:
    """Corners with a large smaller eigenvalue of the gradient matrix (Shi and Tomasi, CVPR 1994).

    Args:
        max_keypoints: at most so many, strongest first.
        quality_level: smallest eigenvalue of a corner, as a share of the largest one in the image.
        min_distance_px: smallest distance between two corners.
        block_size_px: side of the window over which gradients are averaged.
        subpixel: refine the corners with ``cornerSubPix``.

    >>> image = np.zeros((40, 50, 3), np.uint8)
    >>> image[10:30, 15:40] = 255
    >>> sorted(ShiTomasi()(image).tolist())
    [[15.0, 10.0], [15.0, 29.0], [39.0, 10.0], [39.0, 29.0]]
    """

    max_keypoints: PositiveInt = 500
    quality_level: Annotated[float, Field(gt=0, le=1)] = 0.01
    min_distance_px: NonNegativeFloat = 8
    block_size_px: PositiveInt = 3
    subpixel: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        corners = cv2.goodFeaturesToTrack(
            gray,
            self.max_keypoints,
            self.quality_level,
            self.min_distance_px,
            blockSize=self.block_size_px,
        )
        if corners is None:
            return np.empty((0, 2))
        if self.subpixel:
            corners = _refine(gray, corners)
        return corners.reshape(-1, 2).astype(np.float64)


def _refine(gray: np.ndarray, corners: np.ndarray) -> np.ndarray:
    # OpenCV rejects images smaller than its search window.
    if min(gray.shape) < 2 * _SUBPIXEL_HALF_WINDOW + 5:
        return corners
    window = (_SUBPIXEL_HALF_WINDOW, _SUBPIXEL_HALF_WINDOW)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 0.01)
    return cv2.cornerSubPix(gray, corners, window, (-1, -1), stop)


@pydantic.dataclasses.dataclass(frozen=True, config=_OPTIONS)
class SiftKeypoints:
    """Extrema of the difference of Gaussians (Lowe, IJCV 2004), strongest contrast first.

    Args:
        max_keypoints: at most so many, strongest first.
        contrast_threshold: smallest contrast of an extremum, OpenCV's ``contrastThreshold``.
        frame: what a keypoint carries: ``"place"``, ``"scale"`` as well, or ``"orientation"`` as
            well, where one place may have several.
    """

    max_keypoints: PositiveInt = 500
    contrast_threshold: NonNegativeFloat = 0.04
    frame: Frame = "scale"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        # OpenCV's default keeps an old fault: all keypoints lie a quarter of a pixel off.
        sift = cv2.SIFT.create(
            contrastThreshold=self.contrast_threshold, enable_precise_upscale=True
        )
        found = sift.detect(gray, None)
        return _strongest(found, self.max_keypoints, self.frame)


@pydantic.dataclasses.dataclass(frozen=True, config=_OPTIONS)
class OrbKeypoints:
    """FAST corners on an image pyramid, by Harris response (Rublee et al., ICCV 2011).

    Args:
        max_keypoints: at most so many, strongest first.
        fast_threshold: gray levels by which a ring must differ from its center.
        frame: what a keypoint carries: ``"place"``, ``"scale"`` as well, or ``"orientation"`` as
            well.
    """

    max_keypoints: PositiveInt = 500
    fast_threshold: GrayLevels = 20
    frame: Frame = "scale"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        # OpenCV's pyramid fails on images thinner than the patch, where ORB finds nothing anyway.
        if min(image.shape[:2]) < _ORB_PATCH_PX:
            return np.empty((0, 2))
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        orb = cv2.ORB.create(nfeatures=self.max_keypoints, fastThreshold=self.fast_threshold)
        found = orb.detect(gray, None)
        size = np.array(gray.shape[::-1])
        for keypoint in found:
            # OpenCV multiplies the place in a level of the pyramid by the level's scale, as if the
            # centers of the first pixels coincided. The levels were resized about their borders.
            scale = keypoint.size / _ORB_PATCH_PX
            place = np.round(np.array(keypoint.pt) / scale) + 0.5
            keypoint.pt = tuple(place * size / np.round(size / scale) - 0.5)
        return _strongest(found, self.max_keypoints, self.frame)


@pydantic.dataclasses.dataclass(frozen=True, config=_OPTIONS)
class FastKeypoints:
    """Corners by the segment test on a ring of 16 pixels (Rosten and Drummond, ECCV 2006).

    Args:
        max_keypoints: at most so many, strongest first.
        fast_threshold: gray levels by which the ring must differ from its center.
    """

    max_keypoints: PositiveInt = 500
    fast_threshold: GrayLevels = 20

    def __call__(self, image: np.ndarray) -> np.ndarray:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        found = cv2.FastFeatureDetector.create(self.fast_threshold).detect(gray, None)
        return _strongest(found, self.max_keypoints, "place")


def _strongest(keypoints: Sequence[cv2.KeyPoint], count: int, frame: Frame) -> np.ndarray:
    """The strongest keypoints as frames, one for each place (and orientation, if these count)."""
    rows = [(*point.pt, point.size, point.angle, point.response) for point in keypoints]
    table = np.array(rows, np.float64).reshape(-1, 5)
    x, y, _, angle, response = table.T
    # Ties are broken by position, since the order of OpenCV's threads varies.
    table = table[np.lexsort((angle, y, x, -response))]
    same = [0, 1, 3] if frame == "orientation" else [0, 1]
    _, first = np.unique(table[:, same], axis=0, return_index=True)
    return table[np.sort(first)[:count], : 2 + get_args(Frame).index(frame)]
