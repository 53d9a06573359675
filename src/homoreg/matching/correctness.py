"""Errors of matches and repeatability of keypoints under the true homography."""

import numpy as np
from scipy.spatial import cKDTree

from homoreg.geometry import transform_points


def match_errors(points1: np.ndarray, points2: np.ndarray, homography: np.ndarray) -> np.ndarray:
    """Distance of each match from its true place in view 2, ``‖H x1 − x2‖``.

    Args:
        points1: ``(K, 2)`` pixels of view 1.
        points2: ``(K, 2)`` pixels of view 2, matched row by row.
        homography: ``(3, 3)``, the truth, view 1 to view 2.

    Returns:
        ``(K,)`` float64 pixels ≥ 0; inf where the true place is at infinity.

    >>> match_errors(np.array([[1.0, 2.0]]), np.array([[4.0, 6.0]]), np.eye(3))
    array([5.])
    """
    errors = np.linalg.norm(transform_points(points1, homography) - points2, axis=1)
    return np.where(np.isfinite(errors), errors, np.inf)


def true_matches(
    keypoints1: np.ndarray,
    keypoints2: np.ndarray,
    homography: np.ndarray,
    threshold_px: float = 3.0,
) -> np.ndarray:
    """The matches of an ideal descriptor: mutual nearest keypoints under the true homography.

    Args:
        keypoints1: ``(N, 2)`` pixels of view 1.
        keypoints2: ``(M, 2)`` pixels of view 2.
        homography: ``(3, 3)``, the truth, view 1 to view 2.
        threshold_px: largest distance from the true place in view 2.

    Returns:
        ``(K, 2)`` int64, rows of ``keypoints1`` and ``keypoints2``.

    >>> true_matches(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[1.2, 0.0]]), np.eye(3)).tolist()
    [[1, 0]]
    """
    places = transform_points(keypoints1, homography)
    rows1 = np.flatnonzero(np.isfinite(places).all(1))
    if not len(rows1) or not len(keypoints2):
        return np.empty((0, 2), np.int64)
    distances, nearest2 = cKDTree(keypoints2).query(places[rows1])
    _, nearest1 = cKDTree(places[rows1]).query(keypoints2)
    mutual = nearest1[nearest2] == np.arange(len(rows1))
    kept = mutual & (distances <= threshold_px)
    return np.column_stack([rows1[kept], nearest2[kept]]).astype(np.int64)


def repeatable_count(
    keypoints1: np.ndarray,
    keypoints2: np.ndarray,
    homography: np.ndarray,
    threshold_px: float = 3.0,
) -> int:
    """Number of keypoints of view 1 with a keypoint of view 2 close to their true place.

    A descriptor cannot match more: ``recall_3px``, correct matches over this number, is at most 1.

    Args:
        keypoints1: ``(N, 2)`` pixels of view 1.
        keypoints2: ``(M, 2)`` pixels of view 2.
        homography: ``(3, 3)``, the truth, view 1 to view 2.
        threshold_px: largest distance.

    >>> repeatable_count(np.array([[0.0, 0.0], [50.0, 50.0]]), np.array([[2.0, 0.0]]), np.eye(3))
    1
    """
    places = transform_points(keypoints1, homography)
    places = places[np.isfinite(places).all(1)]
    if len(places) == 0 or len(keypoints2) == 0:
        return 0
    distances, _ = cKDTree(keypoints2).query(places)
    return int((distances <= threshold_px).sum())
