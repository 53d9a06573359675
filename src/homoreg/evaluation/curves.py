"""Matching quality over thresholds: mean matching accuracy, matching score, repeatability, curves.

The curves show precision and recall over the threshold of the ratio test, from every nearest
neighbor. They pool the matches of all pairs: at a strict ratio many pairs have no match, and a mean
over the others would be over different pairs at each point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.spatial import cKDTree

from homoreg.aggregates import finite_mean, mean_matching_accuracy
from homoreg.evaluation.pair import (
    CORRECT_PX,
    Observation,
    PairMatches,
    ViewPair,
    without_ratio_test,
)
from homoreg.evaluation.table import PairEvaluation, arm, label
from homoreg.geometry import transform_points
from homoreg.matching import average_precision, precision_at_recall, ratio_precision
from homoreg.plotting import arm_styles, styled

MMA_THRESHOLDS_PX = tuple(range(1, 11))
RECALLS = (0.1, 0.2, 0.3, 0.5)
# The last point is without the test: a ratio of exactly 1 is two equal distances.
RATIOS = np.append(np.arange(0.01, 0.995, 0.01), np.inf)


@dataclass(frozen=True)
class PairQuality:
    """The matches of a descriptor on one pair.

    Attributes:
        group: of the pair, may be empty.
        errors_px: ``(M,)`` of all mutual nearest neighbors, for MMA.
        matching_score: see :func:`matching_score`.
        repeatability: see :func:`repeatability`.
        repeatable: keypoints of view 1 that could be matched.
        ratios: ``(K,)`` of every nearest neighbor.
        correct: ``(K,)`` bool, whether it is the right one.
    """

    group: str
    errors_px: np.ndarray
    matching_score: float
    repeatability: float
    repeatable: int
    ratios: np.ndarray
    correct: np.ndarray


class MatchingQuality:
    """Recorder of the matches of a benchmark."""

    def __init__(self) -> None:
        self._seen: dict[tuple[tuple[str, Any], ...], list[PairQuality]] = {}

    def measure(self, evaluation: PairEvaluation) -> dict[str, Any]:
        pair, observation, matches = evaluation.pair, evaluation.observation, evaluation.matches
        if matches.own_keypoints:  # nothing is known of keypoints that a system did not match
            nan, none = float("nan"), np.empty(0)
            return vars(PairQuality(pair.group, matches.errors_px, nan, nan, 0, none, none > 0))
        matcher = without_ratio_test(evaluation.protocol.matcher)
        nearest = evaluation.nearest
        mutual = nearest if matcher.mutual else evaluation.match(replace(matcher, mutual=True))
        quality = PairQuality(
            pair.group,
            mutual.errors_px,
            matching_score(pair, observation, matches),
            repeatability(pair, observation),
            observation.repeatable,
            nearest.ratios,
            nearest.errors_px <= CORRECT_PX,
        )
        return vars(quality)

    def add(self, model: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
        # Lists where they come from a file; an empty one does not say that it is of booleans.
        correct = np.array(measured["correct"], bool)
        quality = PairQuality(**{**measured, "correct": correct})
        self._seen.setdefault(tuple(model.items()), []).append(quality)

    def entries(self) -> list[dict[str, Any]]:
        """One entry for each descriptor, in plain values, with ``groups`` where the pairs have any.

        ``mma`` by threshold, ``matching_score`` and ``repeatability`` are means over pairs in
        [0, 1]. MMA is that of the HPatches benchmarks (D2-Net): of mutual nearest neighbors without
        ratio test, whatever the matcher. ``average_precision``, ``precision_at_recall`` and
        ``curve`` (lists over the thresholds of the ratio test, the last of which is without it) are
        of the matches of all pairs. A system has the MMA of its own matches and NaN otherwise.
        """
        entries = []
        for model, pairs in self._seen.items():
            names = sorted({pair.group for pair in pairs} - {""})
            groups = {name: _quality([p for p in pairs if p.group == name]) for name in names}
            entries.append(dict(model) | _quality(pairs) | {"groups": groups})
        return entries


def in_view(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``(N,)`` bool, the points within half a pixel of a view's pixel centers."""
    return np.all((points >= -0.5) & (points <= np.array(size) - 0.5), axis=1)


def matching_score(pair: ViewPair, observation: Observation, matches: PairMatches) -> float:
    """Correct matches over the keypoints of view 1 whose true place lies in view 2.

    The "M. Score" of SuperPoint (DeTone et al., CVPRW 2018), in the direction of matching only.
    Correct is within 3 px.

    Returns:
        [0, 1]; NaN where no keypoint has its place in view 2.
    """
    keypoints = observation.keypoints1[observation.seen1]
    shared = in_view(transform_points(keypoints, pair.homography), pair.size2).sum()
    correct = matches.points1[matches.errors_px <= CORRECT_PX]
    found = in_view(transform_points(correct, pair.homography), pair.size2).sum()
    return float(found / shared) if shared else float("nan")


