"""From matches to one homography: plain DLT, or a robust estimator and DLT on what it keeps."""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from homoreg.errors import HomoregError
from homoreg.geometry.conditioning import configuration
from homoreg.geometry.homography import (
    RANK_TOLERANCE,
    Array,
    as_points,
    dlt_homography,
    hartley_normalization,
    scaled,
    undo_normalization,
)
from homoreg.keyed import keyed_rng

Status = Literal["ok", "too_few_matches", "degenerate", "not_finite"]
Found = tuple[Array | None, NDArray[np.bool_]]

_OPENCV = {
    "ransac": cv2.RANSAC,
    "lmeds": cv2.LMEDS,
    "magsac": cv2.USAC_MAGSAC,
    "usac": cv2.USAC_DEFAULT,
    "usac_fast": cv2.USAC_FAST,
    "usac_accurate": cv2.USAC_ACCURATE,
}
METHODS = ("dlt", "dlt_raw", *_OPENCV, "prosac", "poselib")


@dataclass(frozen=True)
class Estimate:
    """A homography, or why there is none.

    Attributes:
        homography: ``(3, 3)`` view 1 to view 2, h33 = 1 where possible; None unless status is "ok".
        status: "ok"; "too_few_matches" (fewer than 4); "degenerate" (the matches, or those the
            robust step kept, do not determine an invertible map, or it kept fewer than 4);
            "not_finite" (coordinates are NaN, infinite, or beyond float64 when multiplied).
        inliers: ``(N,)`` bool, the matches that the final solve used; none on failure.
        singular_values: ``(9,)`` of the final solve's matrix, descending (for an estimate that was
            not refined, of its inliers' normalized matrix); None on failure.
    """

    homography: Array | None
    status: Status
    inliers: NDArray[np.bool_]
    singular_values: Array | None


@dataclass(frozen=True)
class Estimator:
    """A method with its options, callable on matches: what ``conf/estimators/*.yaml`` builds.

    Args:
        method: "dlt" (normalized), "dlt_raw" (raw pixels, as in the study), or a robust one:
            "ransac", "lmeds", "magsac", "usac", "usac_fast", "usac_accurate", "prosac" (all
            OpenCV), "poselib" (where installed). "prosac" samples early rows first: give it the
            best matches first.
        threshold_px: largest distance in view 2 between ``H x1`` and ``x2`` of an inlier.
            "lmeds" finds its own.
        confidence: wanted probability that one sample was free of outliers, in (0, 1).
        max_iterations: most samples drawn.
        refine: solve again by normalized DLT on the inliers. None: for "ransac" only. There it
            mostly lowers the corner error, by 2 to 25 %; MAGSAC's own weighted fit is better than
            a DLT on a hard choice of inliers, by up to 18 % at the same threshold.
        seed: of the sampling. OpenCV's generators start at a fixed state, so the seed shuffles the
            matches ("prosac", whose order has a meaning, takes it as its generator's state).

    The options after ``method`` mean nothing to "dlt" and "dlt_raw".

    Raises:
        HomoregError: an option that cannot be, or "poselib" where PoseLib is not installed.

    >>> square = np.array([[0, 0], [9, 0], [9, 9], [0, 9]])
    >>> Estimator("magsac")(square, 2 * square).homography.round(6) + 0.0
    array([[2., 0., 0.],
           [0., 2., 0.],
           [0., 0., 1.]])
    """

    method: str = "dlt"
    threshold_px: float = 3.0
    confidence: float = 0.999
    max_iterations: int = 10_000
    refine: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        def require(holds: bool, option: str, mend: str) -> None:
            if not holds:
                value = getattr(self, option)
                raise HomoregError(f"estimator option {option}={value!r}: {mend}")

        require(self.method in METHODS, "method", f"choose one of {', '.join(METHODS)}")
        require(0 < self.threshold_px < np.inf, "threshold_px", "give pixels above 0")
        require(0 < self.confidence < 1, "confidence", "give a probability between 0 and 1")
        require(1 <= self.max_iterations < 2**31, "max_iterations", "give 1 or more")
        require(0 <= self.seed < 2**31, "seed", "give a whole number from 0 to 2³¹ - 1")
        if self.method == "poselib":
            installed = importlib.util.find_spec("poselib") is not None
            require(installed, "method", "PoseLib is not installed, `pip install poselib`")

    @property
    def best_first(self) -> bool:
        """Whether the order of the matches has a meaning: the best stand first."""
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
            return _solve(points1, points2, everything, normalize=self.method == "dlt")
        homography, inliers = self._robust(points1, points2)
        if homography is None or inliers.sum() < 4:
            return _failure("degenerate", everything)
        refine = self.method == "ransac" if self.refine is None else self.refine
        return _solve(points1, points2, inliers, homography=None if refine else scaled(homography))

    def _robust(self, points1: Array, points2: Array) -> Found:
        if self.method == "prosac":
            parameters = cv2.UsacParams()
            parameters.sampler = cv2.SAMPLING_PROSAC
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
            homography, kept = _poselib(shuffled1, shuffled2, options)
        else:
            homography, kept = _opencv(
                shuffled1,
                shuffled2,
                _OPENCV[self.method],
                self.threshold_px,
                maxIters=self.max_iterations,
                confidence=self.confidence,
            )
        inliers = np.zeros(len(order), bool)
        inliers[order] = kept
        return homography, inliers


