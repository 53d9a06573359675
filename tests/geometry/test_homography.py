"""Applying and comparing homographies, against references that share no code."""

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from homoreg.geometry import (
    corner_error,
    corner_error_rms,
    corner_errors,
    folds,
    in_front,
    inverse,
    overlap_fraction,
    quarter_turn,
    resized_covariance,
    resized_homography,
    scaled,
    transform_points,
)

SIZE = (640, 480)
FOLDED = np.array([[1, 0, 0], [0, 1, 0], [-1 / 400, 0, 1.0]])  # the horizon is x = 400
CORNER_AT_INFINITY = np.array([[1, 0, 0], [0, 1, 0], [-1 / 639, 0, 1.0]])


def uniform_points(rng, count, *batch):
    return rng.uniform(0, 1, (*batch, count, 2)) * [639, 479]


def test_transform_points_agrees_with_opencv(rng, perspective):
    points = uniform_points(rng, 50)
    expected = cv2.perspectiveTransform(points[:, None], perspective)[:, 0]
    np.testing.assert_allclose(transform_points(points, perspective), expected, rtol=1e-12)


@pytest.mark.parametrize("turn_deg", [0, 90, 180, 270])
def test_quarter_turns_move_points_as_numpy_moves_pixels(rng, turn_deg):
    image = rng.random((5, 8))
    x, y = np.tile(np.arange(8), 5), np.repeat(np.arange(5), 8)
    moved = transform_points(np.stack([x, y], axis=1), quarter_turn((8, 5), turn_deg)).astype(int)
    np.testing.assert_array_equal(
        np.rot90(image, turn_deg // 90)[moved[:, 1], moved[:, 0]], image[y, x]
    )


def test_transform_points_in_batches_equals_one_by_one(rng, perspective):
    points = uniform_points(rng, 7, 3)
    homographies = np.stack([perspective, np.eye(3), np.diag([2.0, 3.0, 1.0])])
    together = transform_points(points, homographies)
    for one, homography, mapped in zip(points, homographies, together, strict=True):
        np.testing.assert_array_equal(transform_points(one, homography), mapped)


@pytest.mark.parametrize("points", [[1.0, 2.0], [[1.0, 2.0, 3.0]], 5.0])
def test_points_of_another_shape_are_rejected(points):
    with pytest.raises(ValueError, match="points must be"):
        transform_points(points, np.eye(3))


def test_scaled_sets_h33_or_the_norm():
    assert scaled([[2, 0, 0], [0, 2, 0], [0, 0, 2]])[0, 0] == 1
    assert scaled(-np.eye(3))[2, 2] == 1
    no_h33 = np.array([[3.0, 0, 0], [0, 0, 4], [0, 0, 0]])
    np.testing.assert_allclose(scaled(no_h33), no_h33 / 5)
    np.testing.assert_allclose(scaled(np.diag([1e300, 1e300, 1e299])), np.diag([10, 10, 1]))


def test_inverse_maps_back_and_exists_for_singular_maps(rng, perspective):
    points = uniform_points(rng, 9)
    there = transform_points(points, perspective)
    np.testing.assert_allclose(transform_points(there, inverse(perspective)), points, atol=1e-9)
    np.testing.assert_allclose(scaled(inverse(perspective)), scaled(np.linalg.inv(perspective)))
    assert np.isfinite(inverse(np.ones((3, 3)))).all()


def test_a_homography_of_resized_views_maps_what_opencv_resizes(perspective):
    """A bright blob of each full view is found again, through the working sizes and back."""
    full1, work1, full2, work2 = (640, 480), (320, 240), (500, 420), (250, 140)
    work = resized_homography(perspective, full1, work1, full2, work2)

    def blob(point, size, resized):
        x, y = np.meshgrid(*map(np.arange, size))
        image = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 200)
        image = cv2.resize(image, resized, interpolation=cv2.INTER_AREA)
        x, y = np.meshgrid(*map(np.arange, resized))
        return np.array([(image * x).sum(), (image * y).sum()]) / image.sum()

    for point in ([200.0, 100], [350, 200]):
        there = transform_points([point], perspective)[0]
        seen1, seen2 = blob(point, full1, work1), blob(there, full2, work2)
        np.testing.assert_allclose(transform_points([seen1], work)[0], seen2, atol=0.02)
    back = resized_homography(work, work1, full1, work2, full2)
    assert corner_error(back, perspective, full1) < 1e-9


def test_the_covariance_of_resized_views_is_that_of_resized_samples(rng, perspective):
    sizes = (640, 480), (320, 200), (500, 420), (1000, 840)
    spread = rng.normal(size=(9, 9)) * 1e-3
    samples = perspective + (rng.normal(size=(4000, 9)) @ spread.T).reshape(-1, 3, 3)
    resized = np.array([resized_homography(sample, *sizes) for sample in samples]).reshape(-1, 9)
    original = np.cov(samples.reshape(-1, 9).T)
    np.testing.assert_allclose(resized_covariance(original, *sizes), np.cov(resized.T), rtol=1e-6)


