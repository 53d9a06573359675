"""One pair, one descriptor or system, one estimator → one row of metrics.

Each step is a function of its own, so that figures show exactly what a row was computed from:
:func:`observe` → :func:`describe_pair` → :func:`match_described` → :func:`evaluate_matches`. A
system takes the images instead: :func:`match_images`.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np

from homoreg.descriptors.descriptor import Descriptor, keypoints_for
from homoreg.descriptors.inference import NetworkDescriptor
from homoreg.errors import HomoregError
from homoreg.evaluation.systems import System
from homoreg.geometry import (
    Conditioning,
    Configuration,
    Estimate,
    Estimator,
    align_back,
    compare_aligned,
    conditioning,
    corner_error,
    corner_error_rms,
    in_front,
    kappa_notebook,
    masked_rmse,
    rmse_notebook_gray,
)
from homoreg.matching import (
    Detector,
    Matches,
    RatioMatcher,
    ShiTomasi,
    detect,
    image_key,
    match_errors,
    precision_at_recall,
    repeatable_count,
    true_matches,
)
from homoreg.metrics import METRICS

# Two sets of descriptors (N, D) and (M, D) and their metric → matches.
Matcher = Callable[[np.ndarray, np.ndarray, str], Matches]
# What is evaluated: a descriptor at the detector's keypoints, or a system with its own.
Method = Descriptor | System

CORRECT_PX = 3.0
EQUAL_RECALL = 0.1  # at which the column precision_at_recall_10 compares descriptors


@dataclass(frozen=True)
class ViewPair:
    """Two views of a benchmark and the true homography between them.

    Attributes:
        id: text, unique in its benchmark.
        image1: ``(H1, W1, 3)`` uint8 RGB, read-only.
        image2: ``(H2, W2, 3)`` uint8 RGB, read-only.
        homography: ``(3, 3)`` float64, view 1 to view 2.
        photo: the photograph or sequence that the pair is of; pairs of one photo are not
            independent of each other.
        group: what the pair is summarized under, such as HPatches' ``"i"`` and ``"v"``; may be
            empty.

    Raises:
        HomoregError: images of another kind, or a homography that is not finite or has no inverse.
    """

    id: str
    image1: np.ndarray
    image2: np.ndarray
    homography: np.ndarray
    photo: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        for name in ("image1", "image2"):
            image = getattr(self, name)
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise HomoregError(
                    f"pair {self.id}: {name} is {image.shape} {image.dtype}; give (H, W, 3) uint8"
                )
            object.__setattr__(self, name, read_only(image))
        if not is_homography(self.homography):
            raise HomoregError(
                f"pair {self.id}: the true homography must be 3×3, finite and invertible"
            )

    @property
    def size1(self) -> tuple[int, int]:
        return self.image1.shape[1], self.image1.shape[0]

    @property
    def size2(self) -> tuple[int, int]:
        return self.image2.shape[1], self.image2.shape[0]


def is_homography(matrix: np.ndarray) -> bool:
    """Whether a matrix is 3×3, finite and, up to rounding, invertible."""
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return False
    return bool(np.linalg.matrix_rank(matrix) == 3)


def read_only(array: np.ndarray) -> np.ndarray:
    """A view of an array that cannot be written to.

    Detectors, descriptors and estimators get these: one that changes its input in place must not
    change what the next one sees.
    """
    if not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True)
class Observation:
    """What all descriptors of a pair share: the keypoints, and two reference values.

    Attributes:
        frames1: ``(N1, 2)``, ``(N1, 3)`` or ``(N1, 4)``, see :mod:`homoreg.geometry.frames`.
        frames2: the same of view 2.
        seen1: ``(N1,)`` bool, the keypoints of view 1 in front of the true horizon.
        repeatable: keypoints of view 1 with one of view 2 within 3 px of their true place.
        rmse_identity_gray: RMSE of the two views as they are, in gray levels.
        rmse_oracle_gray: RMSE of view 1 and view 2 warped back by the truth, in gray levels.
    """

    frames1: np.ndarray
    frames2: np.ndarray
    seen1: np.ndarray
    repeatable: int
    rmse_identity_gray: float
    rmse_oracle_gray: float

    @property
    def keypoints1(self) -> np.ndarray:
        """``(N1, 2)`` x, y."""
        return self.frames1[:, :2]

    @property
    def keypoints2(self) -> np.ndarray:
        """``(N2, 2)`` x, y."""
        return self.frames2[:, :2]

    @property
    def lacks_keypoints(self) -> bool:
        """Whether a view has no keypoints at all."""
        return not len(self.keypoints1) or not len(self.keypoints2)


@dataclass(frozen=True)
class PairDescriptors:
    """The descriptors of a pair's keypoints.

    Attributes:
        view1: ``(N1, D)`` float32, a row a keypoint, NaN where one cannot be described.
        view2: ``(N2, D)``, the same.
        metric: by which they are compared.
        describe_ms: time for both images.
    """

    view1: np.ndarray
    view2: np.ndarray
    metric: str
    describe_ms: float


class DescribedViews:
    """Patches and descriptors of the last few images, by one detector's keypoints.

    Networks of one window share their patches, and a photograph that is in several pairs in a row
    is described once.
    """

    CAPACITY = 4  # images

    def __init__(self) -> None:
        self._views: dict[tuple[Any, ...], dict[Hashable, tuple[Any, float]]] = {}

    def describe(
        self, descriptor: Descriptor, image: np.ndarray, frames: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """``(N, D)`` float32, and the time that cutting and describing took in ms."""
        key = image.shape, image_key(image)
        view = self._views[key] = self._views.pop(key, {})  # now the last one used
        if len(self._views) > self.CAPACITY:
            del self._views[next(iter(self._views))]
        known = id(descriptor)  # one that a user wrote need not be hashable
        if not _shares_patches(descriptor):
            return _once(view, known, lambda: describe_view(descriptor, image, frames))
        window = descriptor.window
        cut, cut_ms = _once(view, window, lambda: window.cut(image, frames))
        described, ms = _once(view, known, lambda: descriptor.describe_patches(cut))
        return described, cut_ms + ms


def _once(
    known: dict[Hashable, tuple[Any, float]], key: Hashable, compute: Callable[[], Any]
) -> tuple[Any, float]:
    """A result that is computed at the first call, and the time that it took in ms."""
    if key not in known:
        started = time.perf_counter()
        result = compute()
        known[key] = result, 1e3 * (time.perf_counter() - started)
    return known[key]


@dataclass(frozen=True)
class PointMatches:
    """Matched keypoints of two views.

    Attributes:
        points1: ``(M, 2)`` matched keypoints of view 1.
        points2: ``(M, 2)`` their matches in view 2.
        ratios: ``(M,)`` distance over that of the second neighbor.
    """

    points1: np.ndarray
    points2: np.ndarray
    ratios: np.ndarray


@dataclass(frozen=True)
class PairMatches(PointMatches):
    """The matches of a descriptor or system on a pair whose true homography is known.

    Attributes:
        points1, points2, ratios: see :class:`PointMatches`.
        errors_px: ``(M,)`` distance of each match from the true place in view 2.
        describe_ms: time for describing both images; NaN for a system.
        match_ms: time for matching; all that a system takes.
        own_keypoints: True for a system, of whose keypoints only the matched ones are known.
    """

    errors_px: np.ndarray
    describe_ms: float
    match_ms: float
    own_keypoints: bool = False


def evaluate_pair(
    descriptor: Method,
    image1: np.ndarray,
    image2: np.ndarray,
    homography: np.ndarray,
    *,
    detector: Detector | None = None,
    matcher: Matcher | None = None,
    estimators: Mapping[str, Estimator] | None = None,
    pair_id: str = "",
) -> list[dict[str, Any]]:
    """Evaluate a descriptor or a system on one pair.

    Args:
        descriptor: meets :class:`homoreg.descriptors.descriptor.Descriptor`, or is a
            :class:`homoreg.evaluation.systems.System`.
        image1: ``(H1, W1, 3)`` uint8 RGB.
        image2: ``(H2, W2, 3)`` uint8 RGB.
        homography: ``(3, 3)``, the true map from view 1 to view 2.
        detector: Shi-Tomasi corners by default.
        matcher: mutual nearest neighbors with ratio 0.8 by default.
        estimators: by name; plain DLT by default.
        pair_id: for the rows.

    Returns:
        A row for each estimator, with all columns of :data:`homoreg.metrics.COLUMNS` but
        ``descriptor``, ``regularizer``, ``seed`` and ``benchmark``. A failed estimate is a row with
        its status and an infinite corner error.
    """
    pair = ViewPair(pair_id, image1, image2, np.asarray(homography, np.float64))
    observation = observe(pair, detector or ShiTomasi())
    matcher, nearest = matcher or RatioMatcher(mutual=True), None
    if isinstance(descriptor, System):
        matches = match_images(descriptor, pair)
    else:
        described = describe_pair(descriptor, pair, observation)
        matches = match_described(described, pair, observation, matcher)
        nearest = match_described(described, pair, observation, without_ratio_test(matcher))
    estimators = estimators or {"dlt": Estimator()}
    return evaluate_matches(pair, observation, matches, estimators, nearest=nearest)


def observe(pair: ViewPair, detector: Detector) -> Observation:
    """Detect keypoints in both views, and compare the views under the identity and the truth."""
    frames1, frames2 = detect(detector, pair.image1), detect(detector, pair.image2)
    seen1 = in_front(frames1[:, :2], pair.homography, pair.size1)
    return Observation(
        frames1,
        frames2,
        seen1,
        repeatable_count(frames1[seen1, :2], frames2[:, :2], pair.homography, CORRECT_PX),
        _aligned_rmse(pair, np.eye(3)),
        _aligned_rmse(pair, pair.homography),
    )


def _aligned_rmse(pair: ViewPair, homography: np.ndarray) -> float:
    return masked_rmse(pair.image1, *align_back(pair.image2, homography, pair.size1))


def match_pair(
    descriptor: Method, pair: ViewPair, observation: Observation, matcher: Matcher
) -> PairMatches:
    """Describe the keypoints of both views and match them; a system matches the images."""
    if isinstance(descriptor, System):
        return match_images(descriptor, pair)
    return match_described(describe_pair(descriptor, pair, observation), pair, observation, matcher)


def describe_pair(
    descriptor: Descriptor,
    pair: ViewPair,
    observation: Observation,
    views: DescribedViews | None = None,
) -> PairDescriptors:
    """Describe the keypoints of both views.

    Args:
        descriptor: any.
        pair: the views.
        observation: their keypoints.
        views: what was cut and described before with the same detector; a view that is there is
            not described again. ``describe_ms`` counts it as if it were.

    Raises:
        HomoregError: ``describe`` returned something other than a row of numbers per keypoint.
    """
    keypoints1, keypoints2 = observation.keypoints1, observation.keypoints2
    if observation.lacks_keypoints:
        # There is nothing to match, and no descriptor needs to handle empty lists.
        blank1, blank2 = (
            np.full((len(keypoints), 1), np.nan, np.float32)
            for keypoints in (keypoints1, keypoints2)
        )
        return PairDescriptors(blank1, blank2, descriptor.metric, describe_ms=0.0)
    views = DescribedViews() if views is None else views
    described1, ms1 = views.describe(descriptor, pair.image1, observation.frames1)
    described2, ms2 = views.describe(descriptor, pair.image2, observation.frames2)
    return PairDescriptors(described1, described2, descriptor.metric, ms1 + ms2)


def describe_view(descriptor: Descriptor, image: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Describe an image's keypoints: ``(N, D)`` float32, a row of NaN where that is impossible.

    Raises:
        HomoregError: ``describe`` returned something other than a row of numbers per keypoint.
    """
    described = descriptor.describe(image, keypoints_for(descriptor, frames))
    return _checked(described, len(frames), descriptor.name)


