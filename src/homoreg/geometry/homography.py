"""Homographies between two views: apply and compare them.

``homography`` is a 3×3 matrix that maps view 1 to view 2, ``x2 ~ H x1``; its scale is arbitrary.
Points are ``x, y`` pixels with the center of the first pixel at (0, 0); sizes are (width, height).
The *horizon* of a homography is the line of view 1 that it sends to infinity.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Size = tuple[int, int]


def as_points(points: ArrayLike) -> Array:
    """Points as float64 ``(..., N, 2)``, an empty list as ``(0, 2)``.

    Raises:
        ValueError: any other shape.
    """
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
        ``(..., N, 2)`` float64 pixels. A point on the horizon is not finite (inf or NaN); one
        beyond it is finite but on the wrong side (see :func:`in_front`).

    >>> transform_points([[2.0, 3.0]], [[1, 0, 10], [0, 1, 20], [0, 0, 2]])
    array([[ 6. , 11.5]])
    """
    points = as_points(points)
    homography = np.asarray(homography, np.float64)
    mapped = points @ np.swapaxes(homography[..., :2], -1, -2)
    mapped += homography[..., None, :, 2]
    return mapped[..., :2] / mapped[..., 2:]


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
    """The inverse map ``(..., 3, 3)`` up to scale: the adjugate, which exists for any matrix."""
    row1, row2, row3 = np.moveaxis(np.asarray(homography, np.float64), -2, 0)
    columns = (np.cross(row2, row3), np.cross(row3, row1), np.cross(row1, row2))
    return np.stack(columns, axis=-1)


def resizing(old: Size, new: Size) -> Array:
    """How points move ``(3, 3)`` when a view is resized: ``x → s·x + (s − 1)/2`` on each axis.

    This is the convention of OpenCV's ``resize``.

    >>> transform_points([[0, 0], [3, 1]], resizing((4, 2), (2, 2))).tolist()
    [[-0.25, 0.0], [1.25, 1.0]]
    """
    sx, sy = new[0] / old[0], new[1] / old[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def quarter_turn(size: Size, turn_deg: int) -> Array:
    """How points move ``(3, 3)`` when a view is turned counterclockwise by 0, 90, 180 or 270°.

    Pixels move as in ``numpy.rot90``.

    >>> transform_points([[0, 0], [3, 1]], quarter_turn((4, 2), 90)).tolist()
    [[0.0, 3.0], [1.0, 0.0]]
    """
    right, bottom = size[0] - 1, size[1] - 1
    turns = {
        0: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        90: [[0, 1, 0], [-1, 0, right], [0, 0, 1]],
        180: [[-1, 0, right], [0, -1, bottom], [0, 0, 1]],
        270: [[0, -1, bottom], [1, 0, 0], [0, 0, 1]],
    }
    return np.array(turns[turn_deg], np.float64)


def resized_homography(
    homography: ArrayLike, old1: Size, new1: Size, old2: Size, new2: Size
) -> Array:
    """The homography ``(3, 3)``, up to scale, between the two views after each is resized.

    It converts a homography found at a working size to the full images.

    Args:
        homography: ``(3, 3)`` between views of the sizes ``old1`` and ``old2``.
        old1, new1: (width, height) of view 1 before and after.
        old2, new2: (width, height) of view 2 before and after.

    >>> shift = np.array([[1, 0, 5], [0, 1, 0], [0, 0, 1]])
    >>> full = resized_homography(shift, (100, 50), (400, 200), (100, 50), (400, 200))
    >>> transform_points([[0, 0]], full).tolist()
    [[20.0, 0.0]]
    """
    return resizing(old2, new2) @ np.asarray(homography) @ inverse(resizing(old1, new1))


def resized_covariance(
    covariance: ArrayLike, old1: Size, new1: Size, old2: Size, new2: Size
) -> Array:
    """The covariance ``(9, 9)`` of what :func:`resized_homography` returns, row by row.

    Args:
        covariance: ``(9, 9)`` of the homography before the views are resized.
        old1, new1, old2, new2: sizes as in :func:`resized_homography`.
    """
    change = np.kron(resizing(old2, new2), inverse(resizing(old1, new1)).T)
    return change @ np.asarray(covariance) @ change.T


def corners_of(size: Size) -> Array:
    """The corners ``(4, 2)`` of a view, clockwise from the top left, at pixel centers.

    >>> corners_of((640, 480)).tolist()
    [[0.0, 0.0], [639.0, 0.0], [639.0, 479.0], [0.0, 479.0]]
    """
    right, bottom = size[0] - 1, size[1] - 1
    return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float64)


@np.errstate(all="ignore")
def in_front(points1: ArrayLike, homography: ArrayLike, size1: Size) -> NDArray[np.bool_]:
    """Which points of view 1 are on the same side of the horizon as the view's center.

    What lies beyond the horizon is not visible in view 2, although H gives it a place there.

    Args:
        points1: ``(N, 2)`` pixels.
        homography: ``(3, 3)``, view 1 to view 2.
        size1: (width, height) of view 1.

    Returns:
        ``(N,)`` bool, False on the horizon itself.

    >>> in_front([[0, 0], [9, 0]], [[1, 0, 0], [0, 1, 0], [-0.2, 0, 1]], (7, 7))
    array([ True, False])
    """
    depth = _oriented(homography, size1)[2]
    return as_points(points1) @ depth[:2] + depth[2] > 0


def folds(homography: ArrayLike, size: Size) -> bool:
    """Whether the horizon touches the view, which tears it apart, or H is not finite."""
    return not (
        np.isfinite(homography).all() and in_front(corners_of(size), homography, size).all()
    )


@np.errstate(all="ignore")
def corner_errors(homography: ArrayLike | None, truth: ArrayLike, size1: Size) -> Array:
    """Distances between the corners of view 1 under an estimate and under the truth.

    Returns:
        ``(4,)`` pixels of view 2, clockwise from the top left. All four are infinite for a failed
        estimate (None) and where the estimate or the truth folds the view.
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
    """Root mean square of :func:`corner_errors`, to compare with a predicted corner error."""
    return float(np.sqrt(np.mean(corner_errors(homography, truth, size1) ** 2)))


def overlap_fraction(homography: ArrayLike, size1: Size, size2: Size) -> float:
    """The share of view 1's area that H maps into view 2, in [0, 1].

    The rectangle of view 1 is clipped by the borders of view 2 and by the horizon, all straight
    lines of view 1, so the area is exact. Only the side of the horizon with view 1's center counts.

    >>> overlap_fraction([[1, 0, 320], [0, 1, 0], [0, 0, 1]], (641, 481), (641, 481))
    0.5007...
    """
    if not np.isfinite(homography).all():
        return 0.0
    # Pixels are squares: a view reaches half a pixel beyond the centers of its border pixels.
    outline = corners_of((size1[0] + 1, size1[1] + 1)) - 0.5
    polygon = np.column_stack([outline, np.ones(4)])
    x, y, w = _oriented(homography, size1)
    for line in (w, x + w / 2, (size2[0] - 0.5) * w - x, y + w / 2, (size2[1] - 0.5) * w - y):
        polygon = _clip(polygon, line)
    return float(min(_area(polygon) / (size1[0] * size1[1]), 1.0))


def _oriented(homography: ArrayLike, size1: Size) -> Array:
    """H or −H, so that the third coordinate of view 1's center is not negative."""
    matrix = np.asarray(homography, np.float64)
    center = (size1[0] - 1) / 2, (size1[1] - 1) / 2
    return -matrix if matrix[2] @ [*center, 1] < 0 else matrix


def _clip(polygon: Array, line: Array) -> Array:
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
