"""Many pairs → one number, in which failures count: AUC, matching accuracy, quartiles."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

AUC_THRESHOLDS_PX = (1, 3, 5, 10)


def corner_error_auc(errors: ArrayLike, thresholds: Sequence[float]) -> list[float]:
    """Area under the recall curve up to each threshold, divided by the threshold.

    The recall curve starts at (0, 0), rises linearly to (eₖ, k/N) at the k-th smallest error and
    is flat from the last error below the threshold on; the area is exact by trapezoids. It is the
    ``cal_error_auc`` of the glue-factory code base and the ``error_auc`` of LoFTR's, without their
    rounding. The linear rise makes it biased where N is small, so compare only over the same pairs.

    Args:
        errors: ``(N,)`` corner errors in pixels, ≥ 0, in any order. A failed estimate has an
            infinite error; NaN counts as a failure too.
        thresholds: in pixels, > 0.

    Returns:
        One number in [0, 100] per threshold, NaN where there are no errors at all.

    Raises:
        ValueError: a negative error or a threshold that is not positive.

    >>> corner_error_auc([0.0, 0.0], [5])
    [100.0]
    >>> corner_error_auc([2.0, float("inf")], [4])  # half of 4 · 0.5, less the rise's triangle
    [37.5]
    """
    values = np.sort(np.nan_to_num(np.asarray(errors, np.float64), nan=np.inf, posinf=np.inf))
    if values.size and values[0] < 0:
        raise ValueError(f"a corner error is negative: {values[0]}")
    if not all(threshold > 0 for threshold in thresholds):
        raise ValueError(f"thresholds must be positive: {list(thresholds)}")
    if not values.size:
        return [float("nan")] * len(thresholds)

    curve = np.concatenate([[0.0], values])
    recall = np.arange(curve.size) / values.size
    areas = []
    for threshold in thresholds:
        below = int(np.searchsorted(curve, threshold))
        x = np.append(curve[:below], threshold)
        y = np.append(recall[:below], recall[below - 1])
        areas.append(float(100 * np.trapezoid(y, x) / threshold))
    return areas


def mean_matching_accuracy(errors: Sequence[ArrayLike], thresholds: Sequence[float]) -> list[float]:
    """The share of a pair's matches within each threshold, averaged over pairs.

    MMA as D2-Net (Dusmanu et al., CVPR 2019) reports it on HPatches: a pair without matches has
    nothing right and counts as 0.

    Args:
        errors: for each pair the ``(M,)`` distances of its matches from the truth, in pixels.
        thresholds: in pixels; a match at the threshold is within.

    Returns:
        One number in [0, 1] per threshold, NaN where there are no pairs at all.

    >>> mean_matching_accuracy([[0.5, 4.0], []], thresholds=[1, 5])
    [0.25, 0.5]
    """
    if not errors:
        return [float("nan")] * len(thresholds)
    limits = np.asarray(thresholds, np.float64)
    within = [np.asarray(pair, np.float64)[:, None] <= limits for pair in errors]
    shares = [matches.mean(0) if len(matches) else np.zeros(len(limits)) for matches in within]
    return np.mean(shares, axis=0).tolist()


def quartiles(values: ArrayLike) -> tuple[float, float, float]:
    """First quartile, median and third quartile, linearly interpolated; infinities are numbers.

    >>> quartiles([1.0, 2.0, float("inf"), float("inf"), float("inf")])
    (2.0, inf, inf)
    """
    ordered = np.sort(np.asarray(values, np.float64))
    if not ordered.size:
        return (np.nan, np.nan, np.nan)
    position = np.array([0.25, 0.5, 0.75]) * (ordered.size - 1)
    below = ordered[np.floor(position).astype(int)]
    above = ordered[np.ceil(position).astype(int)]
    # numpy.quantile subtracts infinities from each other and answers NaN.
    gap = np.subtract(above, below, out=np.zeros(3), where=above != below)
    q1, median, q3 = (below + (position % 1) * gap).tolist()
    return q1, median, q3
