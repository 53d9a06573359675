import re
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from skimage import data as photographs
from tests.baselines import Constant, Orb, RawPatches, RootSift, Silent

from homoreg.descriptors.inference import NetworkDescriptor
from homoreg.descriptors.window import PatchWindow
from homoreg.errors import HomoregError
from homoreg.evaluation import evaluate_pair
from homoreg.geometry import Estimate, Estimator, transform_points
from homoreg.metrics import COLUMNS

PHOTO = cv2.resize(photographs.astronaut(), (320, 240), interpolation=cv2.INTER_AREA)
PHOTO.setflags(write=False)  # descriptors get the very array, by which they know the view
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


class InOrder(Constant):
    """Matches the k-th keypoint of one view with the k-th of the other, whatever they are."""

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        return np.eye(len(keypoints), 40, dtype=np.float32)


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
def test_a_failure_is_a_row_with_its_reason(descriptor, images, status: str) -> None:
    for row in evaluate_pair(descriptor, *images, TRUTH, estimators=BOTH):
        assert row["status"] == status
        assert row["corner_error_px"] == np.inf
        assert row["corner_error_rms_px"] == np.inf
        assert np.isnan(row["rmse_gray"])
        assert row["precision_3px"] == 0
        assert row["inliers"] == 0


def test_views_may_differ_in_size() -> None:
    small = cv2.resize(PHOTO, (160, 120), interpolation=cv2.INTER_AREA)
    # Resizing by s moves points by x → s·x + (s − 1)/2.
    halved = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    _, row = evaluate_pair(Oracle(halved), PHOTO, small, halved, estimators=BOTH)
    assert row["status"] == "ok"
    assert row["rmse_oracle_gray"] < 12
    assert row["overlap_fraction"] == pytest.approx(1, abs=0.1)
    assert row["corner_error_px"] < 5


def fixed(*points: tuple[float, float]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: np.array(points, np.float64).reshape(-1, 2)


CORNERS = [(20.0, 20.0), (300.0, 30.0), (290.0, 220.0), (25.0, 200.0)]


@pytest.mark.parametrize("count", range(5))
def test_zero_to_four_matches(count: int) -> None:
    for row in evaluate_pair(
        InOrder(), PHOTO, PHOTO, np.eye(3), detector=fixed(*CORNERS[:count]), estimators=BOTH
    ):
        assert row["match_count"] == row["correct_3px"] == count
        assert row["status"] == {0: "no_keypoints", 4: "ok"}.get(count, "too_few_matches")
        if count == 4:
            assert row["corner_error_px"] < 1e-6
            # Four matches leave no residual: nothing is known of the noise.
            assert np.isnan(row["predicted_corner_error_px"])
        else:
            assert row["corner_error_px"] == np.inf


@pytest.mark.parametrize("points", [[(x, 80.0) for x in range(20, 220, 10)], [(50.0, 60.0)] * 20])
def test_matches_on_a_line_or_a_point_are_degenerate(points: list[tuple[float, float]]) -> None:
    for row in evaluate_pair(
        InOrder(), PHOTO, PHOTO, np.eye(3), detector=fixed(*points), estimators=BOTH
    ):
        assert (row["status"], row["corner_error_px"]) == ("degenerate", np.inf)
        assert row["match_count"] == 20


def test_keypoints_that_are_no_places_are_none() -> None:
    broken = fixed((np.nan, 5.0), (np.inf, 9.0), (3.0, -np.inf), *CORNERS)
    (row,) = evaluate_pair(InOrder(), PHOTO, PHOTO, np.eye(3), detector=broken)
    assert row["keypoints_1"] == row["keypoints_2"] == row["match_count"] == 4
    assert (row["status"], row["precision_1px"]) == ("ok", 1.0)
    (row,) = evaluate_pair(InOrder(), PHOTO, PHOTO, np.eye(3), detector=fixed((np.nan, np.nan)))
    assert (row["status"], row["keypoints_1"]) == ("no_keypoints", 0)


def test_outliers_alone_are_never_an_estimate_that_looks_good() -> None:
    rng = np.random.default_rng(0)
    drawn = iter([rng.uniform(0, 240, (40, 2)), rng.uniform(0, 240, (40, 2))])
    for row in evaluate_pair(
        InOrder(), PHOTO, PHOTO, np.eye(3), detector=lambda image: next(drawn), estimators=BOTH
    ):
        assert row["precision_3px"] == 0
        assert row["corner_error_px"] > 20


@pytest.mark.parametrize(
    "truth",
    [np.diag([1.0, 1.0, np.nan]), np.diag([1.0, np.inf, 1.0]), np.diag([1.0, 1.0, 0.0]), np.eye(2)],
)
def test_a_truth_that_is_none_is_refused(truth: np.ndarray) -> None:
    with pytest.raises(HomoregError, match="pair 9: the true homography must be 3×3, finite and"):
        evaluate_pair(Oracle(), PHOTO, VIEW2, truth, pair_id="9")


@pytest.mark.parametrize(
    "image", [PHOTO[..., 0], PHOTO / 255, PHOTO[:0], np.dstack([PHOTO, PHOTO[..., :1]])]
)
def test_an_image_of_another_kind_is_refused(image: np.ndarray) -> None:
    with pytest.raises(HomoregError, match=r"image2 is .* give \(H, W, 3\) uint8"):
        evaluate_pair(Oracle(), PHOTO, image, TRUTH)


@pytest.mark.parametrize("name", ["rootsift", "orb", "raw_patches", "network"])
@pytest.mark.parametrize(
    ("image", "keypoints", "named"),
    [
        (PHOTO[..., 0], np.zeros((4, 2)), "the image is (240, 320) of uint8"),
        (PHOTO / 255, np.zeros((4, 2)), "of float64"),
        (np.dstack([PHOTO, PHOTO[..., :1]]), np.zeros((4, 2)), "(240, 320, 4) of uint8"),
        (PHOTO, np.zeros(8), "the keypoints are (8,)"),
        (PHOTO, np.zeros((2, 5)), "the keypoints are (2, 5)"),
    ],
)
def test_describe_refuses_what_it_cannot_describe(
    name: str, image: np.ndarray, keypoints: np.ndarray, named: str
) -> None:
    window = PatchWindow(32, 16)
    described = {
        "rootsift": RootSift(support=32),
        "orb": Orb(),
        "raw_patches": RawPatches(32, 16),
        "network": NetworkDescriptor(torch.nn.Flatten(), window, "network", device="cpu"),
    }
    with pytest.raises(HomoregError, match=re.escape(named)):
        described[name].describe(image, keypoints)


def test_a_truth_that_sends_a_part_of_the_view_to_infinity() -> None:
    """Nothing beyond the horizon is repeatable or right, and there is no finite corner error."""
    truth = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 250, 0, 1]])  # x = 250 goes to infinity
    beyond, before = (300.0, 100.0), (100.0, 100.0)
    seen = iter(
        [np.array([before, beyond]), transform_points([before, beyond], truth)]
    )  # both where the matrix says, one of them from behind the camera
    (row,) = evaluate_pair(InOrder(), PHOTO, PHOTO, truth, detector=lambda image: next(seen))
    assert (row["repeatable"], row["match_count"], row["correct_3px"]) == (1, 2, 1)
    assert row["corner_error_px"] == np.inf
    exactly = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 319, 0, 1]])  # the right border's corners
    for row in evaluate_pair(Oracle(exactly), PHOTO, VIEW2, exactly, estimators=BOTH):
        assert row["corner_error_px"] == row["corner_error_rms_px"] == np.inf