def repeatability(pair: ViewPair, observation: Observation) -> float:
    """Share of the keypoints of both views with a keypoint of the other within 3 px, in view 2.

    Only keypoints whose true place lies in the other view count, as in SuperPoint's evaluation.

    Returns:
        [0, 1]; NaN where no keypoint has its place in the other view.
    """
    places1 = transform_points(observation.keypoints1[observation.seen1], pair.homography)
    places1 = places1[in_view(places1, pair.size2)]
    back = transform_points(observation.keypoints2, np.linalg.inv(pair.homography))
    keypoints2 = observation.keypoints2[in_view(back, pair.size1)]
    total = len(places1) + len(keypoints2)
    if not len(places1) or not len(keypoints2):
        return 0.0 if total else float("nan")
    repeated1 = cKDTree(keypoints2).query(places1)[0] <= CORRECT_PX
    repeated2 = cKDTree(places1).query(keypoints2)[0] <= CORRECT_PX
    return float((repeated1.sum() + repeated2.sum()) / total)


def _quality(pairs: Sequence[PairQuality]) -> dict[str, Any]:
    mma = mean_matching_accuracy([pair.errors_px for pair in pairs], MMA_THRESHOLDS_PX)
    ratios = np.concatenate([pair.ratios for pair in pairs])
    correct = np.concatenate([pair.correct for pair in pairs])
    repeatable = sum(pair.repeatable for pair in pairs)
    precision, kept = ratio_precision(ratios, correct, RATIOS)
    right = np.nan_to_num(precision) * kept
    recall = right / repeatable if repeatable else np.full(len(RATIOS), np.nan)
    return {
        "pairs": len(pairs),
        "nearest_neighbors": len(ratios),
        "mma": {f"{t}px": share for t, share in zip(MMA_THRESHOLDS_PX, mma, strict=True)},
        "matching_score": finite_mean([pair.matching_score for pair in pairs]),
        "repeatability": finite_mean([pair.repeatability for pair in pairs]),
        "average_precision": average_precision(ratios, correct, repeatable),
        "precision_at_recall": {
            f"{recall:g}": precision_at_recall(ratios, correct, repeatable, recall)
            for recall in RECALLS
        },
        "curve": {
            "ratio": np.round(RATIOS, 2).tolist(),
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "matches": kept.tolist(),
        },
    }


@styled
def curves_figure(entries: Sequence[dict[str, Any]], title: str, ratio: float | None) -> Figure:
    """Ratio–precision and precision–recall curves, a line a descriptor; systems have none.

    Args:
        entries: of :meth:`MatchingQuality.entries`.
        title: of the figure.
        ratio: threshold of the matcher that the table was made with, marked on every line.
    """
    entries = [entry for entry in entries if entry["nearest_neighbors"]]
    styles = arm_styles(arm(entry) for entry in entries)
    figure = Figure(figsize=(12, 4.6), dpi=110)
    by_ratio, by_recall = figure.subplots(1, 2)
    # Best first in the legend.
    for entry in sorted(entries, key=lambda entry: -np.nan_to_num(entry["average_precision"])):
        curve = {key: np.array(values, np.float64) for key, values in entry["curve"].items()}
        ratios = np.where(np.isinf(curve["ratio"]), 1.0, curve["ratio"])
        name = f"{label(entry)} (AP {entry['average_precision']:.2f})"
        # The marked point is that of the table's columns.
        chosen = int(np.argmin(np.abs(ratios - ratio))) if ratio else len(ratios) - 1
        line = styles[arm(entry)].line
        by_ratio.plot(ratios, curve["precision"], markevery=[chosen], **line)
        by_recall.plot(curve["recall"], curve["precision"], label=name, markevery=[chosen], **line)
    limits = {"xlim": (0, 1.01), "ylim": (0, 1.02), "ylabel": "precision at 3 px"}
    by_ratio.set(xlabel="threshold of the ratio test (1: no test)", **limits)
    by_recall.set(xlabel="recall at 3 px, of the repeatable keypoints", **limits)
    pairs = max((entry["pairs"] for entry in entries), default=0)
    where = f"ratio {ratio:g}" if ratio else "no ratio test"
    figure.suptitle(f"{title}: matches of {pairs} pairs, pooled; marks at {where}", fontsize=11)
    if entries:
        figure.legend(loc="outside right upper", fontsize=8)
    return figure
