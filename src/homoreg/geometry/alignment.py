"""View 2 brought back onto view 1, and how alike the two are where both exist."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from homoreg.geometry.homography import Size, folds

Image = NDArray[Any]
Mask = NDArray[np.bool_]

SSIM_RADIUS = 5  # an 11×11 window with σ = 1.5, as in Wang et al., IEEE TIP 2004
SSIM_SIGMA = 1.5


def align_back(image2: Image, homography: ArrayLike | None, size1: Size) -> tuple[Image, Mask]:
    """View 2 as seen from view 1: pixel x of the result is view 2 at ``H x``.

    Args:
        image2: ``(H2, W2, 3)`` or ``(H2, W2)`` uint8.
        homography: ``(3, 3)``, view 1 to view 2. None or not finite: nothing is valid.
        size1: (width, height) of view 1.

    Returns:
        The aligned image ``(H1, W1, ...)`` uint8, black where nothing is known, and the mask
        ``(H1, W1)`` bool of the pixels that were interpolated from inside view 2, without a rim of
        one pixel and without what lies beyond infinity. Occluded pixels stay in.
    """
    width, height = size1
    aligned = np.zeros((height, width, *image2.shape[2:]), np.uint8)
    matrix = None if homography is None else np.asarray(homography, np.float64)
    if matrix is None or not np.isfinite(matrix).all():
        return aligned, np.zeros((height, width), bool)
    # WARP_INVERSE_MAP: the matrix is taken from the result's pixels to the source's, as H is.
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    ones = np.full(image2.shape[:2], 255, np.uint8)
    inside = cv2.warpPerspective(ones, matrix, size1, flags=flags)
    mask = cv2.erode((inside == 255).view(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if folds(matrix, size1):
        depth = matrix[2, 0] * np.arange(width) + matrix[2, 2]
        depth = depth + matrix[2, 1] * np.arange(height)[:, None]
        mask &= depth * np.sign(depth.mean()) > 0  # the side that holds the view's center
    aligned[:] = cv2.warpPerspective(image2, matrix, size1, flags=flags).reshape(aligned.shape)
    aligned[~mask] = 0
    return aligned, mask


def masked_rmse(image1: Image, image2: Image, mask: Mask) -> float:
    """Root mean square difference over the masked pixels and all channels.

    Returns:
        Gray levels, 0–255; NaN for an empty mask.

    >>> masked_rmse(np.zeros((2, 2), np.uint8), np.full((2, 2), 8, np.uint8), np.eye(2) > 0)
    8.0
    """
    values = int(mask.sum()) * (image1.size // mask.size if mask.size else 0)
    if values == 0:
        return float("nan")
    squares = cv2.norm(image1, image2, cv2.NORM_L2SQR, mask.view(np.uint8))
    return float(np.sqrt(squares / values))


def masked_ssim(image1: Image, image2: Image, mask: Mask) -> float:
    """Structural similarity of the luminances (Wang et al. 2004), over whole valid windows.

    Args:
        image1, image2: ``(H, W, 3)`` RGB or ``(H, W)``, uint8.
        mask: ``(H, W)`` bool.

    Returns:
        The mean of the SSIM map over the pixels whose 11×11 window lies inside the mask, in
        [-1, 1]; NaN where there is none.
    """
    window = np.ones((2 * SSIM_RADIUS + 1,) * 2, np.uint8)
    whole = cv2.erode(
        mask.view(np.uint8), window, borderType=cv2.BORDER_CONSTANT, borderValue=0
    ).astype(bool)
    if not whole.any():
        return float("nan")
    gray1, gray2 = _luminance(image1), _luminance(image2)
    mean1, mean2 = _blurred(gray1), _blurred(gray2)
    variance1 = _blurred(gray1 * gray1) - mean1 * mean1
    variance2 = _blurred(gray2 * gray2) - mean2 * mean2
    covariance = _blurred(gray1 * gray2) - mean1 * mean2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean1 * mean2 + c1) * (2 * covariance + c2)) / (
        (mean1 * mean1 + mean2 * mean2 + c1) * (variance1 + variance2 + c2)
    )
    return float(similarity[whole].mean(dtype=np.float64))


@dataclass(frozen=True)
class Alignment:
    """How well view 2, brought back by a homography, fits view 1.

    Attributes:
        rmse_gray: RMS over the common pixels and RGB, gray levels 0–255; NaN without any.
        ssim: mean structural similarity of the common part, -1 to 1; NaN without a whole window.
        overlap_fraction: the share of view 1's pixels that are common, 0 to 1.
    """

    rmse_gray: float
    ssim: float
    overlap_fraction: float


def compare_aligned(image1: Image, image2: Image, homography: ArrayLike | None) -> Alignment:
    """Bring view 2 back onto view 1 by H and compare where both are valid.

    The identity and the true H give the two reference rows of any estimate. None stands for a
    failed estimate: nothing overlaps, and nothing can be said of the rest.
    """
    aligned, mask = align_back(image2, homography, (image1.shape[1], image1.shape[0]))
    return Alignment(
        rmse_gray=masked_rmse(image1, aligned, mask),
        ssim=masked_ssim(image1, aligned, mask),
        overlap_fraction=float(mask.mean()) if mask.size else 0.0,
    )


def rmse_notebook_gray(image1: Image, image2: Image, homography: ArrayLike | None) -> float:
    """The study's RMSE, kept for comparison: view 2 warped *again* by H, over the whole frame.

    H maps view 1 to view 2, and ``warpPerspective(view2, H)`` moves view 2 a second time the same
    way; black borders count as errors. Gray levels, 0–255; NaN for a failed estimate.
    """
    if homography is None or not np.isfinite(homography).all():
        return float("nan")
    size1 = (image1.shape[1], image1.shape[0])
    warped = cv2.warpPerspective(image2, np.asarray(homography, np.float64), size1)
    everything = np.ones(image1.shape[:2], bool)
    return masked_rmse(image1, warped.reshape(image1.shape), everything)


def _luminance(image: Image) -> Image:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    return gray.astype(np.float32)


def _blurred(image: Image) -> Image:
    return cv2.GaussianBlur(image, (2 * SSIM_RADIUS + 1,) * 2, SSIM_SIGMA)
