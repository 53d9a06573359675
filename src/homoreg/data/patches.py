"""Patches around points: the one function that training, evaluation and the notebooks cut with."""

import cv2
import numpy as np

from homoreg.errors import HomoregError


def cut_patches(image: np.ndarray, points: np.ndarray, *, support: int, size: int) -> np.ndarray:
    """Cut a square window around each point and bring it to the network's size.

    The window is centred on the point to a fraction of a pixel (bilinear); what lies outside the
    image repeats its edge. Reducing averages over areas, so that nothing aliases.

    Args:
        image: ``(H, W, 3)`` uint8.
        points: ``(N, 2)`` x, y in pixels; finite.
        support: side of the window in pixels of the photo.
        size: side of the patch in pixels.

    Returns:
        ``(N, size, size, 3)`` uint8.

    >>> image = np.arange(100, dtype=np.uint8).repeat(3).reshape(10, 10, 3)
    >>> cut_patches(image, np.array([[4.0, 5.0]]), support=3, size=3)[0, :, :, 0]
    array([[43, 44, 45], [53, 54, 55], [63, 64, 65]], dtype=uint8)
    """
    patches = np.empty((len(points), size, size, 3), np.uint8)
    # Farther out nothing changes but the number, which OpenCV must be able to hold.
    height, width = image.shape[:2]
    points = np.clip(points, -support, (width + support, height + support))
    # OpenCV's window reader needs room for its interpolation, which a one-pixel image lacks.
    if min(image.shape[:2]) < 2:
        image = cv2.copyMakeBorder(image, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
    shrink = cv2.INTER_AREA if support >= size else cv2.INTER_LINEAR
    for patch, (x, y) in zip(patches, points.tolist(), strict=True):
        window = cv2.getRectSubPix(image, (support, support), (x, y))
        if support == size:
            patch[:] = window
        else:
            cv2.resize(window, (size, size), dst=patch, interpolation=shrink)
    return patches


def inside_image(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``(N,)`` bool: which of ``(N, 2)`` points lie on the image; NaN and infinity do not."""
    height, width = image.shape[:2]
    return np.all((points >= 0) & (points <= (width - 1, height - 1)), axis=1)


def check_patch_options(support: int, size: int, jitter_px: float) -> None:
    """HomoregError, in one line, for sizes that cannot be cut."""
    if size < 8:
        raise HomoregError(f"patch.size={size}: the network needs at least 8 pixels")
    if not 2 <= support <= 1024:
        raise HomoregError(f"patch.support={support}: give a window of 2 to 1024 pixels")
    if jitter_px < 0:
        raise HomoregError(f"patch.jitter_px={jitter_px}: give 0 or more pixels")
