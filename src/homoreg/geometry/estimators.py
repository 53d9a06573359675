"""From matches to one homography: plain DLT, or a robust search and DLT on its inliers.

A robust estimate is refitted: normalized DLT on the inliers of the search, then on the matches
within ``refit_px`` of the result, until these stay the same. ``refit="cauchy"`` gives near matches
more weight than far ones. ``refit_px="auto"`` fits the threshold to the noise of the matches.
Without the refit, matches between the noise and the threshold keep weight in the fit of MAGSAC and
pull it away.
"""

import importlib
import importlib.util
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import pydantic.dataclasses
from numpy.typing import ArrayLike, NDArray
from pydantic import AfterValidator, Field

from homoreg.errors import HomoregError
from homoreg.geometry.conditioning import Covariance
from homoreg.geometry.dlt import RANK_TOLERANCE, Configuration, undo_normalization
from homoreg.geometry.homography import (
    Array,
    Size,
    as_points,
    corners_of,
    folds,
    transform_points,
)
from homoreg.keyed import keyed_rng

Method = Literal[
    "dlt",
    "dlt_raw",
    "ransac",
    "lmeds",
    "magsac",
    "usac",
    "usac_fast",
    "usac_accurate",
    "prosac",
    "poselib",
]
Status = Literal["ok", "too_few_matches", "degenerate", "not_finite"]
Refit = Literal["least_squares", "cauchy"]
Mask = NDArray[np.bool_]
Pixels = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# Refits of ``refit_px="auto"``: the first threshold in pixels, and the second one over the median
# distance of the matches within twice the first. Under Gaussian noise of σ in x and y the median is
# 1.18 σ, and 3.5 σ keep 99.8 % of the right matches. Weights need no tight one: theirs is wider.
FIRST_REFIT_PX = 1.5
REFIT_PER_MEDIAN = {"least_squares": 3.0, "cauchy": 4.5}
WEIGHT_TOLERANCE = 1e-3  # weights that change by less count as unchanged
CAUCHY_PER_LIMIT = 1 / 3  # the scale of Cauchy's loss over the threshold, where the weight is 0.1
SMALLEST_REFIT_PX = 0.1  # no detector is more accurate, and rounding is no noise

# PROSAC's schedule in OpenCV is made for 200,000 samples. Where there are fewer samples of four, it
# draws the first four matches many times over, counts each draw, and may stop with nothing else.
FEWEST_FOR_PROSAC = 49

_OPENCV = {
    "ransac": cv2.RANSAC,
    "lmeds": cv2.LMEDS,
    "magsac": cv2.USAC_MAGSAC,
    "usac": cv2.USAC_DEFAULT,
    "usac_fast": cv2.USAC_FAST,
    "usac_accurate": cv2.USAC_ACCURATE,
}


@dataclass(frozen=True)
class Estimate:
    """A homography, or why there is none.

    Attributes:
        homography: ``(3, 3)`` view 1 to view 2, h33 = 1 where possible; None unless status is "ok".
        status: "ok"; "too_few_matches" (fewer than 4); "degenerate" (the matches, or the inliers of
            the robust step, do not determine an invertible map, or there are fewer than 4 inliers);
            "not_finite" (coordinates are NaN, infinite, or their products overflow float64).
        inliers: ``(N,)`` bool, the matches that the final solve used; none on failure.
        configuration: of the inliers with their weights, which
            :func:`~homoreg.geometry.conditioning` reuses.
        covariance: the covariance that :func:`~homoreg.geometry.conditioning` should compute:
            "plugin" where the inliers are right but for noise, "sandwich" where some may be wrong.
    """

    homography: Array | None
    status: Status
    inliers: Mask
    configuration: Configuration | None = None
    covariance: Covariance = "plugin"


def _check_refit(refit_px: float | str) -> float | str:
    if refit_px == "auto" or (isinstance(refit_px, float) and 0 < refit_px < np.inf):
        return refit_px
    raise ValueError("give a number above 0, or auto")


def _check_ratio(ratio: float | str | None) -> float | str | None:
    # OmegaConf, which reads the types of a config's classes, knows no Literal in a union.
    if ratio in (None, "auto") or (isinstance(ratio, float) and 0 < ratio <= 1):
        return ratio
    raise ValueError("give a number above 0 up to 1, auto, or null")