def _shares_patches(descriptor: Descriptor) -> TypeGuard[NetworkDescriptor]:
    """Whether a descriptor only depends on its patches; a subclass may override ``describe``."""
    return (
        isinstance(descriptor, NetworkDescriptor)
        and type(descriptor).describe is NetworkDescriptor.describe
    )


def _checked(described: Any, count: int, name: str) -> np.ndarray:
    """What ``describe`` returned, as ``(N, D)`` float32."""
    array = described if isinstance(described, np.ndarray) else None
    if (
        array is None
        or array.dtype.kind not in "fiub"
        or array.ndim != 2
        or len(array) != count
        or array.shape[1] == 0
    ):
        given = type(described).__name__ if array is None else f"{array.shape} of {array.dtype}"
        raise HomoregError(
            f"descriptor {name}: describe returned {given} for {count} keypoints; give a "
            f"numpy array ({count}, D) of float32, a row a keypoint"
        )
    return array.astype(np.float32, copy=False)


def match_described(
    descriptors: PairDescriptors, pair: ViewPair, observation: Observation, matcher: Matcher
) -> PairMatches:
    """Match the descriptors of a pair, and measure each match's distance from its true place."""
    started = time.perf_counter()
    matches = matcher(descriptors.view1, descriptors.view2, descriptors.metric)
    match_ms = 1e3 * (time.perf_counter() - started)
    rows1, rows2 = matches.indices.T
    points1 = read_only(observation.keypoints1[rows1])
    points2 = read_only(observation.keypoints2[rows2])
    errors_px = match_errors(points1, points2, pair.homography)
    return PairMatches(
        points1,
        points2,
        matches.ratios,
        np.where(observation.seen1[rows1], errors_px, np.inf),
        descriptors.describe_ms,
        match_ms,
    )


