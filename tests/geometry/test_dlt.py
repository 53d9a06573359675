"""The DLT against 60-digit arithmetic, OpenCV and its invariances."""

import cv2
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homoreg.geometry import (
    Configuration,
    corner_error,
    corners_of,
    design_rank,
    dlt_homography,
    hartley_normalization,
    scaled,
    transform_points,
)

SIZE = (640, 480)
CORNERS = corners_of(SIZE)


def uniform_points(rng, count, *batch):
    return rng.uniform(0, 1, (*batch, count, 2)) * [639, 479]


def noisy_matches(rng, homography, count, *batch):
    points1 = uniform_points(rng, count, *batch)
    return points1, transform_points(points1, homography) + rng.normal(0, 1, points1.shape)


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
        homography = mpmath.matrix(3, 3)
        for i in range(9):
            homography[i // 3, i % 3] = vectors[i, order[-1]]
        homography = transform2**-1 * homography * transform1
        homography /= homography[2, 2]
        values = [mpmath.sqrt(max(eigenvalues[i], 0)) for i in order]
    return np.array(homography.tolist(), float), np.array(values, float)


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


@pytest.mark.parametrize("count", [4, 5, 30])
def test_dlt_agrees_with_sixty_digits(rng, perspective, count):
    points1, points2 = noisy_matches(rng, perspective, count)
    fit = dlt_homography(points1, points2)
    homography, values = mpmath_dlt(points1, points2)
    np.testing.assert_allclose(fit.homography, homography, rtol=1e-9)
    np.testing.assert_allclose(fit.singular_values[:8], values[:8], rtol=1e-12)
    np.testing.assert_allclose(fit.singular_values[8], values[8], rtol=1e-9, atol=1e-20)
    assert (fit.singular_values[8] == 0) == (count == 4)


def test_the_raw_solve_minimizes_the_algebraic_error_of_raw_pixels(rng, perspective):
    points1, points2 = noisy_matches(rng, perspective, 40)
    fit = dlt_homography(points1, points2, normalize=False)
    rows = []
    for (x, y), (u, v) in zip(points1, points2, strict=True):
        rows += [[-x, -y, -1, 0, 0, 0, u * x, u * y, u], [0, 0, 0, -x, -y, -1, v * x, v * y, v]]
    _, values, vectors = np.linalg.svd(np.array(rows))
    np.testing.assert_allclose(fit.singular_values, values, rtol=1e-9)
    np.testing.assert_allclose(fit.homography, scaled(vectors[8].reshape(3, 3)), rtol=1e-6)


def test_dlt_agrees_with_opencv(rng, perspective, similarity):
    points1 = np.round(uniform_points(rng, 60))
    exact = transform_points(points1, perspective)
    expected, _ = cv2.findHomography(points1, exact, 0)
    assert corner_error(dlt_homography(points1, exact).homography, expected, SIZE) < 1e-3
    # Without perspective the algebraic error is the geometric one that OpenCV minimizes.
    points1, points2 = noisy_matches(rng, similarity, 60)
    expected, _ = cv2.findHomography(points1, points2, 0)
    assert corner_error(dlt_homography(points1, points2).homography, expected, SIZE) < 0.02


def test_batches_equal_single_solves_and_a_nan_spoils_only_its_own(rng, perspective):
    points1, points2 = noisy_matches(rng, perspective, 12, 5)
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


@pytest.mark.parametrize("counts", [(3, 3), (5, 4)])
def test_too_few_or_unpaired_points_are_rejected(counts):
    with pytest.raises(ValueError, match="4 correspondences"):
        dlt_homography(*(np.zeros((count, 2)) for count in counts))


def test_normalization_removes_bias_and_not_variance(rng, perspective):
    """At 3 px of noise the worst corner's bias is 14.2 px in raw pixels and 0.05 px normalized."""
    draws, clean = 2000, uniform_points(rng, 50)
    points1 = clean + rng.normal(0, 3, (draws, 50, 2))
    points2 = transform_points(clean, perspective) + rng.normal(0, 3, (draws, 50, 2))
    expected = transform_points(CORNERS, perspective)

    def bias_and_spread(normalize):
        fit = dlt_homography(points1, points2, normalize=normalize)
        offsets = transform_points(np.broadcast_to(CORNERS, (draws, 4, 2)), fit.homography)
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
    truth = dlt_homography(CORNERS, CORNERS + moves).homography
    # Points near the corners keep every draw well conditioned.
    rng = np.random.default_rng(seed)
    points = np.vstack([CORNERS + rng.uniform(0, 5, (4, 2)), uniform_points(rng, count - 4)])
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
def test_dlt_follows_similarities_of_either_view_and_ignores_the_order(
    problem, angle, scale, shift
):
    truth, points1, rng = problem
    points2 = transform_points(points1, truth) + rng.normal(0, 1, points1.shape)
    c, s = scale * np.cos(np.deg2rad(angle)), scale * np.sin(np.deg2rad(angle))
    move = np.array([[c, -s, shift], [s, c, -3 * shift], [0, 0, 1]])
    plain = dlt_homography(points1, points2)
    moved1 = dlt_homography(transform_points(points1, move), points2)
    assert corner_error(moved1.homography @ move, plain.homography, SIZE) < 1e-5
    moved2 = dlt_homography(points1, transform_points(points2, move))
    assert corner_error(moved2.homography, move @ plain.homography, SIZE) < 1e-5 * scale
    order = rng.permutation(len(points1))
    shuffled = dlt_homography(points1[order], points2[order])
    assert corner_error(shuffled.homography, plain.homography, SIZE) < 1e-8


# --- ranks and degeneracies ---

LINE = np.array([[20.0 * t + 5, 13.0 * t + 9] for t in range(9)])
RANKS = {
    "all collinear": (LINE, 5, "collinear"),
    "three distinct points": (CORNERS[:3].repeat(3, axis=0), 6, "too_few_distinct"),
    "all but one collinear": (np.vstack([LINE, [[10, 200.0]]]), 7, "rank"),
    "four points, three collinear": (np.vstack([LINE[:3], [[10, 200.0]]]), 7, "rank"),
    "all but two collinear": (np.vstack([LINE, [[10, 200.0], [150, 3.0]]]), 8, "none"),
}


@pytest.mark.parametrize("name", RANKS)
@pytest.mark.parametrize("precision", [np.float64, np.float32])
def test_rank_and_degeneracy(perspective, name, precision):
    points1, rank, degeneracy = RANKS[name]
    points2 = transform_points(points1, perspective).astype(precision)
    assert design_rank(dlt_homography(points1, points2).singular_values) == rank
    assert Configuration(points1, points2).degeneracy == degeneracy


@pytest.mark.parametrize(
    ("points1", "points2", "degeneracy"),
    [
        (CORNERS[:3], CORNERS[:3], "too_few_matches"),
        (np.vstack([CORNERS, [[np.inf, 3]]]), np.vstack([CORNERS, [[9, 3]]]), "not_finite"),
        (np.full((9, 2), 33.3), LINE, "coincident"),
        (LINE, (LINE**2) % 211, "collinear"),
        ((LINE**2) % 211, LINE, "collinear"),
    ],
)
def test_degeneracies_without_a_rank(points1, points2, degeneracy):
    assert Configuration(points1, points2).degeneracy == degeneracy
