"""One pair, one descriptor, one estimator → one row of metrics.

The steps are functions of their own, so that pictures and galleries show exactly what the row
was computed from.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from homoreg.descriptors.loading import Descriptor
from homoreg.geometry import (
    Estimate,
    Estimator,
    compare_aligned,
    conditioning,
    corner_error,
    corner_error_rms,
    kappa_notebook,
    rmse_notebook_gray,
)
from homoreg.matching import Matches, RatioMatcher, ShiTomasi, match_errors, repeatable_count

# An image (H, W, 3) → keypoints (N, 2); two sets of descriptors and their metric → matches.
Detector = Callable[[np.ndarray], np.ndarray]
Matcher = Callable[[np.ndarray, np.ndarray, str], Matches]

CORRECT_PX = 3.0


@dataclass(frozen=True)
class ViewPair:
    """Two views of a benchmark and the true homography between them.

    Attributes:
        id: text, unique in its benchmark.
        image1: ``(H1, W1, 3)`` uint8 RGB.
        image2: ``(H2, W2, 3)`` uint8 RGB.
        homography: ``(3, 3)`` float64, view 1 to view 2.
        group: what a benchmark summarises apart, such as ``"v"`` and ``"i"``; may be empty.
    """

    id: str
    image1: np.ndarray
    image2: np.ndarray
    homography: np.ndarray
    group: str = ""

    @property
    def size1(self) -> tuple[int, int]:
        return self.image1.shape[1], self.image1.shape[0]

    @property
    def size2(self) -> tuple[int, int]:
        return self.image2.shape[1], self.image2.shape[0]


@dataclass(frozen=True)
class Observation:
    """What a pair offers to every descriptor: keypoints, and the two reference pictures.

    Attributes:
        keypoints1: ``(N1, 2)`` x, y.
        keypoints2: ``(N2, 2)`` x, y.
        repeatable: keypoints of view 1 that have one of view 2 within 3 px of their true place.
        rmse_identity_gray: of the views as they lie, gray levels.
        rmse_oracle_gray: of view 2 warped back by the truth, gray levels.
    """

    keypoints1: np.ndarray
    keypoints2: np.ndarray
    repeatable: int
    rmse_identity_gray: float
    rmse_oracle_gray: float


@dataclass(frozen=True)
class PairMatches:
    """What a descriptor makes of a pair.

    Attributes:
        points1: ``(M, 2)`` matched keypoints of view 1.
        points2: ``(M, 2)`` their matches in view 2.
        errors_px: ``(M,)`` distance of each match from the true place in view 2.
        describe_ms: both images.
        match_ms: the matching.
    """

    points1: np.ndarray
    points2: np.ndarray
    errors_px: np.ndarray
    describe_ms: float
    match_ms: float


def evaluate_pair(
    descriptor: Descriptor,
    image1: np.ndarray,
    image2: np.ndarray,
    homography: np.ndarray,
    *,
    detector: Detector | None = None,
    matcher: Matcher | None = None,
    estimators: Mapping[str, Estimator] | None = None,
    pair_id: str = "",
) -> list[dict[str, Any]]:
    """Judge a descriptor on one pair: a row for each estimator.

    Args:
        descriptor: meets :class:`homoreg.descriptors.loading.Descriptor`.
        image1: ``(H1, W1, 3)`` uint8 RGB.
        image2: ``(H2, W2, 3)`` uint8 RGB.
        homography: ``(3, 3)``, the true map from view 1 to view 2.
        detector: Shi-Tomasi corners by default.
        matcher: nearest neighbour with ratio 0.8 by default.
        estimators: by name; plain DLT by default.
        pair_id: for the rows.

    Returns:
        Rows with the columns ``pair_id``, ``estimator`` and ``status``, then keypoints and matches,
        the estimate, its conditioning, the pictures and the costs. A failed estimate is a row with
        its status and an infinite corner error.
    """
    pair = ViewPair(pair_id, image1, image2, np.asarray(homography, np.float64))
    observation = observe(pair, detector or ShiTomasi())
    matches = match_pair(descriptor, pair, observation, matcher or RatioMatcher())
    return judge(pair, observation, matches, estimators or {"dlt": Estimator()})


def observe(pair: ViewPair, detector: Detector) -> Observation:
    """Detect keypoints in both views and compare the views under identity and truth."""
    keypoints1, keypoints2 = detector(pair.image1), detector(pair.image2)
    return Observation(
        keypoints1,
        keypoints2,
        repeatable_count(keypoints1, keypoints2, pair.homography, CORRECT_PX),
        compare_aligned(pair.image1, pair.image2, np.eye(3)).rmse_gray,
        compare_aligned(pair.image1, pair.image2, pair.homography).rmse_gray,
    )


def match_pair(
    descriptor: Descriptor, pair: ViewPair, observation: Observation, matcher: Matcher
) -> PairMatches:
    """Describe the keypoints of both views and match them."""
    started = time.perf_counter()
    descriptors1 = descriptor.describe(pair.image1, observation.keypoints1)
    descriptors2 = descriptor.describe(pair.image2, observation.keypoints2)
    described = time.perf_counter()
    indices = matcher(descriptors1, descriptors2, descriptor.metric).indices
    matched = time.perf_counter()
    points1 = observation.keypoints1[indices[:, 0]]
    points2 = observation.keypoints2[indices[:, 1]]
    return PairMatches(
        points1,
        points2,
        match_errors(points1, points2, pair.homography),
        describe_ms=1e3 * (described - started),
        match_ms=1e3 * (matched - described),
    )


def judge(
    pair: ViewPair,
    observation: Observation,
    matches: PairMatches,
    estimators: Mapping[str, Estimator],
) -> list[dict[str, Any]]:
    """A row for each estimator, all from the same matches."""
    shared = {"pair_id": pair.id} | _match_columns(observation, matches)
    rows = []
    for name, estimator in estimators.items():
        started = time.perf_counter()
        estimate = estimator(matches.points1, matches.points2)
        estimate_ms = 1e3 * (time.perf_counter() - started)
        rows.append(
            shared
            | {"estimator": name, "status": _status(observation, estimate)}
            | _estimate_columns(pair, matches, estimate)
            | {
                "rmse_identity_gray": observation.rmse_identity_gray,
                "rmse_oracle_gray": observation.rmse_oracle_gray,
                "describe_ms": matches.describe_ms,
                "match_ms": matches.match_ms,
                "estimate_ms": estimate_ms,
            }
        )
    return rows


def _status(observation: Observation, estimate: Estimate) -> str:
    if not len(observation.keypoints1) or not len(observation.keypoints2):
        return "no_keypoints"
    return estimate.status


def _match_columns(observation: Observation, matches: PairMatches) -> dict[str, Any]:
    count = len(matches.errors_px)

    def correct(threshold_px: float) -> int:
        return int((matches.errors_px <= threshold_px).sum())

    # Without matches nothing is precise: leaving such pairs out would flatter the descriptor.
    precision = {f"precision_{t}px": correct(t) / count if count else 0.0 for t in (1, 3, 5)}
    repeatable = observation.repeatable
    return {
        "keypoints_1": len(observation.keypoints1),
        "keypoints_2": len(observation.keypoints2),
        "repeatable": repeatable,
        "match_count": count,
        "correct_3px": correct(CORRECT_PX),
        **precision,
        "recall_3px": correct(CORRECT_PX) / repeatable if repeatable else float("nan"),
    }


def _estimate_columns(pair: ViewPair, matches: PairMatches, estimate: Estimate) -> dict[str, Any]:
    """Errors, conditioning and pictures; where there is no estimate, an infinite error and NaN."""
    used = estimate.inliers
    H = estimate.homography
    numbers = conditioning(matches.points1[used], matches.points2[used], H, pair.size1)
    aligned = compare_aligned(pair.image1, pair.image2, H)
    return {
        "corner_error_px": corner_error(H, pair.homography, pair.size1),
        "corner_error_rms_px": corner_error_rms(H, pair.homography, pair.size1),
        "inliers": int(used.sum()),
        "kappa": numbers.kappa,
        "fit_gap": numbers.fit_gap,
        "kappa_raw": numbers.kappa_raw,
        "kappa_notebook": kappa_notebook(matches.points1, matches.points2),
        "dop": numbers.dop,
        "predicted_corner_error_px": numbers.predicted_corner_error_px,
        "hull_fraction": numbers.hull_fraction,
        "rmse_gray": aligned.rmse_gray,
        "ssim": aligned.ssim,
        "overlap_fraction": aligned.overlap_fraction,
        "rmse_notebook_gray": rmse_notebook_gray(pair.image1, pair.image2, H),
    }
