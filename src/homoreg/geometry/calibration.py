"""Bounds on the corner error that hold as often as they say, from pairs with a known truth.

A predicted corner error is an expected RMS. Multiplied by a conformal factor, it becomes a bound
that holds for a stated share of pairs: those of the same kind as the calibration pairs (planar
warps of photographs, the same detector, descriptor, matcher and estimator). Vovk, Gammerman and
Shafer, *Algorithmic Learning in a Random World* (2005); Angelopoulos and Bates, *Conformal
prediction: a gentle introduction* (2023).
"""

import numpy as np
from numpy.typing import ArrayLike

from homoreg.geometry.conditioning import ellipse_outline
from homoreg.geometry.homography import Array


def conformal_factor(
    true_rms_px: ArrayLike, predicted_px: ArrayLike, coverage: float = 0.9
) -> float:
    """The factor that makes predicted corner errors an upper bound on the true ones.

    The ``ceil((n + 1) · coverage)``-th smallest of the n ratios of true to predicted (split
    conformal prediction). For a new pair that is exchangeable with these, ``true ≤ factor ·
    predicted`` holds with a probability of at least ``coverage``. Several warps of one photograph
    are not independent, so that the guarantee holds only on average over photographs.

    Args:
        true_rms_px: ``(N,)`` RMS corner errors, ≥ 0; infinite for an estimate that folds the view.
        predicted_px: ``(N,)`` predicted corner errors, ≥ 0. NaN where there is no prediction (no
            estimate, or 4 matches): such pairs are left out, and the bound is not for them.
        coverage: share of pairs for which the bound should hold, in (0, 1).

    Returns:
        The factor, ≥ 0; infinite where n is too small (below 9 for a coverage of 0.9) or too many
        true errors are infinite.

    Raises:
        ValueError: coverage out of its range, shapes that differ, a true error that is NaN
            although there is a prediction, or a negative number.

    >>> conformal_factor([1, 2, 3, 4, 5, 6, 7, 8, 9], np.ones(9))
    9.0
    >>> conformal_factor([1, 2, 3, 4, 5, 6, 7, 8], np.ones(8))
    inf
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, got {coverage}")
    ratios = np.sort(_ratios(true_rms_px, predicted_px))
    # Less a rounding error: 20 · 0.55 is 11.000000000000002.
    rank = int(np.ceil((len(ratios) + 1) * coverage - 1e-9))
    return float(ratios[rank - 1]) if rank <= len(ratios) else float("inf")


def calibrated_ellipse(center: ArrayLike, covariance: ArrayLike, factor: float) -> Array:
    """The closed outline ``(65, 2)`` of a corner's ellipse at the calibrated factor, in pixels.

    The RMS distance of the outline from its center is ``factor`` times the corner's predicted RMS
    error. The four outlines thus show the bound on the RMS over the corners, which holds for the
    stated share of pairs.

    Args:
        center: ``(2,)``, such as a corner's place in view 2.
        covariance: ``(2, 2)`` px², from :func:`~homoreg.geometry.conditioning`.
        factor: from :func:`conformal_factor`.

    >>> outline = calibrated_ellipse([0, 0], np.eye(2), 2)
    >>> float(np.sqrt((outline[:-1] ** 2).sum(axis=1).mean()).round(6))
    2.828427
    """
    return ellipse_outline(center, covariance, factor * np.sqrt(2))


def _ratios(true_rms_px: ArrayLike, predicted_px: ArrayLike) -> Array:
    """True over predicted of the pairs with a prediction; 0 where a bound always holds."""
    true, predicted = np.asarray(true_rms_px, np.float64), np.asarray(predicted_px, np.float64)
    if true.shape != predicted.shape or true.ndim != 1:
        raise ValueError(f"errors must pair up, got {true.shape} and {predicted.shape}")
    known = ~np.isnan(predicted)
    true, predicted = true[known], predicted[known]
    if not ((true >= 0).all() and (predicted >= 0).all()):
        raise ValueError("errors must be 0 or more, and known where there is a prediction")
    with np.errstate(all="ignore"):
        ratios = true / predicted
    # An infinite bound always holds, and one of 0 holds where the true error is 0.
    return np.where(np.isinf(predicted) | (true == 0), 0.0, ratios)