def without_ratio_test(matcher: Matcher) -> RatioMatcher:
    """A matcher with its ratio test open; every nearest neighbor for one of another kind."""
    return replace(matcher, ratio=None) if isinstance(matcher, RatioMatcher) else RatioMatcher(None)


def match_images(system: System, pair: ViewPair) -> PairMatches:
    """Match the views by a system, and measure each match's distance from its true place.

    A score s takes the place of the ratio 1 − s.
    """
    started = time.perf_counter()
    points1, points2, scores = system.match(pair.image1, pair.image2)
    match_ms = 1e3 * (time.perf_counter() - started)
    seen = in_front(points1, pair.homography, pair.size1)
    errors_px = np.where(seen, match_errors(points1, points2, pair.homography), np.inf)
    points1, points2 = read_only(points1), read_only(points2)
    return PairMatches(
        points1, points2, 1 - scores, errors_px, float("nan"), match_ms, own_keypoints=True
    )


def oracle_matches(pair: ViewPair, observation: Observation) -> PairMatches:
    """All true matches of the keypoints: what an ideal descriptor would find."""
    seen = np.flatnonzero(observation.seen1)
    keypoints1 = observation.keypoints1[seen]
    rows = true_matches(keypoints1, observation.keypoints2, pair.homography, CORRECT_PX)
    points1 = read_only(keypoints1[rows[:, 0]])
    points2 = read_only(observation.keypoints2[rows[:, 1]])
    errors_px = match_errors(points1, points2, pair.homography)
    return PairMatches(points1, points2, np.zeros(len(rows)), errors_px, 0.0, 0.0)


