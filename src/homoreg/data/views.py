"""Pixels of the two views of a pair, read from files or rendered from the photograph."""

import numpy as np

from homoreg.data.images import read_image
from homoreg.data.manifest import Pair
from homoreg.data.warp import render
from homoreg.errors import HomoregError


def read_view1(pair: Pair) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB.

    Raises:
        HomoregError: the file cannot be read, or its size differs from the manifest's.
    """
    return _of_size(read_image(pair.img1), pair.size1, str(pair.img1))


def read_view2(pair: Pair) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB: the stored view, or else the photograph warped again.

    The two are equal up to the losses of a JPEG file.

    Raises:
        HomoregError: the file cannot be read, or its size differs from the manifest's.
    """
    if pair.img2 is None:
        return _render(pair, read_view1(pair))
    return _of_size(read_image(pair.img2), pair.size2, str(pair.img2))


def view2_around(
    pair: Pair, photo: np.ndarray, center: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Render the part of view 2 that a window around a point needs.

    Args:
        pair: with the homography and the parameters of its warp.
        photo: view 1, ``(H, W, 3)`` uint8.
        center: ``(2,)`` x, y of the point in view 2, pixels.
        reach: largest distance in x or y of the window's pixels from the point.

    Returns:
        The part, ``(h, w, 3)`` uint8, and the point in it, ``(2,)``.
    """
    blur = pair.parameters["blur_kernel"] or 1
    reach = reach + 1 + blur // 2
    size = np.array(pair.size2)
    low = np.clip(np.floor(center - reach).astype(int), 0, size - 1)
    high = np.clip(np.ceil(center + reach).astype(int) + 1, low + 1, size)
    return _render(pair, photo, (*low.tolist(), *(high - low).tolist())), center - low


def _render(
    pair: Pair, photo: np.ndarray, window: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    assert pair.homography is not None  # a pair without one has both files
    return render(photo, pair.homography, pair.parameters, border=pair.border, window=window)


def _of_size(image: np.ndarray, size: tuple[int, int], name: str) -> np.ndarray:
    width, height = size
    if image.shape != (height, width, 3):
        found = f"{image.shape[1]}×{image.shape[0]}"
        raise HomoregError(
            f"{name} has {found} pixels, in its manifest {width}×{height}: prepare the pairs again"
        )
    return image
