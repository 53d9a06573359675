"""Aggregation over pairs, in which failures count: summaries, AUC, matching accuracy, quartiles."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from homoreg.metrics import METRICS

AUC_THRESHOLDS_PX = (1, 3, 5, 10)
ERROR_RANGE_PX = 0.05, 100.0
MODEL_COLUMNS = ("descriptor", "regularizer", "seed", "estimator")


def failed(rows: pd.DataFrame) -> pd.Series:
    """Which rows lack a usable estimate: there is none, or it folds the view.

    Both have an infinite corner error.
    """
    return ~rows["corner_error_px"].astype(float).lt(np.inf)


def failure_counts(rows: pd.DataFrame) -> dict[str, int]:
    """Failed rows by reason: their status, or ``"folded"`` for an estimate that folds the view."""
    reasons = rows.loc[failed(rows), "status"].replace("ok", "folded")
    return {str(reason): int(count) for reason, count in reasons.value_counts().items()}


def with_failures(values: pd.Series) -> pd.Series:
    """A metric's column with its missing values as what a failure counts as.

    Args:
        values: named as in :data:`homoreg.metrics.METRICS`.

    Returns:
        float64; without the missing values where a failure of the metric counts as nothing.

    >>> with_failures(pd.Series([0.9, np.nan], name="ssim")).tolist()
    [0.9, -1.0]
    """
    values = values.astype(float)
    failure = METRICS[str(values.name)].failure
    return values.dropna() if failure is None else values.fillna(failure)


def clipped_log10(errors_px: ArrayLike) -> np.ndarray:
    """log10 of corner errors clipped to 0.05 … 100 px; a failure, infinite or NaN, counts 100 px.

    >>> clipped_log10([0.0, 1.0, np.inf]).round(2).tolist()
    [-1.3, 0.0, 2.0]
    """
    low, high = ERROR_RANGE_PX
    return np.log10(np.clip(np.nan_to_num(np.asarray(errors_px, float), nan=high), low, high))


def summarize(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry for each descriptor and estimator of a table.

    Args:
        table: rows of :data:`homoreg.metrics.COLUMNS`; a metric may be absent.

    Returns:
        Plain values: descriptor, regularizer, seed and estimator, and :func:`summarize_rows`.
        ``groups`` has the same of the pairs of each group, for a benchmark that has groups.
    """
    entries = []
    for key, rows in table.groupby(list(MODEL_COLUMNS), dropna=False, sort=False):
        model = dict(zip(MODEL_COLUMNS, cast(tuple[Any, ...], key), strict=True))
        groups = rows[rows["group"].fillna("") != ""].groupby("group")
        entries.append(
            {name: None if pd.isna(value) else value for name, value in model.items()}
            | summarize_rows(rows)
            | {"groups": {str(name): summarize_rows(part) for name, part in groups}}
        )
    return entries


def summarize_rows(rows: pd.DataFrame) -> dict[str, Any]:
    """The pairs of one descriptor and estimator as a few numbers.

    Returns:
        ``pairs``; ``failure_rate`` and ``failures`` by reason; ``auc`` (0–100) of the corner error
        by threshold in px; ``median``, ``quartile_1`` and ``quartile_3`` of each summarized metric,
        in which failures count (:func:`with_failures`).
    """
    auc = corner_error_auc(rows["corner_error_px"], AUC_THRESHOLDS_PX)
    names = [name for name, metric in METRICS.items() if metric.summarized and name in rows]
    spreads = {name: quartiles(with_failures(rows[name])) for name in names}
    return {
        "pairs": len(rows),
        "failure_rate": float(failed(rows).mean()),
        "failures": failure_counts(rows),
        "auc": {f"{t}px": a for t, a in zip(AUC_THRESHOLDS_PX, auc, strict=True)},
        "median": {name: spread[1] for name, spread in spreads.items()},
        "quartile_1": {name: spread[0] for name, spread in spreads.items()},
        "quartile_3": {name: spread[2] for name, spread in spreads.items()},
    }


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

    once = np.ones((1, values.size))
    return [float(resampled_auc(values, once, threshold)[0]) for threshold in thresholds]


def resampled_auc(errors: np.ndarray, counts: np.ndarray, threshold: float) -> np.ndarray:
    """:func:`corner_error_auc` of many samples of the same pairs at once.

    Args:
        errors: ``(P,)`` in pixels, ≥ 0, infinite for a failed estimate.
        counts: ``(B, P)`` how often each pair occurs in each sample, 0 included.
        threshold: in pixels, > 0.

    Returns:
        ``(B,)`` in [0, 100]; NaN for a sample without pairs.

    >>> resampled_auc(np.array([2.0, np.inf]), np.array([[1, 1], [2, 0]]), 4)
    array([37.5, 62.5])
    """
    order = np.argsort(errors)
    ends = np.minimum(errors[order], threshold)
    widths = np.diff(ends, prepend=0.0, append=threshold)
    before = np.pad(np.cumsum(counts[:, order], axis=1, dtype=float), [(0, 0), (1, 0)])
    below = before[:, [np.searchsorted(ends, threshold)]]
    # Up to the last error below the threshold, each stretch rises by one pair at its end, though
    # several may be there at once; from it on the curve is flat.
    heights = before + 0.5 * (before < below)
    # The widths add up to the threshold but for their rounding.
    areas = np.minimum(heights @ widths / threshold, before[:, -1])
    return _per_pair(100 * areas, before[:, -1])


def resampled_median(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The median of many samples of the same values at once.

    Args:
        values: ``(P,)``; infinities are numbers.
        counts: ``(B, P)`` how often each value occurs in each sample, 0 included.

    Returns:
        ``(B,)``, NaN for an empty sample.

    >>> resampled_median(np.array([3.0, 1.0, 2.0]), np.array([[1, 1, 1], [2, 2, 0]]))
    array([2., 2.])
    """
    order = np.argsort(values)
    ordered = np.append(values[order], np.nan)  # the last is what an empty sample gets
    reached = np.cumsum(counts[:, order], axis=1)
    total = reached[:, -1:] if values.size else np.zeros((len(counts), 1))
    lower = ordered[(reached <= (total - 1) // 2).sum(1)]
    return (lower + ordered[(reached <= total // 2).sum(1)]) / 2


def resampled_mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The mean of many samples of the same values at once; shapes as in :func:`resampled_median`.

    >>> resampled_mean(np.array([3.0, 0.0]), np.array([[1, 1], [2, 1]]))
    array([1.5, 2. ])
    """
    return _per_pair(counts @ values, counts.sum(1))


def _per_pair(sums: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.divide(sums, pairs, out=np.full(len(sums), np.nan), where=pairs > 0)


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


def finite_mean(values: ArrayLike) -> float:
    """The mean of the values that are finite; NaN without any.

    >>> finite_mean([1.0, float("nan"), 3.0])
    2.0
    """
    array = np.asarray(values, np.float64)
    finite = array[np.isfinite(array)]
    return float(finite.mean()) if finite.size else float("nan")


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
