"""View 2 aligned with view 1, and how similar the two are where both are valid."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from homoreg.geometry.homography import Size, folds, in_front

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
        The aligned image ``(H1, W1, ...)`` uint8, black where it is not valid, and the mask
        ``(H1, W1)`` bool of the valid pixels: those interpolated from inside view 2, without a rim
        of one pixel and without what lies beyond the horizon. Occluded pixels are valid.
    """
    width, height = size1
    aligned = np.zeros((height, width, *image2.shape[2:]), np.uint8)
    matrix = None if homography is None else np.asarray(homography, np.float64)
    if matrix is None or not np.isfinite(matrix).all():
        return aligned, np.zeros((height, width), bool)
    # WARP_INVERSE_MAP: the matrix maps pixels of the result to pixels of the source, as H does.
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    ones = np.full(image2.shape[:2], 255, np.uint8)
    inside = cv2.warpPerspective(ones, matrix, size1, flags=flags)
    mask = cv2.erode((inside == 255).view(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    if folds(matrix, size1):
        rows, columns = np.nonzero(mask)
        mask[mask] = in_front(np.column_stack([columns, rows]), matrix, size1)
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
    """Structural similarity (SSIM) of the luminances (Wang et al. 2004).

    Args:
        image1, image2: ``(H, W, 3)`` RGB or ``(H, W)``, uint8.
        mask: ``(H, W)`` bool.

    Returns:
        The mean of the SSIM map over the pixels whose whole 11×11 window is in the mask, in
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
class ViewComparison:
    """How well view 2, aligned by a homography, fits view 1.

    Attributes:
        rmse_gray: RMS difference over the valid pixels and RGB, gray levels 0–255; NaN without any.
        ssim: mean structural similarity, -1 to 1; NaN without a whole valid window.
        overlap_fraction: the share of view 1's pixels that are valid, 0 to 1.
    """

    rmse_gray: float
    ssim: float
    overlap_fraction: float


def compare_aligned(image1: Image, image2: Image, homography: ArrayLike | None) -> ViewComparison:
    """Align view 2 with view 1 by H and compare the two where both are valid.

    The identity and the true H give reference values for an estimate. For a failed estimate (None)
    the overlap is 0 and the rest NaN.
    """
    aligned, mask = align_back(image2, homography, (image1.shape[1], image1.shape[0]))
    return ViewComparison(
        rmse_gray=masked_rmse(image1, aligned, mask),
        ssim=masked_ssim(image1, aligned, mask),
        overlap_fraction=float(mask.mean()) if mask.size else 0.0,
    )


def rmse_notebook_gray(image1: Image, image2: Image, homography: ArrayLike | None) -> float:
    """The study's RMSE, kept for comparison: it warps view 2 by H a second time.

    H maps view 1 to view 2, so ``warpPerspective(view2, H)`` warps in the wrong direction. The RMSE
    is over the whole frame, black borders included. Gray levels, 0–255; NaN for a failed estimate.
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
