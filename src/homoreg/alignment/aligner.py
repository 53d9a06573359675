"""From two photographs to an :class:`Alignment`: detect, describe, match, estimate, decide."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from homoreg.alignment.result import Alignment, Status
from homoreg.alignment.verdict import agreeing, doubt, failure, second_plane
from homoreg.data.images import as_rgb, limit_side, read_image
from homoreg.descriptors.descriptor import Descriptor
from homoreg.errors import HomoregError
from homoreg.evaluation.calibration import Bound
from homoreg.evaluation.pair import (
    Matcher,
    PointMatches,
    condition_estimate,
    describe_view,
    estimate_from,
    read_only,
)
from homoreg.geometry import (
    Estimate,
    Estimator,
    quarter_turn,
    resized_covariance,
    resized_homography,
    resizing,
    scaled,
    transform_points,
)
from homoreg.geometry.conditioning import corner_covariances, dilution_of_precision
from homoreg.geometry.frames import transform_frames
from homoreg.geometry.homography import Array, Size
from homoreg.matching import Detector, detect

Photograph = str | Path | np.ndarray

MAX_SIDE_PX = 1024
MIN_SIDE_PX = 64
TURNS_DEG = (90, 180, 270)
NOT_CALIBRATED = "no bound: none was calibrated for this descriptor and these steps"


@dataclass(frozen=True)
class DescribedView:
    """What alignment needs of a photograph.

    Attributes:
        size: (width, height) of the photograph.
        working_size: (width, height) that it was reduced to.
        keypoints: ``(N, 2)`` pixels of the working size.
        descriptors: the keypoints' descriptors ``(N, D)`` float32 after the photograph is turned
            counterclockwise by 0, 90, 180 or 270°; computed when they are first asked for.
    """

    size: Size
    working_size: Size
    keypoints: np.ndarray
    descriptors: Callable[[int], np.ndarray]

    def in_full(self, points: np.ndarray) -> Array:
        """``(N, 2)`` points of the working size as points of the photograph."""
        return transform_points(points, resizing(self.working_size, self.size))


@dataclass(frozen=True)
class Steps:
    """The steps that find a homography, besides the descriptor."""

    detector: Detector
    matcher: Matcher
    estimator: Estimator

    def as_text(self) -> dict[str, str]:
        """Each step with its options."""
        return {name: repr(step) for name, step in vars(self).items()}


@dataclass(frozen=True)
class Aligner:
    """Aligns photographs; :func:`~homoreg.alignment.load_aligner` builds one.

    Attributes:
        name: of the descriptor, as it was asked for.
        descriptor: describes the keypoints.
        steps: detector, matcher and estimator.
        bound: by which the predicted corner error becomes a calibrated bound; None without a
            calibration.
        max_side_px: photographs with a longer side are reduced to this one before anything is
            detected; None never reduces.

    Raises:
        HomoregError: ``max_side_px`` is too small.
    """

    name: str
    descriptor: Descriptor
    steps: Steps
    bound: Bound | None = None
    max_side_px: int | None = MAX_SIDE_PX

    def __post_init__(self) -> None:
        if self.max_side_px is not None and self.max_side_px < MIN_SIDE_PX:
            raise HomoregError(
                f"max_side_px={self.max_side_px}: give {MIN_SIDE_PX} pixels or more, or null"
            )

    @property
    def factor(self) -> float:
        """Calibrated bound over predicted corner error; NaN without a calibration."""
        return self.bound.factor if self.bound else math.nan

    def __call__(self, image1: Photograph, image2: Photograph) -> Alignment:
        """Align two photographs; see :func:`~homoreg.align_images`."""
        photographs = (as_photograph(image1, "image1"), as_photograph(image2, "image2"))
        return self.align(*map(self.describe, photographs))

    def describe(self, image: np.ndarray) -> DescribedView:
        """Detect the keypoints of ``(H, W, 3)`` uint8 RGB at the working size and describe them."""
        reduced = read_only(limit_side(image, self.max_side_px))
        size, frames = size_of(reduced), detect(self.steps.detector, reduced)

        @cache
        def descriptors(turn_deg: int) -> np.ndarray:
            turned = np.ascontiguousarray(np.rot90(reduced, turn_deg // 90))
            moved = transform_frames(frames, quarter_turn(size, turn_deg))
            return describe_view(self.descriptor, turned, moved)

        return DescribedView(size_of(image), size, frames[:, :2], descriptors)

    def align(self, view1: DescribedView, view2: DescribedView) -> Alignment:
        """Align two described photographs.

        Windows are upright, so where this does not succeed it is tried again with the keypoints of
        photograph 2 described after quarter turns.
        """
        upright = self._attempt(view1, view2, 0)
        if upright.status == "aligned":
            return upright
        turned = [self._attempt(view1, view2, turn_deg) for turn_deg in TURNS_DEG]
        found = [attempt for attempt in (upright, *turned) if attempt.status != "failed"]
        order = ("uncertain", "aligned")
        return max(found, key=lambda a: (order.index(a.status), a.agreeing), default=upright)

    def _attempt(self, view1: DescribedView, view2: DescribedView, turn_deg: int) -> Alignment:
        """Align two photographs, the second one described after a quarter turn."""
        matches = self._match(view1, view2, turn_deg)
        estimate = estimate_from(self.steps.estimator, matches)
        agree = int(agreeing(matches, estimate.homography).sum())
        reason = _missing(view1, view2) or failure(matches, estimate, agree, view1.working_size)
        status: Status = "failed"
        homography, covariance = None, np.full((9, 9), np.nan)
        corners = np.full((4, 2, 2), np.nan)
        warnings = []
        if estimate.homography is not None and not reason:
            homography, covariance = _in_full(matches, estimate, view1, view2)
            corners = corner_covariances(homography, covariance, view1.size)
            reason = doubt(
                agree,
                dilution_of_precision(corners) * (self.factor if math.isfinite(self.factor) else 1),
                math.hypot(*view2.size),
            )
            status = "uncertain" if reason else "aligned"
            if others := second_plane(matches, estimate.homography, self.steps.estimator):
                warnings.append(
                    f"parallax: {others} other matches agree on a second homography, so that the "
                    "photographs do not show one plane; the errors are for the plane of the inliers"
                )
        predicted_px = dilution_of_precision(corners)
        return Alignment(
            status=status,
            reason=reason,
            warnings=tuple(warnings),
            homography=homography,
            predicted_corner_error_px=predicted_px,
            bound_90_px=self.factor * predicted_px,
            calibration=self.bound.in_words() if self.bound else NOT_CALIBRATED,
            size1=view1.size,
            size2=view2.size,
            working_size1=view1.working_size,
            working_size2=view2.working_size,
            keypoints1=len(view1.keypoints),
            keypoints2=len(view2.keypoints),
            matches1=view1.in_full(matches.points1),
            matches2=view2.in_full(matches.points2),
            agreeing=agree,
            is_inlier=estimate.inliers,
            covariance=covariance,
            corner_covariances=corners,
            factor=self.factor,
            descriptor=self.name,
            steps=self.steps.as_text(),
            turn_deg=turn_deg,
        )

    def _match(self, view1: DescribedView, view2: DescribedView, turn_deg: int) -> PointMatches:
        """Matched keypoints at the working size, where they are in the photographs as given."""
        if not len(view1.keypoints) or not len(view2.keypoints):
            return PointMatches(np.empty((0, 2)), np.empty((0, 2)), np.empty(0))
        descriptors = view1.descriptors(0), view2.descriptors(turn_deg)
        found = self.steps.matcher(*descriptors, self.descriptor.metric)
        rows1, rows2 = found.indices.T
        return PointMatches(view1.keypoints[rows1], view2.keypoints[rows2], found.ratios)


def as_photograph(image: Photograph, name: str) -> np.ndarray:
    """A file or an array as ``(H, W, 3)`` uint8 RGB; the name of an array is for errors."""
    return as_rgb(image, name) if isinstance(image, np.ndarray) else read_image(image)


def size_of(image: np.ndarray) -> Size:
    """(width, height)."""
    return image.shape[1], image.shape[0]


def _missing(view1: DescribedView, view2: DescribedView) -> str:
    """Which photograph has no keypoints, empty if both have."""
    blank = [i for i, view in enumerate((view1, view2), start=1) if not len(view.keypoints)]
    if len(blank) == 2:
        return "the photographs have no keypoints"
    return f"photograph {blank[0]} has no keypoints" if blank else ""


def _in_full(
    matches: PointMatches, estimate: Estimate, view1: DescribedView, view2: DescribedView
) -> tuple[Array, Array]:
    """The homography between the full photographs, h33 = 1, and its covariance.

    The noise of a keypoint is assumed to be of equal size in both photographs at the working size.
    """
    assert estimate.homography is not None
    numbers = condition_estimate(matches, estimate, view1.working_size)
    sizes = (view1.working_size, view1.size, view2.working_size, view2.size)
    homography = resized_homography(estimate.homography, *sizes)
    covariance = resized_covariance(numbers.covariance, *sizes)
    normalized = scaled(homography)
    factor = np.linalg.norm(normalized) / np.linalg.norm(homography)
    return normalized, factor**2 * covariance
