"""Variance of the robust estimators: how far a homography moves under other sampling seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from homoreg.aggregates import quartiles
from homoreg.evaluation.table import PairEvaluation
from homoreg.geometry import Estimator, robust_spread

# The seed has no influence on these.
DETERMINISTIC = ("dlt", "dlt_raw")


class Reruns:
    """Recorder of the spread of each robust estimator over sampling seeds.

    Args:
        count: estimates of each pair under other seeds, besides the one in the table; 0 for none.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._seen: dict[tuple[tuple[str, Any], ...], list[tuple[float, int]]] = {}

    def measure(self, evaluation: PairEvaluation) -> dict[str, tuple[float, int]]:
        matches, size1 = evaluation.matches, evaluation.pair.size1
        measured = {}
        for name, estimator in evaluation.estimators.items():
            if not isinstance(estimator, Estimator) or estimator.method in DETERMINISTIC:
                continue
            if self.count:
                spread = robust_spread(
                    matches.points1, matches.points2, size1, estimator, repeats=1 + self.count
                )
                measured[name] = spread.rms_px, spread.failures
        return measured

    def add(self, model: Mapping[str, Any], measured: Mapping[str, tuple[float, int]]) -> None:
        for name, spread in measured.items():
            key = tuple({**model, "estimator": name}.items())
            self._seen.setdefault(key, []).append(spread)

    def entries(self) -> list[dict[str, Any]]:
        """One entry for each descriptor and robust estimator, in plain values.

        ``corner_spread_px`` is a corner's RMS distance from its mean over the seeds, as quartiles
        over pairs, infinite for a pair on which fewer than two seeds gave a homography;
        ``failed_share`` is the share of all estimates that failed or fold the view.
        """
        entries = []
        for model, spreads in self._seen.items():
            rms_px, failures = np.array(spreads, np.float64).T
            q1, median, q3 = quartiles(np.nan_to_num(rms_px, nan=np.inf))
            entries.append(
                dict(model)
                | {
                    "pairs": len(spreads),
                    "seeds": 1 + self.count,
                    "corner_spread_px": {"quartile_1": q1, "median": median, "quartile_3": q3},
                    "failed_share": float(failures.mean() / (1 + self.count)),
                }
            )
        return entries
