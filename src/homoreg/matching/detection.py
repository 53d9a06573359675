"""Keypoint detectors: an image in, points out, strongest first.

A detector is any callable that takes an ``(H, W, 3)`` uint8 RGB image and returns ``(N, 2)``
float64 x, y in pixels, ``(0, 2)`` for an image without keypoints.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from homoreg.errors import HomoregError

Detector = Callable[[np.ndarray], np.ndarray]

_SUBPIXEL_HALF_WINDOW = 5
_ORB_PATCH_PX = 31


def detect(detector: Detector, image: np.ndarray) -> np.ndarray:
    """The keypoints of an image, checked: ``(N, 2)`` float64, finite and read-only.

    Raises:
        HomoregError: the detector returned something else than points.
    """
    found = detector(image)
    try:
        keypoints = np.asarray(found, np.float64)
        if keypoints.ndim != 2 or keypoints.shape[1] != 2:
            raise ValueError(f"keypoints {keypoints.shape}")
    except (TypeError, ValueError) as error:
        what = error if isinstance(error, ValueError) else f"a {type(found).__name__}"
        raise HomoregError(f"detector: it returned {what}; give (N, 2) x, y in pixels") from error
    keypoints = keypoints[np.isfinite(keypoints).all(1)]
    keypoints.setflags(write=False)
    return keypoints


def image_key(image: np.ndarray) -> str:
    """The same text for the same pixels."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class CachedDetector:
    """A detector that detects once in each image, however often it is asked.

    >>> calls = []
    >>> cached = CachedDetector(lambda image: calls.append(image) or [[1.0, 2.0]])
    >>> for _ in range(2):
    ...     points = cached(np.zeros((9, 9, 3), np.uint8))
    >>> points.tolist(), len(calls)
    ([[1.0, 2.0]], 1)
    """

    detector: Detector
    _found: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        key = image_key(image)
        if key not in self._found:
            self._found[key] = detect(self.detector, image)
        return self._found[key]


@dataclass(frozen=True)
class ShiTomasi:
    """Corners with a large smaller eigenvalue of the gradient matrix (Shi and Tomasi, CVPR 1994).

    Args:
        max_keypoints: at most so many, the strongest.
        quality_level: the weakest corner kept, as a share of the strongest one's eigenvalue.
        min_distance_px: no two corners are closer.
        block_size_px: side of the window over which gradients are averaged.
        subpixel: refine whole pixels to where the gradients around point (``cornerSubPix``).

    >>> image = np.zeros((40, 50, 3), np.uint8)
    >>> image[10:30, 15:40] = 255
    >>> sorted(ShiTomasi()(image).tolist())
    [[15.0, 10.0], [15.0, 29.0], [39.0, 10.0], [39.0, 29.0]]
    """

    max_keypoints: int = 500
    quality_level: float = 0.01
    min_distance_px: float = 8
    block_size_px: int = 3
    subpixel: bool = False

    def __post_init__(self) -> None:
        _check_max_keypoints(self.max_keypoints)
        if not 0 < self.quality_level <= 1:
            raise HomoregError(
                f"detector.quality_level={self.quality_level}: give a share above 0 and up to 1"
            )
        if self.min_distance_px < 0:
            raise HomoregError(
                f"detector.min_distance_px={self.min_distance_px}: give 0 or more pixels"
            )
        if self.block_size_px < 1:
            raise HomoregError(
                f"detector.block_size_px={self.block_size_px}: give 1 or more pixels"
            )

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
    # OpenCV refuses images that its search window does not fit into.
    if min(gray.shape) < 2 * _SUBPIXEL_HALF_WINDOW + 5:
        return corners
    window = (_SUBPIXEL_HALF_WINDOW, _SUBPIXEL_HALF_WINDOW)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 0.01)
    return cv2.cornerSubPix(gray, corners, window, (-1, -1), stop)


@dataclass(frozen=True)
class SiftKeypoints:
    """Extrema of the difference of Gaussians (Lowe, IJCV 2004), by contrast.

    Only the places are used: scale and orientation are left to the descriptor.

    Args:
        max_keypoints: at most so many, the strongest.
        contrast_threshold: the weakest extremum kept, OpenCV's ``contrastThreshold``.
    """

    max_keypoints: int = 500
    contrast_threshold: float = 0.04

    def __post_init__(self) -> None:
        _check_max_keypoints(self.max_keypoints)
        if self.contrast_threshold < 0:
            raise HomoregError(
                f"detector.contrast_threshold={self.contrast_threshold}: give 0 or more"
            )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        found = cv2.SIFT.create(contrastThreshold=self.contrast_threshold).detect(gray, None)
        return _strongest_points(found, self.max_keypoints)


@dataclass(frozen=True)
class OrbKeypoints:
    """FAST corners on an image pyramid, by Harris response (Rublee et al., ICCV 2011).

    Args:
        max_keypoints: at most so many, the strongest.
        fast_threshold: gray levels by which a ring must differ from its center.
    """

    max_keypoints: int = 500
    fast_threshold: int = 20

    def __post_init__(self) -> None:
        _check_max_keypoints(self.max_keypoints)
        _check_fast_threshold(self.fast_threshold)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        # OpenCV's pyramid fails on a strip thinner than its patch, where ORB finds nothing anyway.
        if min(image.shape[:2]) < _ORB_PATCH_PX:
            return np.empty((0, 2))
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        orb = cv2.ORB.create(nfeatures=self.max_keypoints, fastThreshold=self.fast_threshold)
        return _strongest_points(orb.detect(gray, None), self.max_keypoints)


@dataclass(frozen=True)
class FastKeypoints:
    """Corners by the segment test on a ring of 16 pixels (Rosten and Drummond, ECCV 2006).

    Args:
        max_keypoints: at most so many, the strongest.
        fast_threshold: gray levels by which the ring must differ from its center.
    """

    max_keypoints: int = 500
    fast_threshold: int = 20

    def __post_init__(self) -> None:
        _check_max_keypoints(self.max_keypoints)
        _check_fast_threshold(self.fast_threshold)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        found = cv2.FastFeatureDetector.create(self.fast_threshold).detect(gray, None)
        return _strongest_points(found, self.max_keypoints)


def _strongest_points(keypoints: Sequence[cv2.KeyPoint], count: int) -> np.ndarray:
    # One point may come several times, once for each orientation: it is one place to describe.
    response_at: dict[tuple[float, float], float] = {}
    for keypoint in keypoints:
        place = (keypoint.pt[0], keypoint.pt[1])
        response_at[place] = max(keypoint.response, response_at.get(place, 0.0))
    # Equal responses go by place, so that the order of OpenCV's threads cannot show.
    places = sorted(response_at, key=lambda place: (-response_at[place], place))
    return np.array(places[:count], np.float64).reshape(-1, 2)


def _check_max_keypoints(value: int) -> None:
    if value < 1:
        raise HomoregError(f"detector.max_keypoints={value}: give 1 or more")


def _check_fast_threshold(value: int) -> None:
    if not 1 <= value <= 255:
        raise HomoregError(f"detector.fast_threshold={value}: give 1 to 255 gray levels")