# --- the horizon ---


@pytest.mark.parametrize("sign", [1, -3])
def test_in_front_is_the_side_of_the_center_and_not_the_horizon_itself(sign):
    points = [[399, 0], [400, 7], [401, 479], [-1e6, 0]]
    assert in_front(points, sign * FOLDED, SIZE).tolist() == [True, False, False, True]
    # The center of a view twice as wide lies beyond.
    assert in_front(points, sign * FOLDED, (1280, 480)).tolist() == [False, False, True, False]
    assert not np.isfinite(transform_points(points[1:2], FOLDED)).any()


@pytest.mark.parametrize(
    ("homography", "size", "expected"),
    [
        (FOLDED, SIZE, True),
        (-3 * FOLDED, SIZE, True),
        (CORNER_AT_INFINITY, SIZE, True),
        (np.diag([np.nan, 1, 1]), SIZE, True),
        (FOLDED, (400, 480), False),
        (-np.eye(3), SIZE, False),
    ],
)
def test_folds_depends_on_the_view_and_not_on_the_scale(homography, size, expected):
    assert folds(homography, size) == expected


# --- corner errors ---


def test_corner_errors_of_a_shift_and_of_a_scale(perspective):
    shift = np.array([[1, 0, 3], [0, 1, -4], [0, 0, 1.0]])
    np.testing.assert_allclose(corner_errors(shift, np.eye(3), SIZE), 5)
    double = np.diag([2.0, 2, 1])
    np.testing.assert_allclose(corner_errors(double, np.eye(3), (301, 401)), [0, 300, 500, 400])
    assert corner_error(double, np.eye(3), (301, 401)) == 300
    rms = np.sqrt((300**2 + 500**2 + 400**2) / 4)
    assert corner_error_rms(double, np.eye(3), (301, 401)) == pytest.approx(rms)
    assert corner_error(-7 * perspective, perspective, SIZE) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "estimate",
    [None, FOLDED, -FOLDED, CORNER_AT_INFINITY, np.full((3, 3), np.nan), np.diag([np.nan, 1, 1])],
)
def test_failures_and_folds_are_infinitely_wrong(estimate):
    assert (corner_errors(estimate, np.eye(3), SIZE) == np.inf).all()
    assert corner_error(estimate, np.eye(3), SIZE) == np.inf
    assert corner_error_rms(estimate, np.eye(3), SIZE) == np.inf


def test_one_corner_beyond_float64_makes_the_mean_infinite():
    overflowing = np.diag([1e308, 1e308, 1e-10])
    assert corner_errors(overflowing, np.eye(3), SIZE).tolist() == [0, np.inf, np.inf, np.inf]
    assert corner_error(overflowing, np.eye(3), SIZE) == np.inf
    assert corner_error_rms(np.diag([1e200, 1, 1]), np.eye(3), SIZE) == np.inf


# --- overlap ---


def test_overlap_of_shifts_is_exact():
    shift = np.eye(3)
    for dx, dy, expected in [(0, 0, 1), (320, 0, 0.5), (-320, 240, 0.25), (640, 0, 0), (9e9, 0, 0)]:
        shift[:2, 2] = dx, dy
        assert overlap_fraction(shift, SIZE, SIZE) == pytest.approx(expected, abs=1e-12)
    assert overlap_fraction(np.eye(3), (640, 480), (320, 480)) == pytest.approx(0.5)
    assert overlap_fraction(np.eye(3), (1, 1), (1, 1)) == pytest.approx(1)
    assert overlap_fraction(np.full((3, 3), np.nan), SIZE, SIZE) == 0


@pytest.mark.parametrize("kind", ["perspective", "similarity", "folded", "negative"])
def test_overlap_agrees_with_counting_pixels(perspective, similarity, kind):
    homography = {
        "perspective": perspective,
        "similarity": similarity,
        "folded": FOLDED,
        "negative": -perspective,
    }[kind]
    x, y = np.meshgrid(np.arange(640), np.arange(480))
    points = np.column_stack([x.ravel(), y.ravel()])
    u, v = transform_points(points, homography).T
    inside = (u >= -0.5) & (u <= 499.5) & (v >= -0.5) & (v <= 349.5)
    counted = (inside & in_front(points, homography, SIZE)).mean()
    assert 0.05 < counted < 0.95
    assert overlap_fraction(homography, SIZE, (500, 350)) == pytest.approx(counted, abs=3e-3)


@given(st.lists(st.floats(-2, 2), min_size=9, max_size=9))
@settings(max_examples=200, deadline=None)
def test_overlap_of_anything_is_a_fraction(entries):
    homography = np.array(entries).reshape(3, 3)
    assume(np.abs(homography).max() > 0)
    assert 0 <= overlap_fraction(homography, SIZE, (123, 45)) <= 1