@pydantic.dataclasses.dataclass(frozen=True, config={"extra": "forbid"})
class Estimator:
    """A method with its options, callable on matches; ``conf/estimators/*.yaml`` builds it.

    Args:
        method: "dlt" (normalized), "dlt_raw" (raw pixels, as in the study), or a robust one:
            "ransac", "lmeds", "magsac", "usac", "usac_fast", "usac_accurate", "prosac" (all
            OpenCV), "poselib" (if installed). "prosac" samples early rows first, if there are 49
            matches or more: sort them, best first.
        threshold_px: inlier threshold of the search: largest distance in view 2 between ``H x1``
            and ``x2``. "lmeds" finds its own.
        confidence: wanted probability that one sample was free of outliers, in (0, 1).
        max_iterations: largest number of samples.
        refit: "least_squares" on the inliers, or "cauchy": iteratively reweighted, with the weight
            ``1 / (1 + (d / s)²)`` at the distance d, where s is a third of ``refit_px``.
        refit_px: inlier threshold of the refit, the same distance as above; "auto" for 3 (with
            "cauchy" 4.5) times the median distance of the matches from least squares at 1.5 px.
        refit_rounds: largest number of least-squares solves.
        seed: of the sampling. OpenCV's generators start at a fixed state, so the seed shuffles the
            matches ("prosac", whose order has a meaning, takes it as its generator's state).
        max_ratio: the estimator should get only the matches that pass this ratio test, in (0, 1];
            None for all; "auto" for the ratio chosen on validation pairs. The evaluation applies
            it; a call estimates from whatever matches it is given.

    "dlt" and "dlt_raw" use all matches and ignore the options of the search and the refit.

    Raises:
        pydantic.ValidationError: an option is out of its range.
        HomoregError: "poselib" where PoseLib is not installed.

    >>> square = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
    >>> Estimator("magsac")(square, 2 * square).homography.round(6) + 0.0
    array([[2., 0., 0.],
           [0., 2., 0.],
           [0., 0., 1.]])
    """

    method: Method = "dlt"
    threshold_px: Pixels = 2.0
    confidence: float = Field(default=0.999, gt=0, lt=1)
    max_iterations: int = Field(default=10_000, ge=1, lt=2**31)
    refit: Refit = "least_squares"
    refit_px: Annotated[float | str, AfterValidator(_check_refit)] = 1.5
    refit_rounds: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    max_ratio: Annotated[float | str | None, AfterValidator(_check_ratio)] = None

    def __post_init__(self) -> None:
        if self.method == "poselib" and importlib.util.find_spec("poselib") is None:
            raise HomoregError("method=poselib: PoseLib is not installed, `pip install poselib`")

    @property
    def best_first(self) -> bool:
        """Whether the matches must be sorted, best first."""
        return self.method == "prosac"

    def __call__(self, points1: ArrayLike, points2: ArrayLike) -> Estimate:
        """Estimate from ``(N, 2)`` matched pixels of the two views."""
        points1, points2 = as_points(points1), as_points(points2)
        if points1.shape != points2.shape:
            raise ValueError(f"matches must pair up, got {points1.shape} and {points2.shape}")
        everything = np.ones(len(points1), bool)
        if len(points1) < 4:
            return _failure("too_few_matches", everything)
        if not (np.isfinite(points1).all() and np.isfinite(points2).all()):
            return _failure("not_finite", everything)
        if self.method in ("dlt", "dlt_raw"):
            estimate = _solve(points1, points2, everything, normalize=self.method == "dlt")
            return replace(estimate, covariance="sandwich")
        inliers = self._search(points1, points2)
        if inliers.sum() < 4:
            return _failure("degenerate", everything)
        if isinstance(self.refit_px, float):
            return self._refit(points1, points2, inliers, self.refit_px, self.refit)
        first = self._refit(points1, points2, inliers, FIRST_REFIT_PX, "least_squares")
        if first.homography is None:
            return first
        distances = _distances(points1, points2, first.homography)
        median = np.median(distances[distances <= 2 * FIRST_REFIT_PX])
        limit_px = max(REFIT_PER_MEDIAN[self.refit] * float(median), SMALLEST_REFIT_PX)
        return self._refit(points1, points2, first.inliers, limit_px, self.refit)

    def _refit(
        self, points1: Array, points2: Array, inliers: Mask, limit_px: float, refit: Refit
    ) -> Estimate:
        """Least squares until inliers and weights stay, as long as they determine a homography."""
        estimate = _solve(points1, points2, inliers)
        for _ in range(self.refit_rounds - 1):
            if estimate.homography is None or estimate.configuration is None:
                break
            distances = _distances(points1, points2, estimate.homography)
            inliers = distances <= limit_px
            weights = np.ones(inliers.sum())
            if refit == "cauchy":
                weights = 1 / (1 + (distances[inliers] / (CAUCHY_PER_LIMIT * limit_px)) ** 2)
            if (inliers == estimate.inliers).all() and np.allclose(
                weights, estimate.configuration.weights, rtol=0, atol=WEIGHT_TOLERANCE
            ):
                break
            again = _solve(points1, points2, inliers, weights)
            if again.homography is None:
                break
            estimate = again
        return estimate

    def _search(self, points1: Array, points2: Array) -> Mask:
        """The robust search: its inliers ``(N,)``, none where it finds no homography."""
        if self.method == "prosac":
            parameters = cv2.UsacParams()
            few = len(points1) < FEWEST_FOR_PROSAC
            parameters.sampler = cv2.SAMPLING_UNIFORM if few else cv2.SAMPLING_PROSAC
            parameters.threshold = self.threshold_px
            parameters.confidence = self.confidence
            parameters.maxIterations = self.max_iterations
            parameters.randomGeneratorState = self.seed
            return _opencv(points1, points2, parameters)
        order = keyed_rng("order of matches", self.seed).permutation(len(points1))
        shuffled1, shuffled2 = points1[order], points2[order]
        if self.method == "poselib":
            options = {
                "max_reproj_error": self.threshold_px,
                "success_prob": self.confidence,
                "max_iterations": self.max_iterations,
            }
            kept = _poselib(shuffled1, shuffled2, options)
        else:
            kept = _opencv(
                shuffled1,
                shuffled2,
                _OPENCV[self.method],
                self.threshold_px,
                maxIters=self.max_iterations,
                confidence=self.confidence,
            )
        inliers = np.zeros(len(order), bool)
        inliers[order] = kept
        return inliers


