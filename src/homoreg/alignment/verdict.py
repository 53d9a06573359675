"""Whether an estimated homography aligns two photographs, and in words why not.

How the thresholds were chosen: docs/aligning.md.
"""

import math

import numpy as np

from homoreg.evaluation.pair import PointMatches
from homoreg.geometry import FEW_MATCHES, Estimate, Estimator, folds
from homoreg.geometry.homography import Array, Size
from homoreg.matching import match_errors

# A match agrees with a homography within this distance, pixels at the working size.
AGREE_PX = 3.0
# With fewer agreeing matches, or a smaller share of all matches, photographs are taken for
# unrelated: that many can agree by chance.
CHANCE_MATCHES, CHANCE_SHARE = 8, 0.1
# With a larger error than this share of photograph 2's diagonal it is uncertain, too.
MAX_ERROR_SHARE = 0.01


def agreeing(matches: PointMatches, homography: Array | None) -> np.ndarray:
    """``(M,)`` bool, which matches agree with a homography; both at the working size."""
    if homography is None:
        return np.zeros(len(matches.ratios), bool)
    with np.errstate(all="ignore"):
        return match_errors(matches.points1, matches.points2, homography) <= AGREE_PX


def failure(matches: PointMatches, estimate: Estimate, agree: int, size1: Size) -> str:
    """Why there is no alignment, empty if there is one.

    Args:
        matches, estimate: at the working size.
        agree: number of matches that agree with the estimate.
        size1: (width, height) of photograph 1, at the working size.
    """
    count = len(matches.ratios)
    if count < CHANCE_MATCHES:
        return f"there are only {count} matches, as in photographs without overlap"
    if estimate.homography is None:
        return f"the {count} matches do not determine a homography"
    if agree < max(CHANCE_MATCHES, CHANCE_SHARE * count):
        return f"only {agree} of {count} matches agree, as in photographs without overlap"
    if folds(estimate.homography, size1):
        return "the homography maps a part of photograph 1 through infinity"
    return ""


def doubt(agree: int, error_px: float, diagonal2_px: float) -> str:
    """Why an alignment is uncertain, empty if it is not.

    Args:
        agree: number of agreeing matches.
        error_px: the calibrated bound, or the predicted corner error where there is none.
        diagonal2_px: of photograph 2.
    """
    if agree < FEW_MATCHES:
        return f"only {agree} matches agree"
    if not math.isfinite(error_px):
        return "too few matches fit to tell how accurate it is"
    if error_px > MAX_ERROR_SHARE * diagonal2_px:
        return f"the corners are known only to within {error_px:.2g} px"
    return ""


def second_plane(matches: PointMatches, homography: Array, estimator: Estimator) -> int:
    """How many of the other matches agree on a second homography; 0 where that may be chance.

    Args:
        matches, homography: at the working size.
        estimator: of the first homography.
    """
    others = ~agreeing(matches, homography)
    rest = PointMatches(matches.points1[others], matches.points2[others], matches.ratios[others])
    second = estimator(rest.points1, rest.points2).homography
    if second is None:
        return 0
    agree = int(agreeing(rest, second).sum())
    return agree if agree >= max(CHANCE_MATCHES, CHANCE_SHARE * len(rest.ratios)) else 0
