"""Homographies between two views: apply, normalize, solve by DLT, compare.

``homography`` is a 3×3 matrix that maps view 1 to view 2, ``x2 ~ H x1``; its scale has no meaning.
Points are ``x, y`` pixels with the center of the first pixel at (0, 0); sizes are (width, height).
Where a shape starts with ``...`` any number of leading axes solves that many problems at once.
HZ is Hartley and Zisserman, *Multiple View Geometry*, 2nd edition.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Size = tuple[int, int]

# Keypoints are known to float32 at best: points on a line but for that rounding leave σ8/σ1 of the
# normalized matrix at 1e-8 to 3e-7, points 0.1 px off a line of 500 px at 1e-5.
RANK_TOLERANCE = 1e-6


def as_points(points: ArrayLike) -> Array:
    """Points as float64 ``(..., N, 2)``, an empty list as ``(0, 2)``; ValueError for the rest."""
    array = np.asarray(points, np.float64)
    if array.shape == (0,):
        return array.reshape(0, 2)
    if array.ndim < 2 or array.shape[-1] != 2:
        raise ValueError(f"points must be (..., N, 2), got {array.shape}")
    return array


@np.errstate(all="ignore")
def transform_points(points: ArrayLike, homography: ArrayLike) -> Array:
    """Apply a homography to points.

    Args:
        points: ``(..., N, 2)`` pixels.
        homography: ``(..., 3, 3)``.

    Returns:
        ``(..., N, 2)`` float64 pixels. A point that goes to infinity is not finite (inf or NaN);
        one that passes beyond infinity comes back finite on the other side (see :func:`folds`).

    >>> transform_points([[2.0, 3.0]], [[1, 0, 10], [0, 1, 20], [0, 0, 2]])
    array([[ 6. , 11.5]])
    """
    points = as_points(points)
    homography = np.asarray(homography, np.float64)
    mapped = points @ np.swapaxes(homography[..., :2], -1, -2)
    mapped += homography[..., None, :, 2]
    return mapped[..., :2] / mapped[..., 2:]


def hartley_normalization(
    points: ArrayLike, weights: ArrayLike | None = None
) -> tuple[Array, Array]:
    """Move the centroid to the origin and the mean distance from it to √2 (HZ 4.4.4).

    Args:
        points: ``(..., N, 2)`` pixels, N ≥ 1.
        weights: ``(..., N)`` ≥ 0; a weight of 2 counts as the point given twice. Default: all 1.

    Returns:
        The normalized points ``(..., N, 2)`` and the similarity ``(..., 3, 3)`` that makes them.
        Coincident points are centered and keep their scale.

    >>> normalized, transform = hartley_normalization([[0, 0], [4, 0], [4, 4], [0, 4]])
    >>> normalized
    array([[-1., -1.],
           [ 1., -1.],
           [ 1.,  1.],
           [-1.,  1.]])
    """
    points = as_points(points)
    if weights is None:
        shares = np.full(points.shape[:-1], 1 / points.shape[-2])
    else:
        weights = np.asarray(weights, np.float64)
        shares = weights / weights.sum(axis=-1, keepdims=True)
    # Seen from the first point, so that coincident points have a distance of exactly 0.
    first = points[..., :1, :]
    centroid = first[..., 0, :] + np.einsum("...n,...nd->...d", shares, points - first)
    centered = points - centroid[..., None, :]
    distance = np.einsum("...n,...n->...", shares, np.hypot(centered[..., 0], centered[..., 1]))
    scale = np.sqrt(2) / np.where(distance > 0, distance, np.sqrt(2))
    transform = np.zeros((*scale.shape, 3, 3))
    transform[..., 0, 0] = transform[..., 1, 1] = scale
    transform[..., :2, 2] = -scale[..., None] * centroid
    transform[..., 2, 2] = 1
    return centered * scale[..., None, None], transform


def design_matrix(points1: Array, points2: Array, weights: Array | None = None) -> Array:
    """The matrix A of ``A h = 0``, all rows for x2 before all rows for y2 (HZ 4.1).

    Args:
        points1, points2: ``(..., N, 2)``.
        weights: ``(..., N)`` ≥ 0; rows are scaled by their square roots.

    Returns:
        ``(..., 2N, 9)``; ``h`` is H row by row.
    """
    count = points1.shape[-2]
    matrix = np.zeros((*np.broadcast_shapes(points1.shape, points2.shape)[:-2], 2 * count, 9))
    for axis in (0, 1):
        rows = matrix[..., axis * count : (axis + 1) * count, :]
        rows[..., 3 * axis : 3 * axis + 2] = points1
        rows[..., 3 * axis + 2] = 1
        rows[..., 6:8] = -points2[..., axis, None] * points1
        rows[..., 8] = -points2[..., axis]
    if weights is not None:
        matrix *= np.sqrt(np.concatenate([weights, weights], axis=-1))[..., None]
    return matrix


def nine_singular_values(matrix: Array) -> tuple[Array, Array]:
    """Singular values ``(..., 9)``, descending, and right vectors ``(..., 9, 9)`` in rows.

    An 8×9 matrix (N = 4) always has a null vector, so its σ9 is 0. The matrix is reduced by QR
    first: as exact as the SVD of the whole, and its cost hardly grows with N. AᵀA would square the
    condition number.
    """
    triangle = np.linalg.qr(matrix, mode="r")
    finite = np.asarray(np.isfinite(triangle).all(axis=(-1, -2)))
    # LAPACK refuses the whole stack for one NaN; the others have a solution.
    _, values, vectors = np.linalg.svd(np.where(finite[..., None, None], triangle, 0.0))
    nine = np.zeros((*values.shape[:-1], 9))
    nine[..., : values.shape[-1]] = values
    nine[~finite] = np.nan
    vectors[~finite] = np.nan
    return nine, vectors


@dataclass(frozen=True)
class DltFit:
    """A least-squares homography and the singular values of the matrix that was solved.

    Attributes:
        homography: ``(..., 3, 3)``, h33 = 1 where h33 is not 0, else of unit norm.
        singular_values: ``(..., 9)``, descending; the ninth is 0 at N = 4.
    """

    homography: Array
    singular_values: Array


@np.errstate(all="ignore")  # coordinates near the end of float64 give inf or NaN, as documented
def dlt_homography(
    points1: ArrayLike,
    points2: ArrayLike,
    *,
    normalize: bool = True,
    weights: ArrayLike | None = None,
) -> DltFit:
    """Direct linear transformation: the ``h`` of unit norm that minimizes ``‖A h‖`` (HZ 4.1, 4.4).

    Args:
        points1, points2: ``(..., N, 2)`` corresponding pixels, N ≥ 4.
        normalize: solve in Hartley-normalized coordinates; without it the raw pixels of the study.
        weights: ``(..., N)`` ≥ 0; a weight of 2 counts as the correspondence given twice.

    Returns:
        A :class:`DltFit`. Points that do not determine a homography still give one null vector out
        of many (ask :func:`design_rank`); coordinates that are not finite, or
        overflow when multiplied, give NaN.

    Raises:
        ValueError: shapes that do not fit, N < 4, or a negative weight.

    >>> square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    >>> fit = dlt_homography(square, [[5, 0], [7, 0], [7, 2], [5, 2]])
    >>> fit.homography.round(6) + 0.0
    array([[2., 0., 5.],
           [0., 2., 0.],
           [0., 0., 1.]])
    """
    points1, points2 = as_points(points1), as_points(points2)
    if points1.shape[-2] != points2.shape[-2] or points1.shape[-2] < 4:
        raise ValueError(
            f"a homography needs 4 correspondences or more, got {points1.shape} and {points2.shape}"
        )
    if weights is not None:
        weights = np.asarray(weights, np.float64)
        if weights.shape[-1:] != points1.shape[-2:-1] or (weights < 0).any():
            raise ValueError("weights must be (..., N), one for each correspondence, none below 0")
    if not normalize:
        values, vectors = nine_singular_values(design_matrix(points1, points2, weights))
        return DltFit(scaled(_as_matrix(vectors[..., 8, :])), values)
    normalized1, transform1 = hartley_normalization(points1, weights)
    normalized2, transform2 = hartley_normalization(points2, weights)
    values, vectors = nine_singular_values(design_matrix(normalized1, normalized2, weights))
    homography = _as_matrix(vectors[..., 8, :])
    return DltFit(scaled(undo_normalization(transform2) @ homography @ transform1), values)


def design_rank(singular_values: Array, tolerance: float = RANK_TOLERANCE) -> int:
    """How many of the first eight singular values ``(9,)`` are above ``tolerance · σ1``.

    Eight: the points determine one homography. Less: a family of them. The ninth value is the
    residual of the fit and says nothing about the points.

    >>> design_rank(np.array([3.0, 3, 2, 2, 1, 1, 1, 1e-15, 0]))
    7
    """
    return int((singular_values[:8] > tolerance * singular_values[0]).sum())


@np.errstate(all="ignore")
def undo_normalization(transform: Array) -> Array:
    """The inverse ``(..., 3, 3)`` of a transform that :func:`hartley_normalization` made."""
    undone = np.zeros_like(transform)
    undone[..., 0, 0] = undone[..., 1, 1] = 1 / transform[..., 0, 0]
    undone[..., :2, 2] = -transform[..., :2, 2] / transform[..., 0, 0, None]
    undone[..., 2, 2] = 1
    return undone


@np.errstate(all="ignore")
def scaled(homography: ArrayLike) -> Array:
    """Scale ``(..., 3, 3)`` to h33 = 1, or to unit norm where h33 is 0 but for rounding."""
    matrix = np.asarray(homography, np.float64)
    # By the largest entry first: the norm of entries beyond 1e154 would overflow.
    matrix = matrix / np.abs(matrix).max(axis=(-1, -2), keepdims=True)
    norm = np.sqrt((matrix**2).sum(axis=(-1, -2), keepdims=True))
    h33 = matrix[..., 2:, 2:]
    return matrix / np.where(np.abs(h33) > 1e-14 * norm, h33, norm)


def inverse(homography: ArrayLike) -> Array:
    """The inverse map ``(..., 3, 3)`` up to scale: the adjugate, which a singular H has as well."""
    row1, row2, row3 = np.moveaxis(np.asarray(homography, np.float64), -2, 0)
    columns = (np.cross(row2, row3), np.cross(row3, row1), np.cross(row1, row2))
    return np.stack(columns, axis=-1)


def resizing(old: Size, new: Size) -> Array:
    """How points move ``(3, 3)`` when a view is resized: ``x → s·x + (s − 1)/2`` on each axis.

    Centers of pixels count, as in OpenCV's ``resize``.

    >>> transform_points([[0, 0], [3, 1]], resizing((4, 2), (2, 2))).tolist()
    [[-0.25, 0.0], [1.25, 1.0]]
    """
    sx, sy = new[0] / old[0], new[1] / old[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def corners_of(size: Size) -> Array:
    """The corners ``(4, 2)`` of a view, clockwise from the top left, at pixel centers.

    >>> corners_of((640, 480)).tolist()
    [[0.0, 0.0], [639.0, 0.0], [639.0, 479.0], [0.0, 479.0]]
    """
    right, bottom = size[0] - 1, size[1] - 1
    return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)


def folds(homography: ArrayLike, size: Size) -> bool:
    """Whether the line that H sends to infinity touches the view (or H is not finite).

    Such a map tears the view apart: third coordinates change sign inside it.
    """
    matrix = np.asarray(homography, np.float64)
    depth = corners_of(size) @ matrix[2, :2] + matrix[2, 2]
    same_side = (depth > 0).all() or (depth < 0).all()
    return not (same_side and np.isfinite(matrix).all())


@np.errstate(all="ignore")
def corner_errors(homography: ArrayLike | None, truth: ArrayLike, size1: Size) -> Array:
    """Distances between the corners of view 1 under an estimate and under the truth.

    Returns:
        ``(4,)`` pixels of view 2, clockwise from the top left. All four are infinite for a failed
        estimate (None), for one that folds the view, and where the truth does.
    """
    if homography is None or folds(homography, size1) or folds(truth, size1):
        return np.full(4, np.inf)
    corners = corners_of(size1)
    offset = transform_points(corners, homography) - transform_points(corners, truth)
    distance = np.hypot(offset[:, 0], offset[:, 1])
    return np.where(np.isfinite(distance), distance, np.inf)


def corner_error(homography: ArrayLike | None, truth: ArrayLike, size1: Size) -> float:
    """Mean of :func:`corner_errors` in pixels; infinite for a failure.

    >>> corner_error([[1, 0, 3], [0, 1, 4], [0, 0, 1]], np.eye(3), (640, 480))
    5.0
    """
    return float(corner_errors(homography, truth, size1).mean())


@np.errstate(over="ignore")
def corner_error_rms(homography: ArrayLike | None, truth: ArrayLike, size1: Size) -> float:
    """Root mean square of :func:`corner_errors`: what a predicted corner error is held against."""
    return float(np.sqrt(np.mean(corner_errors(homography, truth, size1) ** 2)))


@np.errstate(all="ignore")
def symmetric_transfer_error(
    points1: ArrayLike, points2: ArrayLike, homography: ArrayLike
) -> Array:
    """``d(x1, H⁻¹x2)² + d(x2, Hx1)²`` of each correspondence (HZ eq. 4.7).

    Returns:
        ``(N,)`` squared pixels, infinite where a point goes to infinity or H has no inverse.
    """
    points1, points2 = as_points(points1), as_points(points2)
    forward = transform_points(points1, homography) - points2
    backward = transform_points(points2, inverse(homography)) - points1
    error = (forward**2).sum(axis=-1) + (backward**2).sum(axis=-1)
    return np.where(np.isfinite(error), error, np.inf)


def overlap_fraction(homography: ArrayLike, size1: Size, size2: Size) -> float:
    """The share of view 1's area that H puts inside view 2, in [0, 1].

    The rectangle of view 1 is clipped against the four borders of view 2 and against the line that
    goes to infinity. All five are straight in view 1, so the area is exact, folding maps included
    (what counts is the side of the line that holds view 1's center).

    >>> overlap_fraction([[1, 0, 320], [0, 1, 0], [0, 0, 1]], (641, 481), (641, 481))
    0.5007...
    """
    matrix = np.asarray(homography, np.float64)
    if not np.isfinite(matrix).all():
        return 0.0
    if matrix[2] @ [(size1[0] - 1) / 2, (size1[1] - 1) / 2, 1] < 0:
        matrix = -matrix
    # Pixels are squares: a view reaches half a pixel beyond the centers of its border pixels.
    outline = corners_of((size1[0] + 1, size1[1] + 1)) - 0.5
    polygon = np.column_stack([outline, np.ones(4)])
    x, y, w = matrix
    for line in (w, x + w / 2, (size2[0] - 0.5) * w - x, y + w / 2, (size2[1] - 0.5) * w - y):
        polygon = _clipped(polygon, line)
    return float(min(_area(polygon) / (size1[0] * size1[1]), 1.0))


def _clipped(polygon: Array, line: Array) -> Array:
    """The part ``(M, 3)`` of a convex polygon of homogeneous points where ``line · x ≥ 0``."""
    kept: list[Array] = []
    side = polygon @ line
    for i, (start, a) in enumerate(zip(polygon, side, strict=True)):
        end, b = polygon[i - len(polygon) + 1], side[i - len(polygon) + 1]
        if a >= 0:
            kept.append(start)
        if (a > 0 > b) or (a < 0 < b):
            kept.append(start + (end - start) * (a / (a - b)))
    return np.array(kept).reshape(-1, 3)


def _area(polygon: Array) -> float:
    """Area of a polygon ``(M, 3)`` of homogeneous points with third coordinate 1 (shoelace)."""
    x, y = polygon[:, 0], polygon[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _as_matrix(h: Array) -> Array:
    return h.reshape(*h.shape[:-1], 3, 3)