def estimate_homography(
    points1: ArrayLike, points2: ArrayLike, method: str = "dlt", **options: Any
) -> Estimate:
    """Estimate the homography of ``(N, 2)`` matches; bad data is a status and not an exception.

    Args and Raises: those of :class:`Estimator`.
    """
    return Estimator(method, **options)(points1, points2)


def _opencv(points1: Array, points2: Array, *how: Any, **options: Any) -> Found:
    homography, kept = cv2.findHomography(points1, points2, *how, **options)
    # None where OpenCV found nothing, whatever its stubs say.
    if homography is None or kept is None:
        return None, np.zeros(len(points1), bool)
    return np.asarray(homography, np.float64), kept.ravel() > 0


def _poselib(points1: Array, points2: Array, options: dict[str, Any]) -> Found:
    poselib = importlib.import_module("poselib")
    homography, found = poselib.estimate_homography(points1, points2, options, {})
    return homography, np.asarray(found["inliers"], bool)


def _solve(
    points1: Array,
    points2: Array,
    used: NDArray[np.bool_],
    *,
    normalize: bool = True,
    homography: Array | None = None,
) -> Estimate:
    """Check the matches that are used, and solve by DLT unless the homography is given."""
    points1, points2 = points1[used], points2[used]
    degeneracy, values = configuration(points1, points2)
    if degeneracy != "none":
        return _failure("not_finite" if degeneracy == "not_finite" else "degenerate", used)
    if homography is None:
        fit = dlt_homography(points1, points2, normalize=normalize)
        homography, values = fit.homography, fit.singular_values
    if not np.isfinite(homography).all():
        return _failure("not_finite", used)
    if _collapses(homography, points1, points2):
        return _failure("degenerate", used)
    return Estimate(homography, "ok", used, values)


def _collapses(homography: Array, points1: Array, points2: Array) -> bool:
    """Whether H is singular, as seen in coordinates in which both sets of points have size 1.

    All points of view 2 but two at one place give rank 8, and a map of everything to that place.
    """
    _, transform1 = hartley_normalization(points1)
    _, transform2 = hartley_normalization(points2)
    normalized = transform2 @ homography @ undo_normalization(transform1)
    if not np.isfinite(normalized).all():
        return True
    stretches = np.linalg.svd(normalized, compute_uv=False)
    return bool(stretches[2] < RANK_TOLERANCE * stretches[0])


def _failure(status: Status, matches: NDArray[np.bool_]) -> Estimate:
    return Estimate(None, status, np.zeros_like(matches), None)