@pytest.mark.parametrize("size", [(1, 1), (1, 320), (240, 1), (2, 2)])
def test_a_view_of_a_pixel_or_a_line(size: tuple[int, int]) -> None:
    tiny = np.ascontiguousarray(PHOTO[: size[0], : size[1]])
    for views in ((tiny, VIEW2), (PHOTO, tiny), (tiny, tiny)):
        for descriptor in (RootSift(support=32), Constant()):
            for row in evaluate_pair(descriptor, *views, TRUTH, estimators=BOTH):
                assert row["status"] != "ok"
                assert row["corner_error_px"] == np.inf


@pytest.mark.parametrize(
    ("returned", "named"),
    [
        (np.ones((3, 8), np.float32), r"\(3, 8\) of float32"),
        (np.ones(4, np.float32), r"\(4,\) of float32"),
        (np.ones((4, 0), np.float32), r"\(4, 0\) of float32"),
        (np.full((4, 8), "a"), r"\(4, 8\) of <U1"),
        (np.ones((4, 8), complex), r"\(4, 8\) of complex128"),
        ([[1.0, 2.0]] * 4, "list"),
        (None, "NoneType"),
    ],
)
def test_what_describe_must_not_return_is_named(returned: Any, named: str) -> None:
    class Odd(Constant):
        name = "odd"

        def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
            return returned

    with pytest.raises(HomoregError, match=f"descriptor odd: describe returned {named} for 4"):
        evaluate_pair(Odd(), PHOTO, VIEW2, TRUTH, detector=fixed(*CORNERS))


