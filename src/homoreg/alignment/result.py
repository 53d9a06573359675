"""What an alignment is: a homography, how far it can be trusted, and both as JSON."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from homoreg.geometry.homography import Array, Size

Status = Literal["aligned", "uncertain", "failed"]

# No verdict claims less: copies of the same pixels have keypoints without noise.
FINEST_PX = 0.1


@dataclass(frozen=True)
class Alignment:
    """The homography between two photographs and how far it can be trusted.

    Points, sizes and errors are in pixels of the full photographs, whatever size they were worked
    on at.

    Attributes:
        status: "aligned", "uncertain" or "failed".
        reason: why the status is not "aligned"; empty where it is.
        warnings: what else to know, such as parallax; one sentence each.
        homography: ``(3, 3)``, photograph 1 to photograph 2, h33 = 1 where possible; None if the
            status is "failed".
        predicted_corner_error_px: expected RMS error in photograph 2 of the four corners of
            photograph 1, from the residuals of the inliers; NaN without a homography.
        bound_90_px: calibrated bound, larger than the RMS corner error of 90 % of pairs; NaN where
            there is no calibration.
        calibration: what the bound rests on, or why there is none.
        size1, size2: (width, height) of the photographs.
        working_size1, working_size2: (width, height) that they were worked on at.
        keypoints1, keypoints2: number of keypoints.
        matches1, matches2: ``(M, 2)`` matched points of photographs 1 and 2.
        agreeing: number of matches within 3 px of the estimate at the working size.
        is_inlier: ``(M,)`` bool, the matches that the final solve used.
        covariance: ``(9, 9)`` of the homography, row by row; NaN without one.
        corner_covariances: ``(4, 2, 2)`` px² of the mapped corners of photograph 1, clockwise from
            the top left; NaN without a homography.
        factor: ``bound_90_px`` over ``predicted_corner_error_px``; NaN without calibration.
        descriptor: its name.
        steps: detector, matcher and estimator as text.
        turn_deg: by how much photograph 2 is turned clockwise relative to photograph 1, to the
            nearest quarter turn at which they match: 0, 90, 180 or 270. The homography and the
            points are for the photographs as given.
    """

    status: Status
    reason: str
    warnings: tuple[str, ...]
    homography: Array | None
    predicted_corner_error_px: float
    bound_90_px: float
    calibration: str
    size1: Size
    size2: Size
    working_size1: Size
    working_size2: Size
    keypoints1: int
    keypoints2: int
    matches1: Array
    matches2: Array
    agreeing: int
    is_inlier: np.ndarray
    covariance: Array
    corner_covariances: Array
    factor: float
    descriptor: str
    steps: dict[str, str]
    turn_deg: int = 0

    @property
    def verdict(self) -> str:
        """The status in words, such as ``aligned to within 0.8 px``."""
        turned = ""
        if self.turn_deg:
            turned = f"; photograph 2 is turned clockwise by {self.turn_deg} degrees"
        if self.status != "aligned":
            return f"{self.status}, because {self.reason}{turned}"
        notes = (", on one of several planes" if self.warnings else "") + turned
        if math.isfinite(self.bound_90_px):
            return f"aligned to within {max(self.bound_90_px, FINEST_PX):.2g} px{notes}"
        about_px = max(self.predicted_corner_error_px, FINEST_PX)
        return f"aligned to about {about_px:.2g} px (not calibrated){notes}"

    @property
    def inliers(self) -> int:
        """Number of matches that the final solve used."""
        return int(self.is_inlier.sum())

    @property
    def points1(self) -> Array:
        """``(N, 2)`` the inliers in photograph 1."""
        return self.matches1[self.is_inlier]

    @property
    def points2(self) -> Array:
        """``(N, 2)`` the inliers in photograph 2."""
        return self.matches2[self.is_inlier]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None for numbers that are not finite."""
        return {
            "status": self.status,
            "verdict": self.verdict,
            "warnings": list(self.warnings),
            "homography": _plain(self.homography),
            "turn_deg": self.turn_deg,
            "inliers": self.inliers,
            "predicted_corner_error_px": _plain(self.predicted_corner_error_px),
            "bound_90_px": _plain(self.bound_90_px),
            "calibration": self.calibration,
            "agreeing": self.agreeing,
            "matches": len(self.matches1),
            "keypoints1": self.keypoints1,
            "keypoints2": self.keypoints2,
            "size1": list(self.size1),
            "size2": list(self.size2),
            "working_size1": list(self.working_size1),
            "working_size2": list(self.working_size2),
            "descriptor": self.descriptor,
            **self.steps,
            "covariance": _plain(self.covariance),
            "corner_covariances_px2": _plain(self.corner_covariances),
            "points1": _plain(self.points1),
            "points2": _plain(self.points2),
        }


def _plain(value: Any) -> Any:
    """Lists and floats of an array; None for a number that is not finite, and for no array."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, np.ndarray):
        return _plain(value.tolist()) if np.isfinite(value).all() else None
    return value
