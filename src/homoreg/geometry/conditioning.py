"""How far a homography can be trusted, from the matches that its final solve used.

With ``A h = 0`` and a perturbation E of A, ``‖δh‖ ≤ ‖E h‖/σ8``: σ8 belongs to the configuration of
the points, σ9 to the residual of the fit. The covariance follows Criminisi, Reid and Zisserman,
*A plane measuring device* (Image and Vision Computing 1999), and HZ chapter 5: independent noise of
equal size in x and y of both views, to first order.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import f as f_distribution

from homoreg.geometry.homography import (
    RANK_TOLERANCE,
    Array,
    Size,
    as_points,
    corners_of,
    design_matrix,
    design_rank,
    folds,
    hartley_normalization,
    nine_singular_values,
    transform_points,
    undo_normalization,
)

# Below this many matches the estimated noise is itself so noisy that a 95 % ellipse drawn with the
# normal quantile covers clearly less than 95 % (0.75 at N = 5, 0.89 at 8, 0.93 at 12).
FEW_MATCHES = 12

Degeneracy = Literal[
    "none", "too_few_matches", "not_finite", "coincident", "collinear", "too_few_distinct", "rank"
]


@dataclass(frozen=True)
class Conditioning:
    """Everything that matches and homography say about the homography's stability.

    NaN stands for what does not exist: every number of the matrix below 4 matches or where
    coordinates are not finite, every number of the noise at N = 4 or without a homography.

    Attributes:
        kappa: σ1/σ8 of the Hartley-normalized matrix, ≥ 1: how well the points determine H;
            infinite for a degenerate configuration.
        fit_gap: σ8/σ9 of the same matrix: signal over residual; infinite for an exact fit.
        kappa_raw: σ1/σ8 of the matrix in raw pixels; infinite for a degenerate configuration.
        kappa_notebook: see :func:`kappa_notebook`; of the matches given here.
        noise_px: estimated standard deviation of each coordinate's noise, pixels.
        dop: RMS corner error for one pixel of noise (dilution of precision); infinite for a
            degenerate configuration and for a map that folds view 1.
        predicted_corner_error_px: ``noise_px · dop``, the expected RMS of the corner errors.
        hull_fraction: area of the convex hull of the points in view 1 over the view's.
        scatter_1, scatter_2: ``(2,)`` eigenvalues of the points' covariance in each view, px²,
            the larger first.
        singular_values: ``(9,)`` of the Hartley-normalized matrix, descending.
        rank: of that matrix but for its residual; 8 means one homography.
        degeneracy: why there is not one homography, see :func:`diagnose`.
        folds: the homography sends a line of view 1 to infinity.
        few_matches: fewer than 12, where normal 95 % ellipses are too small.
        covariance: ``(9, 9)`` of h (H row by row, in the scale given, free to move at right angles
            to h) at the estimated noise.
        corner_covariances: ``(4, 2, 2)`` px² of view 1's corners in view 2, at the estimated noise.
    """

    kappa: float
    fit_gap: float
    kappa_raw: float
    kappa_notebook: float
    noise_px: float
    dop: float
    predicted_corner_error_px: float
    hull_fraction: float
    scatter_1: Array
    scatter_2: Array
    singular_values: Array
    rank: int
    degeneracy: Degeneracy
    folds: bool
    few_matches: bool
    covariance: Array
    corner_covariances: Array


@np.errstate(all="ignore")
def conditioning(
    points1: ArrayLike, points2: ArrayLike, homography: ArrayLike | None, size1: Size
) -> Conditioning:
    """Judge a homography by the matches that its final solve used.

    Args:
        points1, points2: ``(N, 2)`` corresponding pixels, inliers only for a robust estimate.
        homography: ``(3, 3)`` view 1 to view 2, or None for a failed estimate.
        size1: (width, height) of view 1, whose corners are predicted.

    Returns:
        A :class:`Conditioning`. Bad data never raises.

    >>> square = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
    >>> judged = conditioning(square, 2 * square, np.diag([2, 2, 1]), (10, 10))
    >>> round(judged.kappa, 3), judged.fit_gap, round(judged.dop, 3), judged.noise_px
    (2.803, inf, 3.162, nan)
    """
    points1, points2 = as_points(points1), as_points(points2)
    count = len(points1)
    degeneracy, values = configuration(points1, points2)
    raw = raw_singular_values(points1, points2)
    determined = degeneracy == "none"

    noise_px, dop = np.nan, np.nan
    covariance, corners = np.full((9, 9), np.nan), np.full((4, 2, 2), np.nan)
    if homography is not None and np.isfinite(values).all():
        dop = np.inf
        if determined:
            noise_px = noise_level(points1, points2, homography)
            unit = homography_covariance(points1, points2, homography)
            unit_corners = corner_covariances(homography, unit, size1)
            dop = dilution_of_precision(unit_corners)
            covariance, corners = noise_px**2 * unit, noise_px**2 * unit_corners
    # An exact fit leaves σ9 at the rounding of the solve and not at 0.
    exact = values[8] <= 2 * count * np.finfo(float).eps * values[0]
    return Conditioning(
        # A degenerate configuration's σ8 is rounding; NaN · inf stays NaN where there is no matrix.
        kappa=float(values[0] / values[7] if determined else values[0] * np.inf),
        fit_gap=float(np.inf if exact else values[7] / values[8]) if determined else np.nan,
        kappa_raw=float(raw[0] / raw[7] if determined else raw[0] * np.inf),
        kappa_notebook=_largest_over_smallest(raw, count),
        noise_px=noise_px,
        dop=dop,
        predicted_corner_error_px=dop if np.isinf(dop) else noise_px * dop,
        hull_fraction=hull_fraction(points1, size1),
        scatter_1=scatter_eigenvalues(points1),
        scatter_2=scatter_eigenvalues(points2),
        singular_values=values,
        rank=design_rank(values),
        degeneracy=degeneracy,
        folds=homography is not None and folds(homography, size1),
        few_matches=count < FEW_MATCHES,
        covariance=covariance,
        corner_covariances=corners,
    )


@np.errstate(all="ignore")
def configuration(points1: ArrayLike, points2: ArrayLike) -> tuple[Degeneracy, Array]:
    """The diagnosis of ``(N, 2)`` correspondences (see :func:`diagnose`) and what it rests on.

    Returns:
        The diagnosis and the nine singular values of the Hartley-normalized matrix, NaN where
        there is none.
    """
    points1, points2 = as_points(points1), as_points(points2)
    values = np.full(9, np.nan)
    if len(points1) < 4:
        return "too_few_matches", values
    if not (np.isfinite(points1).all() and np.isfinite(points2).all()):
        return "not_finite", values
    normalized1, _ = hartley_normalization(points1)
    normalized2, _ = hartley_normalization(points2)
    values, _ = nine_singular_values(design_matrix(normalized1, normalized2))
    if not np.isfinite(values).all():
        return "not_finite", values
    if (points1 == points1[0]).all() or (points2 == points2[0]).all():
        return "coincident", values
    # A homography keeps lines, so points on a line in one view only contradict any invertible map.
    for normalized in (normalized1, normalized2):
        larger, smaller = scatter_eigenvalues(normalized)
        if smaller < RANK_TOLERANCE**2 * larger:
            return "collinear", values
    if design_rank(values) == 8:
        return "none", values
    distinct = len(np.unique(np.hstack([points1, points2]), axis=0))
    return ("too_few_distinct" if distinct < 4 else "rank"), values


def diagnose(points1: ArrayLike, points2: ArrayLike) -> Degeneracy:
    """Why ``(N, 2)`` correspondences do not determine a homography, or "none".

    "too_few_matches": N < 4; "not_finite": NaN, infinite, or beyond float64 when multiplied;
    "coincident": all points of a view are one; "collinear": they lie on one line;
    "too_few_distinct": fewer than four different correspondences; "rank": any other configuration
    of rank below 8, such as all points but one on a line.

    >>> diagnose([[0, 0], [1, 1], [2, 2], [5, 5]], [[0, 0], [1, 2], [2, 4], [5, 10]])
    'collinear'
    """
    return configuration(points1, points2)[0]


@np.errstate(all="ignore")
def kappa_notebook(points1: ArrayLike, points2: ArrayLike) -> float:
    """The study's condition number: largest over smallest singular value of the raw matrix.

    At N > 4 that is σ1/σ9, which measures the residual; at N = 4 the matrix has eight singular
    values and it is σ1/σ8. NaN below 4 matches or for coordinates that are not finite.
    """
    points1 = as_points(points1)
    return _largest_over_smallest(raw_singular_values(points1, points2), len(points1))


@np.errstate(all="ignore")
def raw_singular_values(points1: ArrayLike, points2: ArrayLike) -> Array:
    """The nine singular values of the matrix in raw pixels, descending; NaN where there is none."""
    points1, points2 = as_points(points1), as_points(points2)
    if len(points1) < 4:
        return np.full(9, np.nan)
    return nine_singular_values(design_matrix(points1, points2))[0]


@np.errstate(all="ignore")
def scatter_eigenvalues(points: ArrayLike) -> Array:
    """Eigenvalues ``(2,)`` of the covariance of ``(N, 2)`` points, px², the larger first.

    >>> scatter_eigenvalues([[0, 0], [4, 0], [4, 2], [0, 2]])
    array([4., 1.])
    """
    points = as_points(points)
    if len(points) == 0:
        return np.full(2, np.nan)
    centered = points - points.mean(axis=0)
    (xx, xy), (_, yy) = centered.T @ centered / len(points)
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return np.array([middle + half, max(middle - half, 0.0)])


def hull_fraction(points: ArrayLike, size: Size) -> float:
    """Area of the convex hull of ``(N, 2)`` points over the area between the view's corners.

    Above 1 for points outside the view; NaN for coordinates that are not finite and for a view
    without an area (a side of 1 pixel).

    >>> hull_fraction([[0, 0], [5, 0], [5, 10], [0, 10]], (11, 11))
    0.5
    """
    points = as_points(points)
    far_corner = np.subtract(size, 1.0)
    if not far_corner.all() or not np.isfinite(points).all():
        return float("nan")
    if len(points) < 3:
        return 0.0
    in_views = np.clip(points / far_corner, -1e9, 1e9).astype(np.float32)
    # OpenCV finds no hull of points that are all 0 but for a sign: −0 + 0 is 0.
    return cv2.contourArea(cv2.convexHull(in_views + np.float32(0)))


@np.errstate(all="ignore")
def noise_level(points1: ArrayLike, points2: ArrayLike, homography: ArrayLike) -> float:
    """Estimated standard deviation of a coordinate's noise in pixels, from the residuals.

    ``√(Σ rᵢᵀ Sᵢ⁻¹ rᵢ / (2N − 8))`` with the residual r in view 2 and S = I + B Bᵀ, which carries
    the noise of view 1 along. NaN at N = 4, where some homography fits exactly.
    """
    points1, points2 = as_points(points1), as_points(points2)
    freedom = 2 * len(points1) - 8
    if freedom <= 0:
        return float("nan")
    residuals = points2 - transform_points(points1, homography)
    whitened = _whiteners(points1, homography) @ residuals[..., None]
    return float(np.sqrt((whitened**2).sum() / freedom))


@np.errstate(all="ignore")
def homography_covariance(points1: ArrayLike, points2: ArrayLike, homography: ArrayLike) -> Array:
    """Covariance ``(9, 9)`` of h at one pixel of noise in each coordinate of both views.

    ``Q (Qᵀ M Q)⁻¹ Qᵀ`` with ``M = Σ Jᵢᵀ Sᵢ⁻¹ Jᵢ`` and Q the complement of h. M in pixels has a
    condition number near 1e12, so a square root of it is solved in normalized coordinates and the
    result carried back.
    """
    points1, points2 = as_points(points1), as_points(points2)
    homography = np.asarray(homography, np.float64)
    normalized1, transform1 = hartley_normalization(points1)
    _, transform2 = hartley_normalization(points2)
    normalized = transform2 @ homography @ undo_normalization(transform1)
    # The residuals of normalized coordinates are those in pixels times transform2's scale.
    whiteners = _whiteners(points1, homography) / transform2[0, 0]
    rows = whiteners @ parameter_jacobian(normalized1, normalized)
    values, vectors = nine_singular_values(rows.reshape(-1, 9))
    # The ninth direction is h itself, since J h = 0: the other eight are its complement.
    directions = (vectors[:8] / values[:8, None]).reshape(8, 3, 3)
    moves = (undo_normalization(transform2) @ directions @ transform1).reshape(8, 9)
    unit = homography.ravel() / np.linalg.norm(homography)
    moves -= np.outer(moves @ unit, unit)
    return moves.T @ moves


def corner_covariances(homography: ArrayLike, covariance: ArrayLike, size1: Size) -> Array:
    """Covariances ``(4, 2, 2)`` in view 2 of view 1's corners under an uncertain homography.

    ``J Σ Jᵀ``; infinite where the homography folds the view.
    """
    if folds(homography, size1):
        return np.full((4, 2, 2), np.inf)
    jacobian = parameter_jacobian(corners_of(size1), homography)
    return jacobian @ np.asarray(covariance) @ np.swapaxes(jacobian, -1, -2)


def dilution_of_precision(corner_covariances: ArrayLike) -> float:
    """Root of the mean trace of ``(4, 2, 2)`` corner covariances: an RMS corner error."""
    return float(np.sqrt(np.trace(np.asarray(corner_covariances), axis1=-2, axis2=-1).mean()))


@np.errstate(all="ignore")
def parameter_jacobian(points1: ArrayLike, homography: ArrayLike) -> Array:
    """Derivative ``(N, 2, 9)`` of the mapped points with respect to h (H row by row)."""
    points1, homography = as_points(points1), np.asarray(homography, np.float64)
    depth = points1 @ homography[2, :2] + homography[2, 2]
    ray = np.column_stack([points1, np.ones(len(points1))]) / depth[:, None]
    jacobian = np.zeros((len(points1), 2, 9))
    jacobian[:, 0, 0:3] = jacobian[:, 1, 3:6] = ray
    jacobian[:, :, 6:9] = -transform_points(points1, homography)[:, :, None] * ray[:, None]
    return jacobian


@np.errstate(all="ignore")
def point_jacobian(points1: ArrayLike, homography: ArrayLike) -> Array:
    """Derivative ``(N, 2, 2)`` of the mapped points with respect to the points."""
    points1, homography = as_points(points1), np.asarray(homography, np.float64)
    depth = points1 @ homography[2, :2] + homography[2, 2]
    mapped = transform_points(points1, homography)
    return (homography[:2, :2] - mapped[:, :, None] * homography[2, :2]) / depth[:, None, None]


def ellipse_points(
    center: ArrayLike, covariance: ArrayLike, match_count: int, probability: float = 0.95
) -> Array:
    """The closed outline ``(65, 2)`` of a confidence ellipse, in pixels, for drawing.

    The noise was estimated from ``2N − 8`` degrees of freedom, so the radius comes from Fisher's F:
    unlike the normal quantile it covers ``probability`` at few matches too.

    Args:
        center: ``(2,)``, such as a corner's place in view 2.
        covariance: ``(2, 2)`` px² at the estimated noise.
        match_count: N of the solve; at 4 there is no estimate, and the outline is NaN.
        probability: of the ellipse to hold the true place.
    """
    radius = np.sqrt(2 * f_distribution.ppf(probability, 2, 2 * match_count - 8))
    angles = np.linspace(0, 2 * np.pi, 65)
    covariance = np.asarray(covariance, np.float64)
    if not np.isfinite(covariance).all():
        return np.full((len(angles), 2), np.nan)
    variances, axes = np.linalg.eigh(covariance)
    deviations = np.sqrt(np.maximum(variances, 0))
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    return np.asarray(center, np.float64) + radius * (circle * deviations) @ axes.T


def _whiteners(points1: Array, homography: ArrayLike) -> Array:
    """``(N, 2, 2)`` matrices W with ``Wᵀ W = S⁻¹``, S = I + B Bᵀ the covariance of a residual.

    W is the inverse of S's Cholesky factor, written out: numpy's loop over 2×2 matrices would cost
    more than everything else.
    """
    b = point_jacobian(points1, homography)
    (b11, b12), (b21, b22) = b[:, 0].T, b[:, 1].T
    xx, xy, yy = 1 + b11**2 + b12**2, b11 * b21 + b12 * b22, 1 + b21**2 + b22**2
    # xx·yy − xy² without its cancellation.
    determinant = xx + yy - 1 + (b11 * b22 - b12 * b21) ** 2
    whiteners = np.zeros_like(b)
    whiteners[:, 0, 0] = 1 / np.sqrt(xx)
    whiteners[:, 1, 1] = np.sqrt(xx / determinant)
    whiteners[:, 1, 0] = -whiteners[:, 1, 1] * xy / xx
    return whiteners


def _largest_over_smallest(values: Array, count: int) -> float:
    smallest = values[7] if count == 4 else values[8]
    return float(np.inf) if smallest == 0 else float(values[0] / smallest)