@pytest.mark.parametrize("correct", [3, 4, 12, 20])
def test_kappa_of_the_correct_points_is_that_of_their_normalized_system(correct: int) -> None:
    rng = np.random.default_rng(correct)
    points1 = rng.uniform(20, 220, (20, 2))
    points2 = points1 + rng.uniform(-1, 1, (20, 2))
    points2[correct:] += 50
    seen = iter([points1, points2])
    row, *_ = evaluate_pair(
        InOrder(), PHOTO, PHOTO, np.eye(3), detector=lambda image: next(seen), estimators=BOTH
    )
    assert (row["inliers"], row["correct_3px"]) == (20, correct)
    if correct < 4:
        assert np.isnan(row["kappa_correct"])
        return
    one, two = (
        (points - points.mean(0)) / np.linalg.norm(points - points.mean(0), axis=1).mean() * 2**0.5
        for points in (points1[:correct], points2[:correct])
    )
    ones, zeros = np.ones((correct, 1)), np.zeros((correct, 3))
    x = np.hstack([one, ones, zeros, -two[:, :1] * one, -two[:, :1]])
    y = np.hstack([zeros, one, ones, -two[:, 1:] * one, -two[:, 1:]])
    values = np.linalg.svd(np.vstack([x, y]), compute_uv=False)
    assert row["kappa_correct"] == pytest.approx(values[0] / values[7])
    assert (row["kappa_correct"] == row["kappa"]) == (correct == 20)


def test_any_numbers_will_do() -> None:
    class Typed(Oracle):
        kind: Any = np.float32

        def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
            return np.round(super().describe(image, keypoints)).astype(self.kind)

    (expected,) = evaluate_pair(Typed(), PHOTO, VIEW2, TRUTH)
    for kind in (np.float64, np.int32):
        Typed.kind = kind
        (row,) = evaluate_pair(Typed(), PHOTO, VIEW2, TRUTH)
        same = [key for key in row if not key.endswith("_ms")]
        np.testing.assert_equal(*({key: one[key] for key in same} for one in (row, expected)))


@pytest.mark.parametrize(
    ("returned", "named"),
    [
        (np.zeros((5, 5)), r"keypoints of shape \(5, 5\)"),
        ([cv2.KeyPoint(1.0, 2.0, 3.0)], "a list"),
        (((cv2.KeyPoint(1.0, 2.0, 3.0),), np.zeros((1, 128))), "a tuple"),
    ],
)
def test_a_detector_that_returns_no_points_is_named(returned: Any, named: str) -> None:
    with pytest.raises(
        HomoregError, match=rf"^detector\._target_=\S+<lambda> returned {named}; give"
    ):
        evaluate_pair(Oracle(), PHOTO, VIEW2, TRUTH, detector=lambda image: returned)


def test_an_estimator_that_returns_a_bare_matrix_is_named() -> None:
    estimators: Any = {"mine": lambda points1, points2: np.eye(3)}
    with pytest.raises(HomoregError, match="the estimator function returned a ndarray: return"):
        evaluate_pair(Oracle(), PHOTO, VIEW2, TRUTH, estimators=estimators)


def test_nobody_can_change_what_the_next_one_sees() -> None:
    class Halving(Constant):
        def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
            keypoints *= 0.5
            return super().describe(image, keypoints)

    def darkening(image: np.ndarray) -> np.ndarray:
        image -= image
        return np.array(CORNERS)

    class Shifting(Estimator):
        def __call__(self, points1: np.ndarray, points2: np.ndarray) -> Estimate:
            points1 += 1
            return super().__call__(points1, points2)

    plain = RootSift(support=32)
    for descriptor, options in (
        (Halving(), {}),
        (plain, {"detector": darkening}),
        (plain, {"estimators": {"shifting": Shifting(), "dlt": Estimator()}}),
    ):
        with pytest.raises(ValueError, match="read-only"):
            evaluate_pair(descriptor, PHOTO, VIEW2, TRUTH, **options)


@pytest.mark.slow
def test_twenty_megapixels_and_ten_thousand_keypoints() -> None:
    large = cv2.resize(photographs.astronaut(), (5480, 3660), interpolation=cv2.INTER_CUBIC)
    shift = np.array([[1, 0, 40.0], [0, 1, -25.0], [0, 0, 1]])
    moved = cv2.warpPerspective(large, shift, (5480, 3660), borderMode=cv2.BORDER_REFLECT)

    def grid(image: np.ndarray) -> np.ndarray:
        x, y = np.meshgrid(np.arange(100) * 50.0 + 200, np.arange(100) * 33.0 + 100)
        places = np.stack([x.ravel(), y.ravel()], axis=1)
        first = np.shares_memory(image, large)  # images come as read-only views
        return places if first else transform_points(places, shift)

    class Position(Constant):
        def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
            back = np.eye(3) if np.shares_memory(image, large) else np.linalg.inv(shift)
            return transform_points(keypoints, back).astype(np.float32)

    for row in evaluate_pair(Position(), large, moved, shift, detector=grid, estimators=BOTH):
        assert row["keypoints_1"] == row["match_count"] == row["correct_3px"] == 10_000
        assert row["repeatable"] == 10_000
        assert (row["status"], row["precision_1px"]) == ("ok", 1.0)
        assert row["corner_error_px"] < 0.01
        assert row["rmse_oracle_gray"] < 1 < row["rmse_identity_gray"]
