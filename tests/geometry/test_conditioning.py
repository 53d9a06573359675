"""The conditioning numbers against Monte Carlo, 50-digit linear algebra and published anchors."""

import mpmath
import numpy as np
import pytest
from scipy.stats import spearmanr

from homoreg.geometry import (
    Configuration,
    conditioning,
    corner_error_rms,
    corners_of,
    dlt_homography,
    ellipse_points,
    hartley_normalization,
    hull_fraction,
    kappa_notebook,
    transform_points,
)
from homoreg.geometry.conditioning import (
    corner_covariances,
    dilution_of_precision,
    homography_covariance,
    noise_level,
    parameter_jacobian,
    point_jacobian,
)

SIZE = (640, 480)
CORNERS = corners_of(SIZE)


def uniform_points(rng, count):
    return rng.uniform(0, 1, (count, 2)) * [639, 479]


def simulate(rng, clean1, truth, noise, draws):
    """Noisy copies of the matches: two arrays ``(draws, N, 2)``."""
    clean2 = transform_points(clean1, truth)
    shape = (draws, *clean1.shape)
    return clean1 + rng.normal(0, noise, shape), clean2 + rng.normal(0, noise, shape)


def corners_under(homographies):
    return transform_points(np.broadcast_to(CORNERS, (len(homographies), 4, 2)), homographies)


# --- the covariance ---


@pytest.mark.parametrize("count", [6, 12, 50])
@pytest.mark.parametrize("kind", ["similarity", "perspective"])
def test_predicted_corner_spread_agrees_with_monte_carlo(request, rng, kind, count):
    truth = request.getfixturevalue(kind)
    # Four points near the corners keep small configurations inside the linear regime.
    clean1 = np.vstack([CORNERS * 0.8 + [60, 50], uniform_points(rng, count - 4)])
    noise = 0.3
    points1, points2 = simulate(rng, clean1, truth, noise, 4000)
    corners = corners_under(dlt_homography(points1, points2).homography)
    offsets = corners - corners.mean(axis=0)
    sampled = np.einsum("rci,rcj->cij", offsets, offsets) / (len(corners) - 1)

    clean = Configuration(clean1, transform_points(clean1, truth))
    unit = homography_covariance(clean, truth)
    predicted = noise**2 * corner_covariances(truth, unit, SIZE)
    deviations = np.sqrt(np.diagonal(sampled, axis1=1, axis2=2))
    np.testing.assert_allclose(
        np.sqrt(np.diagonal(predicted, axis1=1, axis2=2)), deviations, rtol=0.1
    )
    scale = deviations[:, :, None] * deviations[:, None, :]
    np.testing.assert_allclose(predicted / scale, sampled / scale, atol=0.15)
    rms = np.sqrt((offsets**2).sum(axis=-1).mean())
    assert noise * dilution_of_precision(predicted / noise**2) == pytest.approx(rms, rel=0.1)


def test_covariance_agrees_with_fifty_digits_of_the_textbook_formula(rng, perspective):
    points1 = uniform_points(rng, 9)
    points2 = transform_points(points1, perspective) + rng.normal(0, 1, points1.shape)
    with mpmath.workdps(50):
        H = mpmath.matrix(perspective.tolist())
        information = mpmath.zeros(9)
        for x, y in points1:
            ray = mpmath.matrix([float(x), float(y), 1])
            a, b, w = H * ray
            u, v = a / w, b / w
            J = mpmath.zeros(2, 9)
            for k in range(3):
                J[0, k], J[1, 3 + k] = ray[k] / w, ray[k] / w
                J[0, 6 + k], J[1, 6 + k] = -u * ray[k] / w, -v * ray[k] / w
            B = mpmath.matrix(2, 2)
            for k in range(2):
                B[0, k], B[1, k] = (H[0, k] - u * H[2, k]) / w, (H[1, k] - v * H[2, k]) / w
            information += J.T * (mpmath.eye(2) + B * B.T) ** -1 * J
        h = mpmath.matrix(perspective.ravel().tolist())
        # With h itself as a ninth, infinitely certain direction the inverse exists.
        bordered = mpmath.zeros(10)
        for i in range(9):
            for j in range(9):
                bordered[i, j] = information[i, j]
            bordered[i, 9] = bordered[9, i] = h[i]
        expected = np.array((bordered**-1).tolist(), float)[:9, :9]
    covariance = homography_covariance(Configuration(points1, points2), perspective)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(covariance / scale, expected / scale, atol=1e-7)
    assert np.abs(covariance @ perspective.ravel()).max() < 1e-9 * np.abs(covariance).max()