def estimate_from(estimator: Estimator, matches: PointMatches) -> Estimate:
    """The homography that an estimator finds from a pair's matches.

    An estimator with a ``max_ratio`` gets the matches up to that ratio, all others every match; one
    that samples in order gets them best first. The inliers are a mask of all matches.
    """
    rows = np.arange(len(matches.ratios))
    max_ratio = getattr(estimator, "max_ratio", None)
    if isinstance(max_ratio, float):  # "auto" is replaced by a number where there is a calibration
        rows = rows[matches.ratios <= max_ratio]
    if getattr(estimator, "best_first", False):
        rows = rows[np.argsort(matches.ratios[rows], kind="stable")]
    estimate = estimator(read_only(matches.points1[rows]), read_only(matches.points2[rows]))
    if not isinstance(estimate, Estimate):
        raise HomoregError(
            f"the estimator {type(estimator).__name__} returned a {type(estimate).__name__}: "
            "return a homoreg.geometry.Estimate"
        )
    inliers = np.zeros(len(matches.ratios), bool)
    inliers[rows] = estimate.inliers
    return replace(estimate, inliers=inliers)


def evaluate_matches(
    pair: ViewPair,
    observation: Observation,
    matches: PairMatches,
    estimators: Mapping[str, Estimator],
    factors: Mapping[str, float] | None = None,
    nearest: PairMatches | None = None,
) -> list[dict[str, Any]]:
    """A row for each estimator, all from the same matches.

    Args:
        pair: the views and the truth.
        observation: their keypoints; those of a system are not known, and their columns are NaN.
        matches: of a descriptor or a system.
        estimators: by name.
        factors: by estimator, how many times the predicted corner error bounds the true one.
        nearest: what the matcher keeps without its ratio test; by default the matches.
    """
    shared = (
        {"pair_id": pair.id, "photo": pair.photo, "group": pair.group}
        | _match_columns(observation, matches, nearest or matches)
        | {
            "rmse_identity_gray": observation.rmse_identity_gray,
            "rmse_oracle_gray": observation.rmse_oracle_gray,
            "describe_ms": matches.describe_ms,
            "match_ms": matches.match_ms,
        }
    )
    rows = []
    for name, estimator in estimators.items():
        started = time.perf_counter()
        estimate = estimate_from(estimator, matches)
        estimate_ms = 1e3 * (time.perf_counter() - started)
        lacking = observation.lacks_keypoints and not matches.own_keypoints
        status = "no_keypoints" if lacking else estimate.status
        rows.append(
            shared
            | {"estimator": name, "status": status, "estimate_ms": estimate_ms}
            | _estimate_columns(pair, matches, estimate, (factors or {}).get(name, np.nan))
            | {
                column: metric.compute(pair, matches, estimate)
                for column, metric in METRICS.items()
                if metric.compute
            }
        )
    return rows


