"""The direct linear transformation: solving for a homography, and when the matches determine one.

Where a shape starts with ``...``, any number of leading axes solves that many problems at once.
HZ is Hartley and Zisserman, *Multiple View Geometry*, 2nd edition.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from homoreg.geometry.homography import Array, as_points, scaled

# Keypoints have float32 precision at best. Collinear points rounded to it leave σ8/σ1 of the
# normalized matrix at 1e-8 to 3e-7; points 0.1 px off a line of 500 px leave it at 1e-5.
RANK_TOLERANCE = 1e-6

Degeneracy = Literal[
    "none", "too_few_matches", "not_finite", "coincident", "collinear", "too_few_distinct", "rank"
]


@np.errstate(all="ignore")
def hartley_normalization(points: ArrayLike) -> tuple[Array, Array]:
    """Translate the centroid to the origin and scale the mean distance from it to √2 (HZ 4.4.4).

    Args:
        points: ``(..., N, 2)`` pixels, N ≥ 1.

    Returns:
        The normalized points ``(..., N, 2)`` and the similarity ``(..., 3, 3)`` that makes them.
        Coincident points are centered but not scaled.

    >>> normalized, transform = hartley_normalization([[0, 0], [4, 0], [4, 4], [0, 4]])
    >>> normalized
    array([[-1., -1.],
           [ 1., -1.],
           [ 1.,  1.],
           [-1.,  1.]])
    """
    points = as_points(points)
    weights = np.full(points.shape[:-1], 1 / points.shape[-2])
    # Relative to the first point, so that coincident points have a distance of exactly 0.
    first = points[..., :1, :]
    centroid = first[..., 0, :] + np.einsum("...n,...nd->...d", weights, points - first)
    centered = points - centroid[..., None, :]
    distance = np.einsum("...n,...n->...", weights, np.hypot(centered[..., 0], centered[..., 1]))
    scale = np.sqrt(2) / np.where(distance > 0, distance, np.sqrt(2))
    transform = np.zeros((*scale.shape, 3, 3))
    transform[..., 0, 0] = transform[..., 1, 1] = scale
    transform[..., :2, 2] = -scale[..., None] * centroid
    transform[..., 2, 2] = 1
    return centered * scale[..., None, None], transform


@np.errstate(all="ignore")
def undo_normalization(transform: Array) -> Array:
    """The inverse ``(..., 3, 3)`` of a transform made by :func:`hartley_normalization`."""
    undone = np.zeros_like(transform)
    undone[..., 0, 0] = undone[..., 1, 1] = 1 / transform[..., 0, 0]
    undone[..., :2, 2] = -transform[..., :2, 2] / transform[..., 0, 0, None]
    undone[..., 2, 2] = 1
    return undone


@np.errstate(all="ignore")
def design_matrix(points1: Array, points2: Array) -> Array:
    """The matrix A ``(..., 2N, 9)`` of ``A h = 0``, with h = H row by row (HZ 4.1).

    The N rows for x2 come before the N rows for y2.
    """
    count = points1.shape[-2]
    matrix = np.zeros((*np.broadcast_shapes(points1.shape, points2.shape)[:-2], 2 * count, 9))
    for axis in (0, 1):
        rows = matrix[..., axis * count : (axis + 1) * count, :]
        rows[..., 3 * axis : 3 * axis + 2] = points1
        rows[..., 3 * axis + 2] = 1
        rows[..., 6:8] = -points2[..., axis, None] * points1
        rows[..., 8] = -points2[..., axis]
    return matrix


@np.errstate(all="ignore")
def decompose(matrix: Array) -> tuple[Array, Array]:
    """Singular values ``(..., 9)``, descending, and right singular vectors ``(..., 9, 9)`` in rows.

    An 8×9 matrix (N = 4) has a null vector, so its σ9 is 0. A matrix that is not finite gives NaN.
    QR comes first: it is as accurate as the SVD of the whole matrix, at a cost that hardly grows
    with N, where AᵀA would square the condition number.
    """
    triangle = np.linalg.qr(matrix, mode="r")
    finite = np.asarray(np.isfinite(triangle).all(axis=(-1, -2)))
    # LAPACK rejects the whole stack for one NaN.
    _, values, vectors = np.linalg.svd(np.where(finite[..., None, None], triangle, 0.0))
    nine = np.zeros((*values.shape[:-1], 9))
    nine[..., : values.shape[-1]] = np.abs(values)  # LAPACK can return −0.0
    nine[~finite] = np.nan
    vectors[~finite] = np.nan
    return nine, vectors


def design_rank(singular_values: Array) -> int:
    """How many of the first eight singular values ``(9,)`` exceed ``RANK_TOLERANCE · σ1``.

    Eight means that the points determine one homography, fewer that they leave a family of them.
    The ninth value is the residual of the fit and says nothing about the points.

    >>> design_rank(np.array([3.0, 3, 2, 2, 1, 1, 1, 1e-15, 0]))
    7
    """
    return int((singular_values[:8] > RANK_TOLERANCE * singular_values[0]).sum())


@dataclass(frozen=True)
class DltFit:
    """A least-squares homography and the singular values of the matrix that was solved.

    Attributes:
        homography: ``(..., 3, 3)``, h33 = 1 where h33 is not 0, else of unit norm.
        singular_values: ``(..., 9)``, descending; the ninth is 0 at N = 4.
    """

    homography: Array
    singular_values: Array


class Configuration:
    """Matches as the DLT sees them; each matrix is decomposed once, when it is first needed.

    Args:
        points1, points2: ``(..., N, 2)`` corresponding pixels. ``degeneracy`` takes one problem.
        weights: ``(..., N)`` of their squared residuals in the normalized system; 1 by default.
    """

    def __init__(
        self, points1: ArrayLike, points2: ArrayLike, weights: Array | None = None
    ) -> None:
        self.points1, self.points2 = as_points(points1), as_points(points2)
        self.weights = np.ones(self.points1.shape[:-1]) if weights is None else weights

    @cached_property
    def view1(self) -> tuple[Array, Array]:
        """:func:`hartley_normalization` of view 1."""
        return hartley_normalization(self.points1)

    @cached_property
    def view2(self) -> tuple[Array, Array]:
        """:func:`hartley_normalization` of view 2."""
        return hartley_normalization(self.points2)

    @cached_property
    def matrix(self) -> Array:
        """The Hartley-normalized :func:`design_matrix` with the root of its weight on each row."""
        roots = np.tile(np.sqrt(self.weights), 2)
        return design_matrix(self.view1[0], self.view2[0]) * roots[..., None]

    @cached_property
    def normalized(self) -> tuple[Array, Array]:
        """:func:`decompose` of the weighted and normalized matrix; NaN below 4 matches."""
        if self.points1.shape[-2] < 4:
            return np.full(9, np.nan), np.full((9, 9), np.nan)
        return decompose(self.matrix)

    @cached_property
    def raw(self) -> tuple[Array, Array]:
        """:func:`decompose` of the design matrix in raw pixels; NaN below 4 matches."""
        if self.points1.shape[-2] < 4:
            return np.full(9, np.nan), np.full((9, 9), np.nan)
        return decompose(design_matrix(self.points1, self.points2))

    @cached_property
    def degeneracy(self) -> Degeneracy:
        """Why the matches do not determine one homography, or "none".

        "too_few_matches": N < 4; "not_finite": NaN, infinite, or products overflow float64;
        "coincident": all points of a view coincide; "collinear": they lie on one line;
        "too_few_distinct": fewer than four different matches; "rank": any other configuration of
        rank below 8, such as all points but one on a line.

        >>> line = [[0, 0], [1, 2], [2, 4], [5, 10]]
        >>> Configuration(line, [[0, 0], [1, 1], [2, 2], [5, 5]]).degeneracy
        'collinear'
        """
        points1, points2 = self.points1, self.points2
        if len(points1) < 4:
            return "too_few_matches"
        values, _ = self.normalized
        if not np.isfinite(values).all():
            return "not_finite"
        if (points1 == points1[0]).all() or (points2 == points2[0]).all():
            return "coincident"
        # An invertible map keeps lines, so a line in one view alone contradicts any homography.
        for points, _ in (self.view1, self.view2):
            larger, smaller = _scatter_eigenvalues(points)
            if smaller < RANK_TOLERANCE**2 * larger:
                return "collinear"
        if design_rank(values) == 8:
            return "none"
        distinct = len(np.unique(np.hstack([points1, points2]), axis=0))
        return "too_few_distinct" if distinct < 4 else "rank"

    @np.errstate(all="ignore")
    def solve(self, *, normalize: bool = True) -> DltFit:
        """The DLT solution: see :func:`dlt_homography`."""
        values, vectors = self.normalized if normalize else self.raw
        homography = vectors[..., 8, :].reshape(*vectors.shape[:-2], 3, 3)
        if normalize:
            homography = undo_normalization(self.view2[1]) @ homography @ self.view1[1]
        return DltFit(scaled(homography), values)


def dlt_homography(points1: ArrayLike, points2: ArrayLike, *, normalize: bool = True) -> DltFit:
    """Direct linear transformation: the ``h`` of unit norm that minimizes ``‖A h‖`` (HZ 4.1, 4.4).

    Args:
        points1, points2: ``(..., N, 2)`` corresponding pixels, N ≥ 4.
        normalize: solve in Hartley-normalized coordinates rather than in raw pixels.

    Returns:
        A :class:`DltFit`. Matches that do not determine a homography still give one of many
        solutions (see :attr:`Configuration.degeneracy`); coordinates that are not finite, or
        overflow when multiplied, give NaN.

    Raises:
        ValueError: shapes do not fit, or N < 4.

    >>> square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    >>> fit = dlt_homography(square, [[5, 0], [7, 0], [7, 2], [5, 2]])
    >>> fit.homography.round(6) + 0.0
    array([[2., 0., 5.],
           [0., 2., 0.],
           [0., 0., 1.]])
    """
    matches = Configuration(points1, points2)
    shape1, shape2 = matches.points1.shape, matches.points2.shape
    if shape1[-2] != shape2[-2] or shape1[-2] < 4:
        raise ValueError(f"a homography needs 4 correspondences or more, got {shape1} and {shape2}")
    return matches.solve(normalize=normalize)


def _scatter_eigenvalues(points: Array) -> tuple[float, float]:
    """Eigenvalues of the covariance of ``(N, 2)`` centered points, the larger first."""
    (xx, xy), (_, yy) = points.T @ points / len(points)
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return middle + half, max(middle - half, 0.0)