def test_covariance_scales_with_h_squared_and_dop_not_at_all(rng, perspective):
    points1 = uniform_points(rng, 20)
    points2 = transform_points(points1, perspective)
    matches = Configuration(points1, points2)
    once = homography_covariance(matches, perspective)
    thrice = homography_covariance(matches, -3 * perspective)
    np.testing.assert_allclose(thrice, 9 * once, rtol=1e-6, atol=1e-18)
    one = conditioning(points1, points2, perspective, SIZE)
    assert conditioning(points1, points2, -3 * perspective, SIZE).dop == pytest.approx(one.dop)


def test_jacobians_agree_with_finite_differences(rng, perspective):
    points = uniform_points(rng, 5)
    by_h, by_x = parameter_jacobian(points, perspective), point_jacobian(points, perspective)
    for index in range(9):
        step = np.zeros(9)
        step[index] = 1e-6 * max(abs(perspective.ravel()[index]), 1e-3)
        step = step.reshape(3, 3)
        difference = transform_points(points, perspective + step) - transform_points(
            points, perspective - step
        )
        np.testing.assert_allclose(
            by_h[:, :, index], difference / (2 * step.sum()), rtol=1e-4, atol=1e-6
        )
    for axis in (0, 1):
        step = np.eye(2)[axis] * 1e-3
        difference = transform_points(points + step, perspective) - transform_points(
            points - step, perspective
        )
        np.testing.assert_allclose(by_x[:, :, axis], difference / 2e-3, rtol=1e-6)


def test_noise_level_is_unbiased_and_undefined_at_four_matches(rng, perspective):
    clean1 = uniform_points(rng, 10)
    points1, points2 = simulate(rng, clean1, perspective, 0.7, 1500)
    fits = dlt_homography(points1, points2).homography
    variances = [
        noise_level(one, two, homography) ** 2
        for one, two, homography in zip(points1, points2, fits, strict=True)
    ]
    assert np.sqrt(np.mean(variances)) == pytest.approx(0.7, rel=0.05)
    assert np.isnan(noise_level(clean1[:4], clean1[:4], np.eye(3)))


@pytest.mark.parametrize("covariance", ["plugin", "sandwich"])
@pytest.mark.parametrize("count", [20, 60])
def test_predicted_mean_square_is_the_true_one(rng, perspective, count, covariance):
    """Root of the ratio of mean squares, true over predicted, for N ≥ 20: 0.95 to 1.05."""
    true, predicted = simulated_errors(rng, perspective, count, covariance, np.full(count, 0.5))
    assert np.sqrt((true**2).mean() / (predicted**2).mean()) == pytest.approx(1, abs=0.05)
    assert np.median(true / predicted) == pytest.approx(0.9, abs=0.06)


def test_only_the_sandwich_holds_where_the_noise_of_matches_differs(rng, similarity):
    """Matches near the border of the view are ten times as noisy as those of the middle."""
    noise = np.repeat([0.3, 3.0], 30)
    ratios = []
    for covariance in ("plugin", "sandwich"):
        true, predicted = simulated_errors(rng, similarity, 60, covariance, noise)
        ratios.append(np.sqrt((true**2).mean() / (predicted**2).mean()))
    assert ratios[0] > 1.15
    assert ratios[1] == pytest.approx(1, abs=0.07)


