import cv2
import numpy as np
import pytest
from skimage import data as photographs

from homoreg.descriptors.peers import RootSift
from homoreg.evaluation import evaluate_pair
from homoreg.evaluation.table import COLUMNS
from homoreg.geometry import Estimator, transform_points

PHOTO = cv2.resize(photographs.astronaut(), (320, 240), interpolation=cv2.INTER_AREA)
TRUTH = np.array([[0.98, -0.06, 14.0], [0.05, 1.02, -9.0], [2e-5, -3e-5, 1.0]])
VIEW2 = cv2.warpPerspective(PHOTO, TRUTH, (320, 240), borderMode=cv2.BORDER_REFLECT)
BOTH = {"dlt": Estimator(), "magsac": Estimator("magsac")}
FLAT = np.full((240, 320, 3), 128, np.uint8)


class Oracle:
    """Describes a keypoint by where it lies in view 1, so that matching is as good as can be."""

    name = "oracle"
    metric = "l2"

    def __init__(self, truth: np.ndarray = TRUTH) -> None:
        self.back = np.linalg.inv(truth)

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        places = keypoints if image is PHOTO else transform_points(keypoints, self.back)
        return places.astype(np.float32)


class Constant:
    """Sees no difference between keypoints."""

    name = "constant"
    metric = "l2"

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        return np.ones((len(keypoints), 4), np.float32)


class Silent(Constant):
    """Can describe nothing."""

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        return np.full((len(keypoints), 4), np.nan, np.float32)


def test_a_row_for_each_estimator_from_the_same_matches() -> None:
    dlt, magsac = evaluate_pair(
        RootSift(support=32), PHOTO, VIEW2, TRUTH, estimators=BOTH, pair_id="7"
    )
    assert (dlt["pair_id"], dlt["estimator"], magsac["estimator"]) == ("7", "dlt", "magsac")
    assert dlt["match_count"] == magsac["match_count"] > 50
    assert dlt["inliers"] == dlt["match_count"] > magsac["inliers"] > 4
    assert set(COLUMNS) - set(dlt) == {"descriptor", "regularizer", "seed", "benchmark"}


def test_good_matches_give_a_small_error_and_a_picture_like_the_truth_s() -> None:
    _, row = evaluate_pair(RootSift(support=32), PHOTO, VIEW2, TRUTH, estimators=BOTH)
    assert row["status"] == "ok"
    assert row["corner_error_px"] < 2
    assert row["precision_3px"] > 0.7
    assert row["rmse_gray"] == pytest.approx(row["rmse_oracle_gray"], abs=3)
    assert row["rmse_oracle_gray"] < 8 < row["rmse_identity_gray"]


def test_precision_and_recall_count_what_they_say() -> None:
    (row,) = evaluate_pair(Oracle(), PHOTO, VIEW2, TRUTH)
    assert row["precision_1px"] <= row["precision_3px"] <= row["precision_5px"]
    assert row["precision_3px"] == row["correct_3px"] / row["match_count"]
    assert row["recall_3px"] == row["correct_3px"] / row["repeatable"]
    assert row["repeatable"] <= row["keypoints_1"]
    assert row["recall_3px"] > 0.8


@pytest.mark.parametrize(
    ("descriptor", "images", "status"),
    [
        (Oracle(), (FLAT, FLAT), "no_keypoints"),
        (Oracle(), (PHOTO, FLAT), "no_keypoints"),
        (Constant(), (PHOTO, VIEW2), "too_few_matches"),
        (Silent(), (PHOTO, VIEW2), "too_few_matches"),
        (Oracle(), (PHOTO[:1, :1], VIEW2[:1, :1]), "no_keypoints"),
    ],
)
def test_a_failure_is_a_row_with_its_reason(descriptor, images, status: str) -> None:  # noqa: ANN001
    for row in evaluate_pair(descriptor, *images, TRUTH, estimators=BOTH):
        assert row["status"] == status
        assert row["corner_error_px"] == np.inf
        assert row["corner_error_rms_px"] == np.inf
        assert np.isnan(row["rmse_gray"])
        assert row["precision_3px"] == 0
        assert row["inliers"] == 0


def test_collinear_matches_are_degenerate() -> None:
    def on_a_line(image: np.ndarray) -> np.ndarray:
        return np.stack([np.arange(20.0, 220, 10), np.full(20, 80.0)], axis=1)

    class InOrder(Constant):
        def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
            return np.eye(len(keypoints), dtype=np.float32)

    for row in evaluate_pair(
        InOrder(), PHOTO, PHOTO, np.eye(3), detector=on_a_line, estimators=BOTH
    ):
        assert (row["status"], row["corner_error_px"]) == ("degenerate", np.inf)
        assert row["match_count"] == 20


def test_views_may_differ_in_size() -> None:
    small = cv2.resize(PHOTO, (160, 120), interpolation=cv2.INTER_AREA)
    # Resizing by s moves points by x → s·x + (s − 1)/2.
    halved = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    _, row = evaluate_pair(Oracle(halved), PHOTO, small, halved, estimators=BOTH)
    assert row["status"] == "ok"
    assert row["rmse_oracle_gray"] < 12
    assert row["overlap_fraction"] == pytest.approx(1, abs=0.1)
    assert row["corner_error_px"] < 5