def estimate_homography(
    points1: ArrayLike, points2: ArrayLike, method: Method = "dlt", **options: Any
) -> Estimate:
    """Estimate the homography of ``(N, 2)`` matches. Bad data gives a status, not an exception.

    Args and Raises: those of :class:`Estimator`.
    """
    return Estimator(method, **options)(points1, points2)


@dataclass(frozen=True)
class Spread:
    """Where repeated estimates put the corners of view 1.

    Attributes:
        corners: ``(R, 4, 2)`` pixels of view 2; NaN for an estimate that failed or folds the view.
        rms_px: RMS distance of a corner from its mean over the estimates, with R − 1 in the
            denominator; NaN with fewer than two.
        failures: number of failed or folding estimates.
    """

    corners: Array
    rms_px: float
    failures: int


def robust_spread(
    points1: ArrayLike,
    points2: ArrayLike,
    size1: Size,
    estimator: Estimator,
    repeats: int = 10,
) -> Spread:
    """The variance of the estimator itself: the same matches under ``repeats`` sampling seeds.

    Seeds count up from ``estimator.seed``, so the first run is the estimate itself. Zero for "dlt"
    and wherever every seed ends in the same inliers.
    """
    seeds = range(estimator.seed, estimator.seed + repeats)
    found = (replace(estimator, seed=seed)(points1, points2).homography for seed in seeds)
    view = corners_of(size1)
    corners = np.array(
        [
            np.full((4, 2), np.nan) if H is None or folds(H, size1) else transform_points(view, H)
            for H in found
        ]
    ).reshape(-1, 4, 2)
    valid = corners[np.isfinite(corners).all(axis=(1, 2))]
    variances = valid.var(axis=0, ddof=1) if len(valid) > 1 else np.full((4, 2), np.nan)
    rms_px = float(np.sqrt(variances.sum(axis=1).mean()))
    return Spread(corners, rms_px, len(corners) - len(valid))


@np.errstate(over="ignore", invalid="ignore")  # a distance beyond float64 is no inlier's
def _distances(points1: Array, points2: Array, homography: Array) -> Array:
    """``(N,)`` distances in view 2 between ``H x1`` and ``x2``."""
    return np.linalg.norm(transform_points(points1, homography) - points2, axis=1)


def _opencv(points1: Array, points2: Array, *arguments: Any, **options: Any) -> Mask:
    homography, kept = cv2.findHomography(points1, points2, *arguments, **options)
    # None where OpenCV finds nothing, whatever its stubs say.
    if homography is None or kept is None:
        return np.zeros(len(points1), bool)
    return kept.ravel() > 0


def _poselib(points1: Array, points2: Array, options: dict[str, Any]) -> Mask:
    _, found = importlib.import_module("poselib").estimate_homography(points1, points2, options, {})
    return np.asarray(found["inliers"], bool)


def _solve(
    points1: Array,
    points2: Array,
    used: Mask,
    weights: Array | None = None,
    *,
    normalize: bool = True,
) -> Estimate:
    """Least squares on the matches that are used, if they determine an invertible map."""
    matches = Configuration(points1[used], points2[used], weights)
    if matches.degeneracy == "not_finite":
        return _failure("not_finite", used)
    if matches.degeneracy != "none":
        return _failure("degenerate", used)
    homography = matches.solve(normalize=normalize).homography
    if not np.isfinite(homography).all():
        return _failure("not_finite", used)
    if _is_singular(homography, matches):
        return _failure("degenerate", used)
    return Estimate(homography, "ok", used, matches)


@np.errstate(all="ignore")
def _is_singular(homography: Array, matches: Configuration) -> bool:
    """Whether H is singular in normalized coordinates.

    If all points of view 2 but two coincide, the rank is 8 and H maps everything to one place.
    """
    normalized = matches.view2[1] @ homography @ undo_normalization(matches.view1[1])
    if not np.isfinite(normalized).all():
        return True
    stretches = np.linalg.svd(normalized, compute_uv=False)
    return bool(stretches[2] < RANK_TOLERANCE * stretches[0])


def _failure(status: Status, matches: Mask) -> Estimate:
    return Estimate(None, status, np.zeros_like(matches))