def simulated_errors(rng, truth, count, covariance, noise, draws=1000):
    """True and predicted RMS corner errors of DLT under noise of each match in both views."""
    clean1 = uniform_points(rng, count)
    clean1 = clean1[np.argsort(np.abs(clean1 - [320, 240]).max(axis=1))]
    points1, points2 = simulate(rng, clean1, truth, noise[:, None], draws)
    fits = dlt_homography(points1, points2).homography
    return np.array(
        [
            (
                corner_error_rms(homography, truth, SIZE),
                conditioning(
                    one, two, homography, SIZE, covariance=covariance
                ).predicted_corner_error_px,
            )
            for one, two, homography in zip(points1, points2, fits, strict=True)
        ]
    ).T


def test_the_sandwich_agrees_with_matrices_written_out(rng, perspective):
    points1 = uniform_points(rng, 9)
    points2 = transform_points(points1, perspective) + rng.normal(0, 2, points1.shape)
    homography = dlt_homography(points1, points2).homography
    normalized1, transform1 = hartley_normalization(points1)
    normalized2, transform2 = hartley_normalization(points2)
    h = (transform2 @ homography @ np.linalg.inv(transform1)).ravel()
    blocks = []
    for (x, y), (u, v) in zip(normalized1, normalized2, strict=True):
        blocks.append(
            [[x, y, 1, 0, 0, 0, -u * x, -u * y, -u], [0, 0, 0, x, y, 1, -v * x, -v * y, -v]]
        )
    blocks = np.array(blocks)
    stacked = blocks.reshape(-1, 9)
    _, values, vectors = np.linalg.svd(stacked)
    basis, squares = vectors[:8], stacked.T @ stacked

    def inverted(matrix):
        return basis.T @ np.linalg.inv(basis @ matrix @ basis.T) @ basis

    bread = inverted(squares - values[8] ** 2 * np.eye(9))
    meat = np.zeros((9, 9))
    for rows in blocks:
        shrunk, axes = np.linalg.eigh(np.eye(2) - rows @ inverted(squares) @ rows.T)
        score = rows.T @ axes @ np.diag(shrunk**-0.5) @ axes.T @ rows @ h
        meat += np.outer(score, score)
    # Back to pixels, and orthogonal to h: a move along h is a change of scale.
    back = np.kron(np.linalg.inv(transform2), transform1.T)
    unit = homography.ravel() / np.linalg.norm(homography)
    back = (np.eye(9) - np.outer(unit, unit)) @ back
    expected = back @ bread @ meat @ bread @ back.T
    numbers = conditioning(points1, points2, homography, SIZE, covariance="sandwich")
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_allclose(numbers.covariance / scale, expected / scale, atol=1e-7)
    plugin = conditioning(points1, points2, homography, SIZE)
    assert numbers.dop == plugin.dop
    assert plugin.predicted_corner_error_px == pytest.approx(plugin.dop * plugin.noise_px)


@pytest.mark.parametrize(("count", "plug_in"), [(5, 0.75), (8, 0.89), (20, 0.95)])
def test_ellipses_cover_what_they_promise(rng, similarity, count, plug_in):
    """The normal quantile covers too little at few matches (section 2); Fisher's F does not."""
    clean1 = np.vstack([CORNERS * 0.8 + [60, 50], uniform_points(rng, count - 4)])
    truth = transform_points(CORNERS, similarity)
    points1, points2 = simulate(rng, clean1, similarity, 0.3, 1200)
    fits = dlt_homography(points1, points2).homography
    inside, inside_normal = [], []
    for one, two, homography in zip(points1, points2, fits, strict=True):
        numbers = conditioning(one, two, homography, SIZE)
        offset = truth[0] - transform_points(CORNERS[:1], homography)[0]
        distance = offset @ np.linalg.solve(numbers.corner_covariances[0], offset)
        outline = ellipse_points([0, 0], numbers.corner_covariances[0], count)
        edge = outline[0] @ np.linalg.solve(numbers.corner_covariances[0], outline[0])
        inside.append(distance <= edge)
        inside_normal.append(distance <= 5.991)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)
    assert np.mean(inside_normal) == pytest.approx(plug_in, abs=0.06)


def test_ellipse_outline_by_hand():
    outline = ellipse_points([10, 20], np.diag([4.0, 1.0]), 10**7)
    np.testing.assert_allclose(outline[0], outline[-1], atol=1e-9)
    half_axes = np.ptp(outline, axis=0) / 2
    np.testing.assert_allclose(half_axes, np.sqrt(5.991) * np.array([2, 1]), rtol=2e-3)
    assert np.isnan(ellipse_points([10, 20], np.eye(2), 4)).all()


