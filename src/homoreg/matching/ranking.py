"""Precision and recall of matches that are ranked by their ratio, the strictest first."""

import numpy as np


def ratio_precision(
    ratios: np.ndarray, correct: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and number of matches at each threshold of the ratio test.

    Args:
        ratios: ``(K,)`` float64, as in :class:`~homoreg.matching.Matches`.
        correct: ``(K,)`` bool.
        thresholds: ``(T,)`` in any order; a match is kept if its ratio is below.

    Returns:
        Precision ``(T,)`` float64 in [0, 1], NaN where no match is kept, and the number of
        matches kept ``(T,)`` int64.

    >>> ratios, correct = np.array([0.3, 0.6, 0.9]), np.array([True, False, False])
    >>> ratio_precision(ratios, correct, thresholds=np.array([0.5, 0.8]))
    (array([1. , 0.5]), array([1, 2]))
    """
    order = np.argsort(ratios, kind="stable")
    right = np.concatenate([[0], np.cumsum(correct[order])])
    kept = np.searchsorted(ratios[order], thresholds, side="left")
    precision = np.full(kept.shape, np.nan)
    np.divide(right[kept], kept, out=precision, where=kept > 0)
    return precision, kept


def precision_recall(
    ratios: np.ndarray, correct: np.ndarray, repeatable: float
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall over the ratio threshold, one point for each ratio that occurs.

    Args:
        ratios: ``(K,)`` float64, as in :class:`~homoreg.matching.Matches`.
        correct: ``(K,)`` bool.
        repeatable: keypoints that could have been matched (``repeatable_count``).

    Returns:
        Precision and recall (NaN where nothing is repeatable), each ``(T,)`` float64 with the ratio
        ascending; a point counts the matches up to and including its ratio.

    >>> precision_recall(np.array([0.9, 0.3]), np.array([False, True]), repeatable=2)
    (array([1. , 0.5]), array([0.5, 0.5]))
    """
    _, counts = np.unique(ratios, return_counts=True)
    kept = np.cumsum(counts)
    right = np.cumsum(correct[np.argsort(ratios, kind="stable")])[kept - 1]
    recall = right / repeatable if repeatable else np.full(len(kept), np.nan)
    return right / kept, recall


def average_precision(ratios: np.ndarray, correct: np.ndarray, repeatable: float) -> float:
    """Area under the precision–recall curve, ``Σ (Rₖ − Rₖ₋₁) Pₖ`` as the ratio rises.

    Args:
        ratios: ``(K,)`` of every nearest neighbor.
        correct: ``(K,)`` bool.
        repeatable: keypoints that could have been matched.

    Returns:
        [0, 1]; NaN where nothing could have been matched.

    >>> average_precision(np.array([0.2, 0.9]), np.array([True, True]), repeatable=4)
    0.5
    """
    precision, recall = precision_recall(ratios, correct, repeatable)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision)) if repeatable else float("nan")


def precision_at_recall(
    ratios: np.ndarray, correct: np.ndarray, repeatable: float, recall: float
) -> float:
    """Precision at the strictest ratio threshold that reaches a recall.

    It compares descriptors at equal recall, where one fixed ratio keeps different shares of their
    matches. A recall that is not reached has a precision of 0, as in the interpolated precision of
    information retrieval.

    Args:
        ratios: ``(K,)`` of every nearest neighbor.
        correct: ``(K,)`` bool.
        repeatable: keypoints that could have been matched.
        recall: in (0, 1].

    Returns:
        [0, 1]; NaN where nothing could have been matched.

    >>> ratios, correct = np.array([0.2, 0.5, 0.9]), np.array([True, False, True])
    >>> precision_at_recall(ratios, correct, repeatable=2, recall=0.5)
    1.0
    >>> precision_at_recall(ratios, correct, repeatable=4, recall=0.75)
    0.0
    """
    if not repeatable > 0:
        return float("nan")
    precision, reached = precision_recall(ratios, correct, repeatable)
    enough = np.flatnonzero(reached >= recall)
    return float(precision[enough[0]]) if len(enough) else 0.0
