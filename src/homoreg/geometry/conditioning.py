"""How well a homography is determined by the matches of its final solve.

With ``A h = 0`` and a perturbation E of A, ``‖δh‖ ≤ ‖E h‖/σ8``: σ8 belongs to the configuration of
the points, σ9 to the residual of the fit. There are two covariances of h, both to first order:

- "plugin" assumes independent noise of equal size in x and y of both views, and estimates that size
  from the residuals. It is right for inliers. Criminisi, Reid and Zisserman, *A plane measuring
  device* (Image and Vision Computing 1999), and HZ chapter 5.
- "sandwich" takes the noise of each match from its own residual, and so holds where some matches
  are wrong. White, *Maximum likelihood estimation of misspecified models* (Econometrica 1982), with
  the small-sample correction CR2 of Bell and McCaffrey (Survey Methodology 2002).
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import f as f_distribution

from homoreg.geometry.dlt import (
    Configuration,
    Degeneracy,
    decompose,
    undo_normalization,
)
from homoreg.geometry.homography import (
    Array,
    Size,
    as_points,
    corners_of,
    folds,
    transform_points,
)

# From fewer matches the noise is known poorly, so that figures and verdicts say so: a 95 % ellipse
# with the normal quantile would hold for 75 % at 5 matches, 89 % at 8 and 93 % at 12.
FEW_MATCHES = 12

Covariance = Literal["plugin", "sandwich"]


@dataclass(frozen=True)
class Conditioning:
    """The stability of a homography, as far as its matches tell.

    NaN where a number does not exist: all but ``hull_fraction`` below 4 matches or where
    coordinates are not finite, all that depend on the noise at N = 4 or without a homography.

    Attributes:
        kappa: σ1/σ8 of the Hartley-normalized matrix, ≥ 1: how well the points determine H;
            infinite for a degenerate configuration.
        fit_gap: σ8/σ9 of the same matrix: signal over residual; infinite for an exact fit.
        kappa_raw: σ1/σ8 of the matrix in raw pixels; infinite for a degenerate configuration.
        kappa_notebook: see :func:`kappa_notebook`; of the matches given here.
        noise_px: estimated standard deviation of each coordinate's noise, pixels; see
            :func:`noise_level` for that of a weighted fit.
        dop: RMS corner error for one pixel of noise (dilution of precision); infinite for a
            degenerate configuration and for a homography that folds view 1.
        predicted_corner_error_px: the expected RMS of the corner errors, from the covariance asked
            for; ``noise_px · dop`` with "plugin".
        hull_fraction: area of the convex hull of the points in view 1 over that of the view.
        singular_values: ``(9,)`` of the Hartley-normalized matrix, descending.
        degeneracy: see :attr:`Configuration.degeneracy`.
        folds: the horizon of the homography touches view 1.
        covariance: ``(9, 9)`` of h (H row by row, in the scale given), in the directions orthogonal
            to h.
        corner_covariances: ``(4, 2, 2)`` px² of view 1's corners in view 2.
    """

    kappa: float
    fit_gap: float
    kappa_raw: float
    kappa_notebook: float
    noise_px: float
    dop: float
    predicted_corner_error_px: float
    hull_fraction: float
    singular_values: Array
    degeneracy: Degeneracy
    folds: bool
    covariance: Array
    corner_covariances: Array


@np.errstate(all="ignore")
def conditioning(
    points1: ArrayLike,
    points2: ArrayLike,
    homography: ArrayLike | None,
    size1: Size,
    configuration: Configuration | None = None,
    covariance: Covariance = "plugin",
) -> Conditioning:
    """Compute the :class:`Conditioning` of a homography. Bad data never raises.

    Args:
        points1, points2: ``(N, 2)`` corresponding pixels: the matches that the final solve used.
        homography: ``(3, 3)``, view 1 to view 2, or None for a failed estimate.
        size1: (width, height) of view 1, whose corners are predicted.
        configuration: of these matches, if the estimate has it: their weights, and what is
            decomposed already.
        covariance: "plugin" where all matches are right but for noise, as the inliers of a robust
            estimate; "sandwich" where some may be wrong, as for a plain DLT.

    >>> square = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
    >>> numbers = conditioning(square, 2 * square, np.diag([2, 2, 1]), (10, 10))
    >>> round(numbers.kappa, 3), numbers.fit_gap, round(numbers.dop, 3), numbers.noise_px
    (2.803, inf, 3.162, nan)
    """
    matches = configuration or Configuration(points1, points2)
    count = len(matches.points1)
    values, raw = matches.normalized[0], matches.raw[0]
    determined = matches.degeneracy == "none"

    noise_px = dop = predicted_px = np.nan
    spread, corners = np.full((9, 9), np.nan), np.full((4, 2, 2), np.nan)
    if homography is not None and np.isfinite(values).all():
        dop = predicted_px = np.inf
        if determined:
            noise_px = noise_level(matches.points1, matches.points2, homography, matches.weights)
            unit = homography_covariance(matches, homography)
            dop = dilution_of_precision(corner_covariances(homography, unit, size1))
            plugin = covariance == "plugin"
            spread = noise_px**2 * unit if plugin else _sandwich_covariance(matches, homography)
            corners = corner_covariances(homography, spread, size1)
            predicted_px = dilution_of_precision(corners)
    # An exact fit leaves rounding errors in σ9.
    exact = values[8] <= 2 * count * np.finfo(float).eps * values[0]
    return Conditioning(
        # σ8 of a degenerate configuration is rounding; NaN · inf stays NaN without a matrix.
        kappa=float(values[0] / values[7] if determined else values[0] * np.inf),
        fit_gap=float(np.inf if exact else values[7] / values[8]) if determined else np.nan,
        kappa_raw=float(raw[0] / raw[7] if determined else raw[0] * np.inf),
        kappa_notebook=_largest_over_smallest(matches),
        noise_px=noise_px,
        dop=dop,
        predicted_corner_error_px=predicted_px,
        hull_fraction=hull_fraction(matches.points1, size1),
        singular_values=values,
        degeneracy=matches.degeneracy,
        folds=homography is not None and folds(homography, size1),
        covariance=spread,
        corner_covariances=corners,
    )


def kappa_notebook(points1: ArrayLike, points2: ArrayLike) -> float:
    """The study's condition number: largest over smallest singular value of the raw matrix.

    For N > 4 that is σ1/σ9, which measures the residual; for N = 4 the matrix has eight singular
    values and it is σ1/σ8. NaN below 4 matches or for coordinates that are not finite.
    """
    return _largest_over_smallest(Configuration(points1, points2))


@np.errstate(all="ignore")
def _largest_over_smallest(matches: Configuration) -> float:
    values, _ = matches.raw
    smallest = values[7] if len(matches.points1) == 4 else values[8]
    return float(np.inf) if smallest == 0 else float(values[0] / smallest)


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
    relative = np.clip(points / far_corner, -1e9, 1e9).astype(np.float32)
    # OpenCV fails on points that are all 0 with different signs: −0 + 0 is 0.
    return cv2.contourArea(cv2.convexHull(relative + np.float32(0)))


@np.errstate(all="ignore")
def noise_level(
    points1: ArrayLike, points2: ArrayLike, homography: ArrayLike, weights: ArrayLike = 1.0
) -> float:
    """Estimated standard deviation of a coordinate's noise in pixels, from the residuals.

    ``√(Σ rᵢᵀ Sᵢ⁻¹ rᵢ / (2N − 8))`` with the residual r in view 2 and S = I + B Bᵀ, which adds the
    noise of view 1. NaN at N = 4, where some homography fits exactly.

    With weights w of Cauchy's loss it is the noise under which plain least squares would be as
    uncertain: ``K √(Σ wᵢ² rᵢᵀ Sᵢ⁻¹ rᵢ / (2N − 8)) / mean(w²)``, ``K = 1 + 4/N var(w²) / mean(w²)²``
    (Huber, *Robust Statistics*, 1981, section 7.6). Over the directions of r, the derivative of
    ``w(|r|) r`` is w² on average.
    """
    points1, points2 = as_points(points1), as_points(points2)
    freedom = 2 * len(points1) - 8
    if freedom <= 0:
        return float("nan")
    residuals = points2 - transform_points(points1, homography)
    whitened = (_whiteners(points1, homography) @ residuals[..., None])[..., 0]
    weights = np.broadcast_to(weights, len(points1))
    slope = (weights**2).mean()
    correction = 1 + 4 / len(points1) * (weights**2).var() / slope**2
    scores = weights[:, None] * whitened
    return float(correction * np.sqrt((scores**2).sum() / freedom) / slope)


@np.errstate(all="ignore")
def homography_covariance(matches: Configuration, homography: ArrayLike) -> Array:
    """Covariance ``(9, 9)`` of h for one pixel of noise in each coordinate of both views.

    ``Q (Qᵀ M Q)⁻¹ Qᵀ`` with ``M = Σ Jᵢᵀ Sᵢ⁻¹ Jᵢ`` and Q the complement of h. M in pixels has a
    condition number near 1e12, so a square root of it is solved in normalized coordinates and the
    result transformed back.
    """
    normalized = _normalized(matches, homography)
    # Residuals in normalized coordinates are those in pixels times the scale of transform2.
    whiteners = _whiteners(matches.points1, homography) / matches.view2[1][0, 0]
    rows = whiteners @ parameter_jacobian(matches.view1[0], normalized)
    moves = _moves(matches, homography, *decompose(rows.reshape(-1, 9)))
    return moves.T @ moves


@np.errstate(all="ignore")
def _sandwich_covariance(matches: Configuration, homography: ArrayLike) -> Array:
    """``K⁺ (Σ gᵢ gᵢᵀ) K⁺`` with the Hessian ``K = AᵀA − σ9² I`` of ``‖A h‖²`` on the unit sphere.

    A is the normalized and weighted matrix. Match i has the rows Aᵢ ``(2, 9)``, the residuals
    ``rᵢ = Aᵢ h`` and the score ``gᵢ = Aᵢᵀ Mᵢ^(-1/2) rᵢ``, where ``Mᵢ = I − Aᵢ (AᵀA)⁺ Aᵢᵀ`` is how
    much the fit shrinks its residuals. NaN at N = 4, where there are no residuals.
    """
    count = len(matches.points1)
    if count <= 4:
        return np.full((9, 9), np.nan)
    values, vectors = matches.normalized
    x, y = (matches.matrix @ _normalized(matches, homography).ravel()).reshape(2, count)
    ux, uy = (matches.matrix @ vectors[:8].T / values[:8]).reshape(2, count, 8)
    xx, xy, yy = 1 - (ux**2).sum(axis=1), -(ux * uy).sum(axis=1), 1 - (uy**2).sum(axis=1)
    # M^(-1/2) in closed form. A match that alone fixes a direction has no residual there.
    root = np.sqrt(np.maximum(xx * yy - xy**2, 1e-12))
    norm = root * np.sqrt(xx + yy + 2 * root)
    corrected_x, corrected_y = ((yy + root) * x - xy * y) / norm, ((xx + root) * y - xy * x) / norm
    scores = ux * corrected_x[:, None] + uy * corrected_y[:, None]
    moves = scores @ _moves(matches, homography, values - values[8] ** 2 / values, vectors)
    return moves.T @ moves


def _normalized(matches: Configuration, homography: ArrayLike) -> Array:
    """The homography in normalized coordinates, in the scale given."""
    return (
        matches.view2[1] @ np.asarray(homography, np.float64) @ undo_normalization(matches.view1[1])
    )


def _moves(matches: Configuration, homography: ArrayLike, values: Array, vectors: Array) -> Array:
    """How h moves in pixels ``(8, 9)`` along eight normalized vectors, each over its value.

    The ninth vector is h itself, or nearly: the moves are orthogonal to h.
    """
    directions = (vectors[:8] / values[:8, None]).reshape(8, 3, 3)
    moves = (undo_normalization(matches.view2[1]) @ directions @ matches.view1[1]).reshape(8, 9)
    unit = np.ravel(homography) / np.linalg.norm(homography)
    return moves - np.outer(moves @ unit, unit)


def corner_covariances(homography: ArrayLike, covariance: ArrayLike, size1: Size) -> Array:
    """Covariances ``J Σ Jᵀ`` ``(4, 2, 2)`` of view 1's corners in view 2, px².

    Infinite where the homography folds the view.
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


def ellipse_points(center: ArrayLike, covariance: ArrayLike, match_count: int) -> Array:
    """The closed outline ``(65, 2)`` of a 95 % confidence ellipse, in pixels, for drawing.

    The noise was estimated with ``2N − 8`` degrees of freedom, so the radius comes from Fisher's F
    distribution. With the normal quantile 0.75 would be covered at N = 5, 0.89 at 8, 0.93 at 12.

    Args:
        center: ``(2,)``, such as a corner's place in view 2.
        covariance: ``(2, 2)`` px² at the estimated noise.
        match_count: N of the solve; at 4 there is no noise estimate, and the outline is NaN.
    """
    radius = np.sqrt(2 * f_distribution.ppf(0.95, 2, 2 * match_count - 8))
    return ellipse_outline(center, covariance, radius)


def ellipse_outline(center: ArrayLike, covariance: ArrayLike, radius: float) -> Array:
    """The closed outline ``(65, 2)`` at Mahalanobis distance ``radius``, or NaN."""
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

    W is the inverse Cholesky factor of S in closed form, much faster than numpy's loop over 2×2
    matrices.
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
