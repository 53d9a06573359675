"""Cutting of patches around points, for training, evaluation and notebooks alike."""

from collections.abc import Sequence

import cv2
import numpy as np

from homoreg.errors import HomoregError


def cut_patches(
    image: np.ndarray | Sequence[np.ndarray], points: np.ndarray, *, support: int, size: int
) -> np.ndarray:
    """Cut a square window around each point and resize it to the network's input.

    Windows are centered with subpixel accuracy (bilinear interpolation) and replicate the image's
    edge outside it. Reduction averages over areas, without aliasing.

    Args:
        image: ``(H, W, 3)`` uint8, or one such image for each point.
        points: ``(N, 2)`` x, y in pixels; finite.
        support: side of the window in pixels of the photo.
        size: side of the patch in pixels.

    Returns:
        ``(N, size, size, 3)`` uint8.

    >>> image = np.arange(100, dtype=np.uint8).repeat(3).reshape(10, 10, 3)
    >>> cut_patches(image, np.array([[4.0, 5.0]]), support=3, size=3)[0, :, :, 0]
    array([[43, 44, 45], [53, 54, 55], [63, 64, 65]], dtype=uint8)
    """
    # OpenCV writes into this array; at 32 pixels a copy would cost as much as the reduction.
    patches = np.empty((len(points), size, size, 3), np.uint8)
    images = [image] * len(points) if isinstance(image, np.ndarray) else image
    sizes = np.array([source.shape[1::-1] for source in images]).reshape(-1, 2)
    # Farther out nothing changes, and OpenCV's integers do not overflow.
    centers = np.clip(points, -support, sizes + support).astype(np.float32)
    corners = np.floor(centers - (support - 1) / 2).astype(int)
    corners = np.clip(corners, 0, np.maximum(sizes - 2, 0))
    window_size, patch_size = (support, support), (size, size)
    window = np.empty((*window_size, 3), np.uint8)
    shrink = cv2.INTER_AREA if support >= size else cv2.INTER_LINEAR
    for source, (x, y), center, patch in zip(
        images, corners.tolist(), (centers - corners).tolist(), patches, strict=True
    ):
        # A contiguous copy is faster than OpenCV's access to distant rows.
        area = source[y : y + support + 1, x : x + support + 1].copy()
        # OpenCV's interpolation needs two pixels in each direction.
        if 1 in area.shape:
            area = cv2.copyMakeBorder(area, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
        if support == size:
            cv2.getRectSubPix(area, window_size, center, patch)
        else:
            cv2.getRectSubPix(area, window_size, center, window)
            cv2.resize(window, patch_size, patch, interpolation=shrink)
    return patches


def inside_image(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """``(N,)`` bool, whether ``(N, 2)`` points lie on the image; False for NaN and infinity."""
    height, width = image.shape[:2]
    return np.all((points >= 0) & (points <= (width - 1, height - 1)), axis=1)


def check_patch_options(support: int, size: int, jitter_px: float) -> None:
    """Raise HomoregError for sizes that cannot be cut."""
    if size < 8:
        raise HomoregError(f"patch.size={size}: the network needs at least 8 pixels")
    if not 2 <= support <= 1024:
        raise HomoregError(f"patch.support={support}: give a window of 2 to 1024 pixels")
    if jitter_px < 0:
        raise HomoregError(f"patch.jitter_px={jitter_px}: give 0 or more pixels")
