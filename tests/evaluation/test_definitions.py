"""The same matches by the formulas of glue-factory and LoFTR, written out from their definitions.

Known differences, which the tests state: glue-factory puts a view's corners at 0 and W (here 0 and
W - 1, the centers of the outer pixels), measures a match's error symmetrically and counts it if
below the threshold (here: in view 2, at most the threshold), and weights its DLT by scores.
"""

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from skimage import data as photographs
from tests.baselines import RootSift

from homoreg.aggregates import corner_error_auc
from homoreg.evaluation import ViewPair
from homoreg.evaluation.pair import evaluate_matches, match_pair, observe
from homoreg.geometry import Estimator
from homoreg.matching import RatioMatcher, ShiTomasi

PHOTO = cv2.resize(photographs.astronaut(), (320, 240), interpolation=cv2.INTER_AREA)
TRUTH = np.array([[0.98, -0.06, 14.0], [0.05, 1.02, -9.0], [2e-5, -3e-5, 1.0]])
VIEW2 = cv2.warpPerspective(PHOTO, TRUTH, (320, 240), borderMode=cv2.BORDER_REFLECT)
PAIR = ViewPair("1", PHOTO, VIEW2, TRUTH)


def loftr_error_auc(errors: list[float], threshold: float) -> float:
    """``error_auc`` of LoFTR's ``src/utils/metrics.py``, the same as glue-factory's."""
    errors = [0.0, *sorted(errors)]
    recall = list(np.linspace(0, 1, len(errors)))
    last = np.searchsorted(errors, threshold)
    y = [*recall[:last], recall[last - 1]]
    x = [*errors[:last], threshold]
    return float(np.trapezoid(y, x) / threshold)


@given(
    st.lists(st.floats(0, 50) | st.just(float("inf")), min_size=1, max_size=60),
    st.sampled_from([1, 3, 5, 10]),
)
@example([0.0], 5.5)  # widths and threshold round differently
def test_auc_is_loftr_s(errors: list[float], threshold: float) -> None:
    [auc] = corner_error_auc(errors, [threshold])
    assert auc == pytest.approx(100 * loftr_error_auc(errors, threshold), abs=1e-9)
    assert 0 <= auc <= 100


def homogeneous(points: np.ndarray, H: np.ndarray) -> np.ndarray:
    mapped = np.c_[points, np.ones(len(points))] @ H.T
    return mapped[:, :2] / mapped[:, 2:]


def test_precision_and_corner_error_are_glue_factory_s_up_to_the_known_differences() -> None:
    observation = observe(PAIR, ShiTomasi())
    matches = match_pair(RootSift(support=32), PAIR, observation, RatioMatcher())
    (row,) = evaluate_matches(PAIR, observation, matches, {"dlt": Estimator()})

    forward = np.linalg.norm(homogeneous(matches.points1, TRUTH) - matches.points2, axis=1)
    assert row["precision_3px"] == (forward <= 3).mean()
    back = homogeneous(matches.points2, np.linalg.inv(TRUTH)) - matches.points1
    symmetric = (forward + np.linalg.norm(back, axis=1)) / 2  # sym_homography_error
    assert row["precision_3px"] == pytest.approx((symmetric < 3).mean(), abs=0.02)

    # homography_corner_error: the mean distance of the mapped corners.
    estimate = Estimator()(matches.points1, matches.points2).homography
    width, height = 320, 240
    for right, bottom, tolerance in ((width - 1, height - 1, 1e-9), (width, height, 0.02)):
        corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], float)
        offsets = homogeneous(corners, estimate) - homogeneous(corners, TRUTH)
        expected = np.linalg.norm(offsets, axis=1).mean()
        assert row["corner_error_px"] == pytest.approx(expected, rel=tolerance)