# --- the anchors of the science page ---


def test_anchors_of_fifty_uniform_points(similarity):
    """Magnitudes of one random draw: N = 50, 640×480, a similarity, 1 px of noise in both views."""
    rng = np.random.default_rng(3)
    clean1 = uniform_points(rng, 50)
    clean2 = transform_points(clean1, similarity)
    points1 = clean1 + rng.normal(0, 1, clean1.shape)
    points2 = clean2 + rng.normal(0, 1, clean1.shape)
    fit = dlt_homography(points1, points2)
    numbers = conditioning(points1, points2, fit.homography, SIZE)
    np.testing.assert_array_equal(numbers.singular_values, fit.singular_values)
    assert numbers.singular_values[0] == pytest.approx(16.8, rel=0.15)
    assert numbers.singular_values[7] == pytest.approx(5.2, rel=0.15)
    assert numbers.singular_values[8] == pytest.approx(0.053, rel=0.4)
    assert numbers.kappa == pytest.approx(3.23, rel=0.2)
    assert numbers.kappa * numbers.fit_gap == pytest.approx(316, rel=0.5)
    assert numbers.kappa_raw == pytest.approx(1.35e6, rel=0.5)
    assert numbers.kappa_notebook == pytest.approx(4.6e7, rel=0.6)
    assert numbers.noise_px == pytest.approx(1, rel=0.25)
    # Corner standard deviations of 1.04, 1.02, 0.83 and 0.94 px in x or y.
    assert numbers.predicted_corner_error_px == pytest.approx(0.96 * np.sqrt(2), rel=0.3)

    exact = conditioning(clean1, clean2, similarity, SIZE)
    assert exact.kappa == pytest.approx(numbers.kappa, rel=0.05)
    assert exact.fit_gap == np.inf
    assert exact.kappa_notebook > 1e12
    assert exact.predicted_corner_error_px == pytest.approx(0, abs=1e-9)


def test_kappa_is_blind_to_spread_and_the_others_are_not(rng, similarity):
    clean1 = uniform_points(rng, 50)
    confined = clean1 / 2  # a quarter of the frame
    whole = conditioning(clean1, transform_points(clean1, similarity), similarity, SIZE)
    part = conditioning(confined, transform_points(confined, similarity), similarity, SIZE)
    assert part.kappa == pytest.approx(whole.kappa, rel=0.01)
    assert part.dop > 4 * whole.dop
    assert part.hull_fraction == pytest.approx(whole.hull_fraction / 4, rel=1e-3)


def test_predicted_error_tracks_the_true_one_and_the_notebooks_kappa_does_not(rng, similarity):
    """Section 2's rank correlations: -.17, .28, .80 and .93 over 1500 configurations."""
    rows = []
    for _ in range(400):
        count = rng.integers(8, 60)
        spread = rng.uniform(0.2, 1)
        points1 = uniform_points(rng, count) * spread + rng.uniform(0, 1 - spread, 2) * [639, 479]
        noise = rng.uniform(0.2, 3)
        points2 = transform_points(points1, similarity) + rng.normal(0, noise, points1.shape)
        points1 = points1 + rng.normal(0, noise, points1.shape)
        homography = dlt_homography(points1, points2).homography
        numbers = conditioning(points1, points2, homography, SIZE)
        rows.append(
            [
                corner_error_rms(homography, similarity, SIZE),
                numbers.predicted_corner_error_px,
                numbers.dop,
                numbers.kappa_notebook,
            ]
        )
    error, predicted, dop, notebook = np.array(rows).T
    assert spearmanr(error, predicted).statistic > 0.85
    assert spearmanr(error, dop).statistic > 0.5
    assert spearmanr(error, notebook).statistic < 0.1


# --- numbers of the configuration ---


