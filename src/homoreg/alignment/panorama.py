"""Two aligned photographs on one canvas, in the frame of photograph 2."""

from dataclasses import dataclass

import cv2
import numpy as np

from homoreg.alignment.aligner import size_of
from homoreg.data.images import limit_side
from homoreg.geometry import (
    align_back,
    corners_of,
    folds,
    inverse,
    resized_homography,
    resizing,
    transform_points,
)
from homoreg.geometry.homography import Array, Size

MAX_SIDE_PX = 4096
# How far the canvas reaches beyond photograph 2 on each side, in its longer sides. A homography can
# stretch a corner of photograph 1 much further.
REACH = 2.0


@dataclass(frozen=True)
class Canvas:
    """Both photographs in one frame.

    Attributes:
        view1, view2: ``(H, W, 3)`` uint8, the photographs as seen in the frame; black elsewhere.
        mask1, mask2: ``(H, W)`` bool, where each of them is.
        to_canvas: ``(3, 3)``, pixels of the full photograph 2 to pixels of the canvas.
    """

    view1: np.ndarray
    view2: np.ndarray
    mask1: np.ndarray
    mask2: np.ndarray
    to_canvas: Array


def place_on_canvas(
    image1: np.ndarray, image2: np.ndarray, homography: Array, max_side_px: int = MAX_SIDE_PX
) -> Canvas:
    """Photograph 2, and photograph 1 warped onto it, in a frame that holds both.

    Args:
        image1, image2: ``(H, W, 3)`` uint8 RGB.
        homography: ``(3, 3)``, photograph 1 to photograph 2.
        max_side_px: a larger canvas is reduced to this longer side. What lies further from
            photograph 2 than twice its longer side is cut off.
    """
    full1, full2 = size_of(image1), size_of(image2)
    low, high = _frame(homography, full1, full2)
    scale = min(1.0, max_side_px / float((high - low).max()))
    # Reduced before they are warped, so that nothing aliases.
    image1 = limit_side(image1, max(1, round(scale * max(full1))))
    image2 = limit_side(image2, max(1, round(scale * max(full2))))
    size1, size2 = size_of(image1), size_of(image2)
    shift = np.eye(3)
    shift[:2, 2] = -np.floor(scale * low)
    reduced = resized_homography(homography, full1, size1, full2, size2)
    width, height = np.maximum(np.ceil(scale * high) - np.floor(scale * low), 1).astype(int)
    view1, mask1 = align_back(image1, inverse(shift @ reduced), (width, height))
    view2, mask2 = align_back(image2, inverse(shift), (width, height))
    return Canvas(view1, view2, mask1, mask2, shift @ resizing(full2, size2))


def _frame(homography: Array, size1: Size, size2: Size) -> tuple[Array, Array]:
    """Lowest and highest x, y of both photographs in pixels of photograph 2, within reach."""
    limit = REACH * max(size2)
    corners = transform_points(corners_of(size1), homography)
    if folds(homography, size1):
        corners = np.array([[-np.inf, -np.inf], [np.inf, np.inf]])
    both = np.vstack([corners, corners_of(size2)])
    low = np.maximum(both.min(axis=0), -limit)
    high = np.minimum(both.max(axis=0), np.add(size2, limit))
    return low, high + 1  # a pixel reaches half a pixel beyond its center on either side


def panorama(
    image1: np.ndarray, image2: np.ndarray, homography: Array, max_side_px: int = MAX_SIDE_PX
) -> np.ndarray:
    """Both photographs on one canvas, blended where they overlap.

    Each photograph's weight grows with the distance from its border, so that no seam shows
    (feathering; Szeliski, *Image alignment and stitching*, 2006).
    """
    canvas = place_on_canvas(image1, image2, homography, max_side_px)
    weights = [_distance_to_border(mask) for mask in (canvas.mask1, canvas.mask2)]
    return cv2.blendLinear(canvas.view1, canvas.view2, *weights)


def _distance_to_border(mask: np.ndarray) -> np.ndarray:
    """``(H, W)`` float32 distance of each pixel of a mask to the outside, pixels."""
    padded = np.pad(mask.astype(np.uint8), 1)
    return cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
