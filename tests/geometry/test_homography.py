"""Applying, solving and comparing homographies, against references that share no code."""

import cv2
import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from homoreg.geometry import (
    corner_error,
    corner_error_rms,
    corner_errors,
    corners_of,
    design_rank,
    dlt_homography,
    folds,
    hartley_normalization,
    inverse,
    overlap_fraction,
    scaled,
    symmetric_transfer_error,
    transform_points,
)

SIZE = (640, 480)


def uniform_points(rng, count, *batch):
    return rng.uniform(0, 1, (*batch, count, 2)) * [639, 479]


def mpmath_dlt(points1, points2):
    """Hartley-normalized DLT in 60 digits by eigenvectors of AᵀA: H and the singular values."""
    with mpmath.workdps(60):

        def normalized(points):
            points = [[mpmath.mpf(float(c)) for c in point] for point in points]
            cx, cy = (sum(c) / len(points) for c in zip(*points, strict=True))
            mean = sum(mpmath.hypot(x - cx, y - cy) for x, y in points) / len(points)
            s = mpmath.sqrt(2) / mean
            transform = mpmath.matrix([[s, 0, -s * cx], [0, s, -s * cy], [0, 0, 1]])
            return [(s * (x - cx), s * (y - cy)) for x, y in points], transform

        normalized1, transform1 = normalized(points1)
        normalized2, transform2 = normalized(points2)
        rows = []
        for (x, y), (u, v) in zip(normalized1, normalized2, strict=True):
            rows.append([0, 0, 0, -x, -y, -1, v * x, v * y, v])
            rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y, -u])
        matrix = mpmath.matrix(rows)
        eigenvalues, vectors = mpmath.eigsy(matrix.T * matrix)
        order = sorted(range(9), key=lambda i: -eigenvalues[i])
        h = vectors[:, order[-1]]
        homography = mpmath.matrix(3, 3)
        for i in range(9):
            homography[i // 3, i % 3] = h[i]
        homography = transform2**-1 * homography * transform1
        homography /= homography[2, 2]
        values = [mpmath.sqrt(max(eigenvalues[i], 0)) for i in order]
    return np.array(homography.tolist(), float), np.array(values, float)


# --- transform_points ---


def test_transform_points_agrees_with_opencv(rng, perspective):
    points = uniform_points(rng, 50)
    expected = cv2.perspectiveTransform(points[:, None], perspective)[:, 0]
    np.testing.assert_allclose(transform_points(points, perspective), expected, rtol=1e-12)


def test_transform_points_in_batches_equals_one_by_one(rng, perspective):
    points = uniform_points(rng, 7, 3)
    homographies = np.stack([perspective, np.eye(3), np.diag([2.0, 3.0, 1.0])])
    together = transform_points(points, homographies)
    for one, homography, mapped in zip(points, homographies, together, strict=True):
        np.testing.assert_array_equal(transform_points(one, homography), mapped)


def test_a_point_at_infinity_is_not_finite():
    to_infinity = [[1, 0, 0], [0, 1, 0], [-0.1, 0, 1]]
    assert not np.isfinite(transform_points([[10.0, 5.0]], to_infinity)).any()


@pytest.mark.parametrize("points", [[1.0, 2.0], [[1.0, 2.0, 3.0]], 5.0])
def test_points_of_another_shape_are_refused(points):
    with pytest.raises(ValueError, match="points must be"):
        transform_points(points, np.eye(3))


# --- hartley_normalization ---


def test_normalized_points_have_centroid_zero_and_mean_distance_root_two(rng):
    points = uniform_points(rng, 30, 4) + 1000
    normalized, transform = hartley_normalization(points)
    np.testing.assert_allclose(normalized.mean(axis=-2), 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(normalized, axis=-1).mean(axis=-1), np.sqrt(2))
    np.testing.assert_allclose(transform_points(points, transform), normalized, atol=1e-12)


def test_coincident_points_are_centered_and_stay_finite():
    normalized, transform = hartley_normalization(np.full((7, 2), 0.1))
    np.testing.assert_array_equal(normalized, 0)
    np.testing.assert_array_equal(transform, [[1, 0, -0.1], [0, 1, -0.1], [0, 0, 1]])


# --- dlt_homography ---


@pytest.mark.parametrize("count", [4, 5, 30])
def test_dlt_agrees_with_sixty_digits(rng, perspective, count):
    points1 = uniform_points(rng, count)
    points2 = transform_points(points1, perspective) + rng.normal(0, 1, points1.shape)
    fit = dlt_homography(points1, points2)
    homography, values = mpmath_dlt(points1, points2)
    np.testing.assert_allclose(fit.homography, homography, rtol=1e-9)
    np.testing.assert_allclose(fit.singular_values[:8], values[:8], rtol=1e-12)
    np.testing.assert_allclose(fit.singular_values[8], values[8], rtol=1e-9, atol=1e-20)


def test_the_raw_solve_minimizes_the_algebraic_error_of_raw_pixels(rng, perspective):
    points1 = uniform_points(rng, 40)
    points2 = transform_points(points1, perspective) + rng.normal(0, 1, points1.shape)
    fit = dlt_homography(points1, points2, normalize=False)
    rows = []
    for (x, y), (u, v) in zip(points1, points2, strict=True):
        rows += [[-x, -y, -1, 0, 0, 0, u * x, u * y, u], [0, 0, 0, -x, -y, -1, v * x, v * y, v]]
    _, values, vectors = np.linalg.svd(np.array(rows))
    np.testing.assert_allclose(fit.singular_values, values, rtol=1e-9)
    np.testing.assert_allclose(fit.homography, scaled(vectors[8].reshape(3, 3)), rtol=1e-6)


def test_four_matches_have_a_ninth_singular_value_of_zero(rng, perspective):
    points = uniform_points(rng, 4)
    fit = dlt_homography(points, transform_points(points, perspective))
    assert fit.singular_values.shape == (9,)
    assert fit.singular_values[8] == 0
    assert fit.singular_values[7] > 0.01


def test_dlt_agrees_with_opencv_least_squares_on_an_affine_map(rng, similarity):
    # Without perspective the algebraic error is the geometric one that OpenCV refines to.
    points1 = uniform_points(rng, 60)
    points2 = transform_points(points1, similarity) + rng.normal(0, 0.5, points1.shape)
    expected, _ = cv2.findHomography(points1, points2, 0)
    assert corner_error(dlt_homography(points1, points2).homography, expected, SIZE) < 0.02


def test_dlt_agrees_with_opencv_on_exact_matches(rng, perspective):
    points1 = np.round(uniform_points(rng, 60))
    points2 = transform_points(points1, perspective)
    expected, _ = cv2.findHomography(points1, points2, 0)
    assert corner_error(dlt_homography(points1, points2).homography, expected, SIZE) < 1e-3


def test_batches_equal_single_solves_and_a_nan_spoils_only_its_own(rng, perspective):
    points1 = uniform_points(rng, 12, 5)
    points2 = transform_points(points1, perspective) + rng.normal(0, 1, points1.shape)
    points2[3, 0, 0] = np.nan
    together = dlt_homography(points1, points2)
    assert np.isnan(together.homography[3]).all()
    assert np.isnan(together.singular_values[3]).all()
    for index in (0, 1, 2, 4):
        alone = dlt_homography(points1[index], points2[index])
        np.testing.assert_allclose(together.homography[index], alone.homography, rtol=1e-12)
        np.testing.assert_allclose(
            together.singular_values[index], alone.singular_values, rtol=1e-12
        )


@pytest.mark.parametrize("normalize", [True, False])
def test_integer_weights_are_repetition(rng, perspective, normalize):
    points1 = uniform_points(rng, 10)
    points2 = transform_points(points1, perspective) + rng.normal(0, 2, points1.shape)
    weights = np.array([1, 2, 3, 0, 1, 1, 4, 1, 0, 2])
    weighted = dlt_homography(points1, points2, normalize=normalize, weights=weights)
    repeated = dlt_homography(
        points1.repeat(weights, axis=0), points2.repeat(weights, axis=0), normalize=normalize
    )
    np.testing.assert_allclose(weighted.homography, repeated.homography, rtol=1e-7)
    np.testing.assert_allclose(weighted.singular_values, repeated.singular_values, rtol=1e-9)


def test_misused_shapes_are_refused():
    five = np.zeros((5, 2))
    with pytest.raises(ValueError, match="4 correspondences"):
        dlt_homography(five[:3], five[:3])
    with pytest.raises(ValueError, match="4 correspondences"):
        dlt_homography(five, five[:4])
    with pytest.raises(ValueError, match="weights"):
        dlt_homography(five, five, weights=[1, 1, 1, 1, -1])
    with pytest.raises(ValueError, match="weights"):
        dlt_homography(five, five, weights=[1, 1, 1, 1])


def test_normalization_removes_bias_and_not_variance(rng, perspective):
    """Section 2 of the science page: 3 px of noise, the worst corner, 14.2 px against 0.05."""
    truth = perspective
    clean = uniform_points(rng, 50)
    draws = 2000
    points1 = clean + rng.normal(0, 3, (draws, 50, 2))
    points2 = transform_points(clean, truth) + rng.normal(0, 3, (draws, 50, 2))
    corners, expected = corners_of(SIZE), transform_points(corners_of(SIZE), truth)

    def bias_and_spread(normalize):
        fit = dlt_homography(points1, points2, normalize=normalize)
        offsets = transform_points(np.broadcast_to(corners, (draws, 4, 2)), fit.homography)
        offsets = offsets - expected
        bias = np.linalg.norm(np.median(offsets, axis=0), axis=-1).max()
        return bias, np.median(np.abs(offsets - np.median(offsets, axis=0)))

    bias, spread = bias_and_spread(True)
    raw_bias, raw_spread = bias_and_spread(False)
    assert bias < 0.3
    assert raw_bias > 10
    assert spread < raw_spread < 3 * spread


coordinates = st.floats(-50, 50, allow_subnormal=False)


@st.composite
def well_placed_problems(draw):
    """A homography without a fold over a 640×480 view, and points spread over the view."""
    seed = draw(st.integers(0, 2**32 - 1))
    count = draw(st.integers(4, 40))
    moves = np.array(draw(st.lists(coordinates, min_size=8, max_size=8))).reshape(4, 2)
    corners = corners_of(SIZE)
    truth = dlt_homography(corners, corners + moves).homography
    # The corners themselves, moved inwards a little, keep every draw well conditioned.
    rng = np.random.default_rng(seed)
    points = np.vstack([corners + rng.uniform(0, 5, (4, 2)), uniform_points(rng, count - 4)])
    return truth, points, rng


@given(well_placed_problems())
@settings(max_examples=60, deadline=None)
def test_exact_matches_give_the_exact_homography(problem):
    truth, points, _ = problem
    fit = dlt_homography(points, transform_points(points, truth))
    assert corner_error(fit.homography, truth, SIZE) < 1e-8
    assert design_rank(fit.singular_values) == 8


@given(well_placed_problems(), st.floats(-180, 180), st.floats(0.01, 100), coordinates)
@settings(max_examples=60, deadline=None)
def test_normalized_dlt_follows_similarities_of_either_view(problem, angle, scale, shift):
    truth, points1, rng = problem
    points2 = transform_points(points1, truth) + rng.normal(0, 1, points1.shape)
    c, s = scale * np.cos(np.deg2rad(angle)), scale * np.sin(np.deg2rad(angle))
    move = np.array([[c, -s, shift], [s, c, -3 * shift], [0, 0, 1]])
    plain = dlt_homography(points1, points2)
    moved1 = dlt_homography(transform_points(points1, move), points2)
    assert corner_error(moved1.homography @ move, plain.homography, SIZE) < 1e-5
    moved2 = dlt_homography(points1, transform_points(points2, move))
    assert corner_error(moved2.homography, move @ plain.homography, SIZE) < 1e-5 * scale


@given(well_placed_problems())
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_matches_means_nothing(problem):
    truth, points1, rng = problem
    points2 = transform_points(points1, truth) + rng.normal(0, 1, points1.shape)
    order = rng.permutation(len(points1))
    plain = dlt_homography(points1, points2)
    shuffled = dlt_homography(points1[order], points2[order])
    assert corner_error(shuffled.homography, plain.homography, SIZE) < 1e-8
    np.testing.assert_allclose(
        shuffled.singular_values, plain.singular_values, rtol=1e-10, atol=1e-12
    )


# --- ranks ---

LINE = np.array([[20.0 * t + 5, 13.0 * t + 9] for t in range(8)])
RANKS = {
    "all collinear": (LINE, 5),
    "three distinct points": (np.array([[0, 0], [100, 10], [30, 90.0]]).repeat(3, axis=0), 6),
    "all but one collinear": (np.vstack([LINE, [[10, 200.0]]]), 7),
    "four points, three collinear": (np.vstack([LINE[:3], [[10, 200.0]]]), 7),
    "all but two collinear": (np.vstack([LINE, [[10, 200.0], [150, 3.0]]]), 8),
}


@pytest.mark.parametrize("name", RANKS)
@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_the_rank_table(perspective, name, precision):
    points1, rank = RANKS[name]
    points2 = transform_points(points1, perspective).astype(precision)
    assert design_rank(dlt_homography(points1, points2).singular_values) == rank


# --- scale, inverse, corners, folds ---


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


def test_corners_are_built_from_width_then_height():
    assert corners_of((3, 2)).tolist() == [[0, 0], [2, 0], [2, 1], [0, 1]]


def test_corner_errors_of_a_shift_and_of_a_scale(perspective):
    shift = np.array([[1, 0, 3], [0, 1, -4], [0, 0, 1.0]])
    np.testing.assert_allclose(corner_errors(shift, np.eye(3), SIZE), 5)
    doubled = corner_errors(np.diag([2.0, 2, 1]), np.eye(3), (301, 401))
    np.testing.assert_allclose(doubled, [0, 300, 500, 400])
    assert corner_error(np.diag([2.0, 2, 1]), np.eye(3), (301, 401)) == 300
    rms = np.sqrt((300**2 + 500**2 + 400**2) / 4)
    assert corner_error_rms(np.diag([2.0, 2, 1]), np.eye(3), (301, 401)) == pytest.approx(rms)
    assert corner_error(-7 * perspective, perspective, SIZE) == pytest.approx(0, abs=1e-9)


FOLDED = np.array([[1, 0, 0], [0, 1, 0], [-1 / 400, 0, 1.0]])  # x = 400 goes to infinity
CORNER_AT_INFINITY = np.array([[1, 0, 0], [0, 1, 0], [-1 / 639, 0, 1.0]])


@pytest.mark.parametrize(
    "estimate",
    [
        None,
        FOLDED,
        -FOLDED,
        CORNER_AT_INFINITY,
        np.full((3, 3), np.nan),
        np.diag([np.nan, 1, 1]),
    ],
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


def test_folds_depends_on_the_view_and_not_on_the_scale():
    assert folds(FOLDED, SIZE)
    assert folds(-3 * FOLDED, SIZE)
    assert folds(CORNER_AT_INFINITY, SIZE)
    assert not folds(FOLDED, (400, 480))
    assert not folds(-np.eye(3), SIZE)


def test_symmetric_transfer_error_by_hand(rng, perspective):
    points1 = uniform_points(rng, 20)
    points2 = transform_points(points1, perspective) + rng.normal(0, 2, points1.shape)
    expected = [
        np.sum((cv2.perspectiveTransform(a[None, None], perspective)[0, 0] - b) ** 2)
        + np.sum((cv2.perspectiveTransform(b[None, None], np.linalg.inv(perspective)) - a) ** 2)
        for a, b in zip(points1, points2, strict=True)
    ]
    np.testing.assert_allclose(symmetric_transfer_error(points1, points2, perspective), expected)
    flat = np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 1]])
    assert (symmetric_transfer_error(points1, points2, flat) == np.inf).all()


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
def test_overlap_agrees_with_counting_points(perspective, similarity, kind):
    homography = {
        "perspective": perspective,
        "similarity": similarity,
        "folded": FOLDED,
        "negative": -perspective,
    }[kind]
    size2 = (500, 350)
    x, y = np.meshgrid(np.arange(640), np.arange(480))
    points = np.column_stack([x.ravel(), y.ravel()])
    depth = points @ homography[2, :2] + homography[2, 2]
    in_front = depth * (homography[2] @ [319.5, 239.5, 1]) > 0
    u, v = transform_points(points, homography).T
    inside = (u >= -0.5) & (u <= 499.5) & (v >= -0.5) & (v <= 349.5)
    counted = (inside & in_front).mean()
    assert 0.05 < counted < 0.95
    assert overlap_fraction(homography, SIZE, size2) == pytest.approx(counted, abs=3e-3)


@given(st.lists(st.floats(-2, 2), min_size=9, max_size=9))
@settings(max_examples=200, deadline=None)
def test_overlap_of_anything_is_a_fraction(entries):
    homography = np.array(entries).reshape(3, 3)
    assume(np.abs(homography).max() > 0)
    assert 0 <= overlap_fraction(homography, SIZE, (123, 45)) <= 1