def test_notebook_kappa_as_numpy_gives_it(rng, perspective):
    for count in (4, 5, 30):
        points1 = np.round(uniform_points(rng, count))
        points2 = np.round(transform_points(points1, perspective))
        rows = []
        for (x, y), (u, v) in zip(points1, points2, strict=True):
            rows += [[-x, -y, -1, 0, 0, 0, u * x, u * y, u], [0, 0, 0, -x, -y, -1, v * x, v * y, v]]
        values = np.linalg.svd(np.array(rows), compute_uv=False)
        assert kappa_notebook(points1, points2) == pytest.approx(values[0] / values[-1], rel=1e-6)
    assert np.isnan(kappa_notebook(points1[:3], points2[:3]))


def test_four_matches_have_a_dop_and_no_noise(rng, perspective):
    points1 = CORNERS * 0.5 + 20
    numbers = conditioning(points1, transform_points(points1, perspective), perspective, SIZE)
    assert numbers.singular_values[8] == 0
    assert numbers.fit_gap == np.inf
    assert 1 < numbers.kappa < 100
    assert 0 < numbers.dop < 100
    sandwich = conditioning(
        points1, transform_points(points1, perspective), perspective, SIZE, covariance="sandwich"
    )
    assert np.isnan(sandwich.predicted_corner_error_px)
    assert np.isnan([numbers.noise_px, numbers.predicted_corner_error_px]).all()
    assert np.isnan(numbers.covariance).all()
    assert np.isnan(numbers.corner_covariances).all()


def test_hull_fraction_of_known_shapes():
    assert hull_fraction(CORNERS, SIZE) == 1
    assert hull_fraction(CORNERS[:3], SIZE) == 0.5
    assert hull_fraction(CORNERS[:2], SIZE) == 0
    assert hull_fraction(np.repeat(CORNERS[:2], 5, axis=0), SIZE) == 0
    assert hull_fraction([[0.0, -0.0], [0.0, 0.0], [0.0, 0.0]], SIZE) == 0
    assert np.isnan(hull_fraction(CORNERS, (1, 480)))
    assert np.isnan(hull_fraction([[np.nan, 0]] * 5, SIZE))


# --- bad data ---

LINE = np.column_stack([np.linspace(10, 600, 9), np.linspace(20, 400, 9)])


@pytest.mark.parametrize("points", [CORNERS[:3], CORNERS[:0], np.vstack([CORNERS, [[np.inf, 3]]])])
def test_without_a_matrix_there_are_no_numbers(points):
    numbers = conditioning(points, points, None, SIZE)
    assert numbers.degeneracy in ("too_few_matches", "not_finite")
    assert np.isnan([numbers.kappa, numbers.kappa_raw, numbers.fit_gap, numbers.dop]).all()
    assert np.isnan(numbers.kappa_notebook)


@pytest.mark.parametrize("points", [np.full((9, 2), 33.3), LINE, np.vstack([LINE, [[50, 400]]])])
def test_degenerate_configurations_are_infinitely_uncertain(similarity, points):
    numbers = conditioning(points, transform_points(points, similarity), similarity, SIZE)
    assert numbers.degeneracy in ("coincident", "collinear", "rank")
    assert numbers.kappa == numbers.kappa_raw == numbers.dop == np.inf
    assert numbers.predicted_corner_error_px == np.inf
    assert np.isnan(numbers.fit_gap)


def test_a_folding_homography_has_infinite_dop_and_says_so(rng):
    points = rng.uniform(0, 100, (20, 2))
    folding = np.array([[1, 0, 0], [0, 1, 0], [-1 / 400, 0, 1.0]])
    numbers = conditioning(points, transform_points(points, folding), folding, SIZE)
    assert numbers.folds
    assert numbers.dop == numbers.predicted_corner_error_px == np.inf
    assert not conditioning(points, points, np.eye(3), SIZE).folds


def test_a_failed_estimate_still_has_its_configuration(rng):
    points = uniform_points(rng, 20)
    configuration = Configuration(points, points)
    numbers = conditioning(points, points, None, SIZE, configuration)
    assert numbers.singular_values is configuration.normalized[0]
    assert numbers.kappa < 10
    assert np.isnan([numbers.dop, numbers.noise_px, numbers.predicted_corner_error_px]).all()
    assert not numbers.folds
