"""Keypoints as frames: a place and, where the detector knows them, a scale and an orientation.

A frame is a row of ``(N, 2)`` x, y, of ``(N, 3)`` x, y, scale, or of ``(N, 4)`` x, y, scale,
orientation. The scale is the keypoint's diameter in pixels, OpenCV's ``KeyPoint.size``. The
orientation is in degrees, clockwise as seen, from the x axis toward the y axis, OpenCV's
``KeyPoint.angle``.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from homoreg.errors import HomoregError

Detector = Callable[[np.ndarray], np.ndarray]


def detect_frames(detector: Detector, image: np.ndarray, option: str) -> np.ndarray:
    """The keypoints that a detector finds in an image, ``(N, 2 to 4)`` float64; all finite.

    Args:
        detector: maps ``(H, W, 3)`` uint8 RGB to keypoints.
        image: the image.
        option: that chose the detector, for the message.

    Raises:
        HomoregError: the detector returned something else than keypoints.
    """
    found = detector(image)
    try:
        frames = as_frames(found)
    except ValueError as error:
        kind: Any = detector if inspect.isroutine(detector) else type(detector)
        raise HomoregError(
            f"{option}._target_={kind.__module__}.{kind.__qualname__} returned {error}; give "
            "(N, 2) x, y in pixels, or frames (N, 3) or (N, 4)"
        ) from error
    return frames[np.isfinite(frames).all(1)]


def as_frames(keypoints: object) -> np.ndarray:
    """Keypoints as ``(N, 2)``, ``(N, 3)`` or ``(N, 4)`` float64.

    Raises:
        ValueError: another shape or type, or a scale that is not positive; it says what was given.
    """
    try:
        frames = np.asarray(keypoints, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a {type(keypoints).__name__}") from error
    if frames.ndim != 2 or frames.shape[1] not in (2, 3, 4):
        raise ValueError(f"keypoints of shape {frames.shape}")
    if (frames[:, 2:3] <= 0).any():
        raise ValueError("keypoints with a scale that is not positive")
    return frames


def transform_frames(frames: np.ndarray, homographies: np.ndarray) -> np.ndarray:
    """Carry frames from view 1 to view 2.

    Near a point, a homography is an affine map with the Jacobian J: the scale is multiplied by
    √|det J|, and the orientation is that of the image of its direction under J.

    Args:
        frames: ``(N, 2)``, ``(N, 3)`` or ``(N, 4)``.
        homographies: ``(3, 3)``, or ``(N, 3, 3)``, one per frame. The last entry is positive.

    Returns:
        Frames of the same shape; NaN for those behind the horizon.

    >>> turn_and_double = np.array([[0.0, -2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> transform_frames(np.array([[3.0, 1.0, 5.0, 10.0]]), turn_and_double).round(9).tolist()
    [[-2.0, 6.0, 10.0, 100.0]]
    """
    h = np.broadcast_to(homographies, (len(frames), 3, 3))
    x, y, depth = np.einsum("nij,nj->in", h[:, :, :2], frames[:, :2]) + h[:, :, 2].T
    depth = np.where(depth > 0, depth, np.nan)
    carried = frames.copy()
    carried[:, 0], carried[:, 1] = x / depth, y / depth
    if frames.shape[1] == 2:
        return carried
    jacobian = h[:, :2, :2] - carried[:, :2, None] * h[:, 2:, :2]
    jacobian = jacobian / depth[:, None, None]
    (a, b), (c, d) = jacobian.transpose(1, 2, 0)
    carried[:, 2] *= np.sqrt(np.abs(a * d - b * c))
    if frames.shape[1] == 4:
        angle = np.deg2rad(frames[:, 3])
        direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        x, y = np.einsum("nij,nj->in", jacobian, direction)
        carried[:, 3] = np.rad2deg(np.arctan2(y, x)) % 360
    return carried
