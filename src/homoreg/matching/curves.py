"""Precision and recall over the threshold of the ratio test.

Both curves take the matches *before* the ratio test, ``match_descriptors(…, ratio=None)``, and
whether each is correct, ``match_errors(…) <= 3``.
"""

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
    ratios: np.ndarray, correct: np.ndarray, repeatable: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall over the ratio threshold, one point for each ratio that occurs.

    Args:
        ratios: ``(K,)`` float64, as in :class:`~homoreg.matching.Matches`.
        correct: ``(K,)`` bool.
        repeatable: keypoints that could have been matched (``repeatable_count``).

    Returns:
        Precision, recall (NaN where nothing is repeatable) and ratio, each ``(T,)`` float64 with
        the ratio ascending; a point counts the matches up to and including its ratio.

    >>> precision_recall(np.array([0.9, 0.3]), np.array([False, True]), repeatable=2)
    (array([1. , 0.5]), array([0.5, 0.5]), array([0.3, 0.9]))
    """
    distinct, counts = np.unique(ratios, return_counts=True)
    kept = np.cumsum(counts)
    right = np.cumsum(correct[np.argsort(ratios, kind="stable")])[kept - 1]
    recall = right / repeatable if repeatable else np.full(len(kept), np.nan)
    return right / kept, recall, distinct