def _match_columns(
    observation: Observation, matches: PairMatches, nearest: PairMatches
) -> dict[str, Any]:
    count = len(matches.errors_px)
    known = len(observation.keypoints1), len(observation.keypoints2), observation.repeatable
    keypoints1, keypoints2, repeatable = [np.nan] * 3 if matches.own_keypoints else known
    correct = {t: int((matches.errors_px <= t).sum()) for t in (1, 3, 5)}
    at_recall = precision_at_recall(
        nearest.ratios, nearest.errors_px <= CORRECT_PX, repeatable, EQUAL_RECALL
    )
    return {
        "keypoints_1": keypoints1,
        "keypoints_2": keypoints2,
        "repeatable": repeatable,
        "match_count": count,
        "correct_3px": correct[3],
        # A pair without matches counts as 0: leaving it out would flatter the descriptor.
        **{f"precision_{t}px": n / count if count else 0.0 for t, n in correct.items()},
        "recall_3px": correct[3] / repeatable if repeatable else float("nan"),
        "precision_at_recall_10": at_recall,
    }


def condition_estimate(
    matches: PointMatches, estimate: Estimate, size1: tuple[int, int]
) -> Conditioning:
    """The conditioning of the points that the final solve used; ``size1`` is that of view 1."""
    used = estimate.inliers
    return conditioning(
        matches.points1[used],
        matches.points2[used],
        estimate.homography,
        size1,
        estimate.configuration,
        estimate.covariance,
    )


def _kappa_correct(matches: PairMatches, estimate: Estimate) -> float:
    """κ of the correct inliers, each with the weight 1; NaN if they determine no homography."""
    correct = estimate.inliers & (matches.errors_px <= CORRECT_PX)
    points = estimate.configuration
    if points is None or (correct != estimate.inliers).any() or (points.weights < 1).any():
        points = Configuration(matches.points1[correct], matches.points2[correct])
    values, _ = points.normalized
    return float(values[0] / values[7]) if points.degeneracy == "none" else float("nan")


def _estimate_columns(
    pair: ViewPair, matches: PairMatches, estimate: Estimate, factor: float
) -> dict[str, Any]:
    """Errors, conditioning and pictures; an infinite error and NaN without an estimate."""
    H = estimate.homography
    numbers = condition_estimate(matches, estimate, pair.size1)
    aligned = compare_aligned(pair.image1, pair.image2, H)
    return {
        "corner_error_px": corner_error(H, pair.homography, pair.size1),
        "corner_error_rms_px": corner_error_rms(H, pair.homography, pair.size1),
        "inliers": int(estimate.inliers.sum()),
        "kappa": numbers.kappa,
        "kappa_correct": _kappa_correct(matches, estimate),
        "fit_gap": numbers.fit_gap,
        "kappa_raw": numbers.kappa_raw,
        # Of all matches, as the study had it.
        "kappa_notebook": numbers.kappa_notebook
        if estimate.inliers.all()
        else kappa_notebook(matches.points1, matches.points2),
        "dop": numbers.dop,
        "predicted_corner_error_px": numbers.predicted_corner_error_px,
        "bound_90_px": factor * numbers.predicted_corner_error_px,
        "hull_fraction": numbers.hull_fraction,
        "rmse_gray": aligned.rmse_gray,
        "ssim": aligned.ssim,
        "overlap_fraction": aligned.overlap_fraction,
        "rmse_notebook_gray": rmse_notebook_gray(pair.image1, pair.image2, H),
    }
