"""How far a homography moves when it is estimated again: the model-free check of its covariance."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from homoreg.geometry.homography import Array, Size, as_points, corners_of, folds, transform_points
from homoreg.geometry.robust import Estimate, Estimator
from homoreg.keyed import keyed_rng

Estimation = Callable[[Array, Array], Estimate]


@dataclass(frozen=True)
class Spread:
    """Where repeated estimates put the corners of view 1.

    Attributes:
        corners: ``(R, 4, 2)`` pixels of view 2; NaN for a run that failed or folds the view.
        covariances: ``(4, 2, 2)`` px² of each corner; NaN with fewer than two runs that worked.
        rms_px: root of the mean trace of the covariances: the RMS distance of a corner from its
            mean, to be held against a predicted corner error.
        failures: how many of the R runs failed.
    """

    corners: Array
    covariances: Array
    rms_px: float
    failures: int


def robust_spread(
    points1: ArrayLike,
    points2: ArrayLike,
    size1: Size,
    estimator: Estimator,
    repeats: int = 10,
) -> Spread:
    """The estimator's own variance: the same matches under ``repeats`` seeds of its sampling.

    Seeds run from ``estimator.seed`` upwards, so the first run is the estimate itself. Zero for
    "dlt" and wherever every seed ends in the same set of inliers.
    """
    points1, points2 = as_points(points1), as_points(points2)
    seeded = (replace(estimator, seed=estimator.seed + repeat) for repeat in range(repeats))
    return _spread((again(points1, points2) for again in seeded), size1)


def bootstrap_spread(
    points1: ArrayLike,
    points2: ArrayLike,
    size1: Size,
    estimator: Estimation,
    draws: int = 100,
    seed: int = 0,
) -> Spread:
    """Matches drawn with replacement, ``draws`` times, each through the whole estimator.

    Outliers are drawn like inliers, so a robust estimator's choice of inliers varies as well.
    """
    points1, points2 = as_points(points1), as_points(points2)
    rng = keyed_rng("bootstrap", seed)
    chosen = rng.integers(len(points1), size=(draws if len(points1) else 0, len(points1)))
    return _spread((estimator(points1[rows], points2[rows]) for rows in chosen), size1)


def leave_one_out_spread(
    points1: ArrayLike, points2: ArrayLike, size1: Size, estimator: Estimation
) -> Spread:
    """The jackknife: each match left out once, so N estimates of N - 1 matches.

    The covariances carry the jackknife's factor (N - 1)²/N over those of the corners themselves.
    """
    points1, points2 = as_points(points1), as_points(points2)
    count = len(points1)
    kept = (np.delete(np.arange(count), row) for row in range(count))
    inflation = (count - 1) ** 2 / count if count else 1.0
    return _spread((estimator(points1[rows], points2[rows]) for rows in kept), size1, inflation)


def _spread(estimates: Iterable[Estimate], size1: Size, inflation: float = 1.0) -> Spread:
    view = corners_of(size1)
    placed = [
        np.full((4, 2), np.nan)
        if estimate.homography is None or folds(estimate.homography, size1)
        else transform_points(view, estimate.homography)
        for estimate in estimates
    ]
    corners = np.array(placed).reshape(-1, 4, 2)
    worked = corners[~np.isnan(corners).any(axis=(1, 2))]
    covariances = np.full((4, 2, 2), np.nan)
    if len(worked) >= 2:
        offsets = worked - worked.mean(axis=0)
        covariances = inflation * np.einsum("rci,rcj->cij", offsets, offsets) / (len(worked) - 1)
    rms_px = float(np.sqrt(np.trace(covariances, axis1=1, axis2=2).mean()))
    return Spread(corners, covariances, rms_px, len(corners) - len(worked))
