"""Estimators: accuracy, reproducibility, and a status where there is no estimate."""

import numpy as np
import pytest
from hydra.utils import instantiate
from scipy.optimize import minimize
from tests.geometry.test_random_matches import HAS_POSELIB, INSTALLED, METHODS

from homoreg import HomoregError
from homoreg.cli import compose
from homoreg.files import conf_dir
from homoreg.geometry import (
    Estimator,
    conditioning,
    corner_error,
    corner_error_rms,
    corner_errors,
    dlt_homography,
    estimate_homography,
    robust_spread,
    transform_points,
)

SIZE = (640, 480)
ROBUST = [method for method in INSTALLED if not method.startswith("dlt")]


@pytest.fixture
def matches(rng, perspective):
    """120 right matches with 0.5 px of noise, best first, then 60 wrong ones."""
    points1 = rng.uniform(0, 1, (180, 2)) * [639, 479]
    points2 = transform_points(points1, perspective) + rng.normal(0, 0.5, points1.shape)
    points2[120:] = rng.uniform(0, 1, (60, 2)) * [639, 479]
    return points1, points2


def assert_failed(estimate, status, count):
    assert estimate.status == status
    assert estimate.homography is None
    assert estimate.configuration is None
    assert estimate.inliers.shape == (count,)
    assert not estimate.inliers.any()


# --- right answers ---


@pytest.mark.parametrize("method", ROBUST)
def test_robust_methods_see_through_a_third_of_outliers(matches, perspective, method):
    estimate = Estimator(method, refit_px=2)(*matches)
    assert estimate.status == "ok"
    assert corner_error(estimate.homography, perspective, SIZE) < 0.6
    assert estimate.inliers[:120].mean() > 0.98
    assert estimate.inliers[120:].mean() < 0.05
    # The inliers are what was solved, and what is within 2 px of the solution.
    used = estimate.inliers
    expected = dlt_homography(matches[0][used], matches[1][used])
    np.testing.assert_array_equal(estimate.homography, expected.homography)
    np.testing.assert_array_equal(estimate.configuration.points1, matches[0][used])
    distances = np.hypot(*(transform_points(matches[0], estimate.homography) - matches[1]).T)
    np.testing.assert_array_equal(used, distances <= 2)
    assert estimate.covariance == "plugin"


def test_refit_rounds_bound_the_solves_and_inliers_are_those_of_the_last(matches):
    solves = [Estimator("magsac", refit_px=0.4, refit_rounds=n)(*matches) for n in (1, 2, 10)]
    for estimate in solves:
        used = estimate.inliers
        expected = dlt_homography(matches[0][used], matches[1][used])
        np.testing.assert_array_equal(estimate.homography, expected.homography)
    counts = [estimate.inliers.sum() for estimate in solves]
    assert counts[0] > 110 > counts[1] != counts[2]


def test_a_refit_that_keeps_too_few_matches_ends_with_the_solve_before(rng, perspective):
    points1 = rng.uniform(0, 1, (30, 2)) * [639, 479]
    points2 = transform_points(points1, perspective) + rng.normal(0, 1, points1.shape)
    estimate = Estimator("magsac", refit_px=1e-6)(points1, points2)
    assert estimate.status == "ok"
    assert estimate.inliers.sum() > 20


def test_dlt_uses_every_match_and_is_misled_by_outliers(matches, perspective):
    for method in ("dlt", "dlt_raw"):
        estimate = estimate_homography(*matches, method)
        expected = dlt_homography(*matches, normalize=method == "dlt")
        assert estimate.inliers.all()
        np.testing.assert_array_equal(estimate.homography, expected.homography)
        assert estimate.covariance == "sandwich"
        assert corner_error(estimate.homography, perspective, SIZE) > 20


@pytest.mark.parametrize("method", INSTALLED)
def test_four_and_five_exact_matches_are_enough(perspective, method):
    points = np.array([[10, 20], [600, 40], [550, 430], [30, 400], [300, 100]], float)
    for count in (4, 5):
        estimate = estimate_homography(
            points[:count], transform_points(points[:count], perspective), method
        )
        assert estimate.status == "ok"
        assert corner_error(estimate.homography, perspective, SIZE) < 0.1
        assert estimate.inliers.sum() == count


@pytest.mark.parametrize("refit", [{}, {"refit": "cauchy", "refit_px": "auto"}])
def test_near_misses_do_not_pull_a_refitted_estimate(rng, perspective, refit):
    """Matches 3 to 10 px off the truth, all to one side, are what MAGSAC alone gives weight to."""
    errors = []
    for seed in range(20):
        points1 = rng.uniform(0, 1, (120, 2)) * [639, 479]
        points2 = transform_points(points1, perspective) + rng.normal(0, 0.5, points1.shape)
        points2[:40] += np.column_stack([rng.uniform(3, 10, 40), rng.uniform(-3, 3, 40)])
        estimate = Estimator("magsac", seed=seed, **refit)(points1, points2)
        best = dlt_homography(points1[40:], points2[40:]).homography
        errors.append([corner_error(H, perspective, SIZE) for H in (estimate.homography, best)])
    refitted, oracle = np.median(errors, axis=0)
    assert refitted < 1.3 * oracle


@pytest.mark.parametrize("noise_px", [0.0, 0.1, 0.8])
def test_an_automatic_refit_follows_the_noise(rng, perspective, noise_px):
    """A tenth of near misses, all to one side and far off for the noise, is left out."""
    points1 = rng.uniform(0, 1, (200, 2)) * [639, 479]
    points2 = transform_points(points1, perspective) + rng.normal(0, noise_px, points1.shape)
    points2[:20, 0] += rng.uniform(8, 12, 20) * max(noise_px, 0.1)
    estimate = Estimator("magsac", refit_px="auto")(points1, points2)
    assert estimate.inliers[20:].mean() > 0.98
    assert not estimate.inliers[:20].any()


def test_a_cauchy_refit_has_the_smallest_loss(matches):
    """DLT weights residuals by depth, too, which moves the corners by hundredths of a pixel."""
    plain, cauchy = (
        Estimator("magsac", refit=refit)(*matches) for refit in ("least_squares", "cauchy")
    )
    points1, points2 = (points[cauchy.inliers] for points in matches)

    def loss(h):
        offsets = transform_points(points1, np.append(h, 1).reshape(3, 3)) - points2
        return np.log1p((offsets**2).sum(axis=1) / 0.5**2).sum()

    scale = np.array([1, 1, 500, 1, 1, 500, 1 / 500, 1 / 500])
    found = minimize(lambda h: loss(scale * h), cauchy.homography.ravel()[:8] / scale)
    best = np.append(scale * found.x, 1).reshape(3, 3)
    assert loss(found.x * scale) <= loss(cauchy.homography.ravel()[:8])
    distances = [corner_error(fit.homography, best, SIZE) for fit in (cauchy, plain)]
    assert distances[0] < 0.2 * distances[1]


def test_weights_lower_the_error_where_some_matches_are_noisier(rng, perspective):
    plain, weighted = Estimator("magsac"), Estimator("magsac", refit="cauchy", refit_px="auto")
    errors = []
    for _ in range(30):
        points1 = rng.uniform(0, 480, (150, 2))
        noise = rng.choice([0.1, 0.8], (150, 1)) * rng.normal(size=(150, 2))
        points2 = transform_points(points1, perspective) + noise
        fits = (estimator(points1, points2) for estimator in (plain, weighted))
        errors.append([corner_error(fit.homography, perspective, SIZE) for fit in fits])
    assert np.mean(errors, axis=0)[1] < 0.7 * np.mean(errors, axis=0)[0]


@pytest.mark.parametrize(("count", "freedom"), [(40, 3), (100, 3), (100, 100)])
def test_a_cauchy_refit_knows_how_far_off_it_is(rng, perspective, count, freedom):
    """Root of the ratio of mean squares, true over predicted, under Student's noise."""
    estimator = Estimator("magsac", refit="cauchy", refit_px="auto")
    errors = []
    for _ in range(400):
        points1 = rng.uniform(0, 1, (count, 2)) * [639, 479]
        noise1, noise2 = 0.2 * rng.standard_t(freedom, (2, count, 2))
        points2 = transform_points(points1, perspective) + noise2
        estimate = estimator(points1 + noise1, points2)
        used = estimate.inliers
        numbers = conditioning(
            points1[used] + noise1[used],
            points2[used],
            estimate.homography,
            SIZE,
            estimate.configuration,
            estimate.covariance,
        )
        true_px = corner_error_rms(estimate.homography, perspective, SIZE)
        errors.append((true_px, numbers.predicted_corner_error_px))
    true, predicted = np.array(errors).T
    assert np.sqrt((true**2).mean() / (predicted**2).mean()) == pytest.approx(1, abs=0.05)


# --- seeds ---


@pytest.mark.parametrize("method", INSTALLED)
def test_the_same_seed_gives_the_same_estimate(matches, method):
    for seed in (0, 1):
        first, second = (Estimator(method, seed=seed)(*matches) for _ in range(2))
        np.testing.assert_array_equal(first.homography, second.homography)
        np.testing.assert_array_equal(first.inliers, second.inliers)


@pytest.mark.parametrize("count", [8, 14, 30, 48, 49, 60, 200])
def test_prosac_does_not_stop_at_the_first_matches(rng, perspective, count):
    """Right matches in no order: any homography that a few of them give fits nearly all."""
    for _ in range(30):
        points1 = rng.uniform(0, 1, (count, 2)) * [639, 479]
        points2 = transform_points(points1, perspective) + rng.normal(0, 0.3, points1.shape)
        assert Estimator("prosac")(points1, points2).inliers.mean() > 0.8


def test_seed_zero_is_a_seed_and_seeds_differ(rng, perspective):
    points1 = rng.uniform(0, 1, (60, 2)) * [639, 479]
    points2 = transform_points(points1, perspective) + rng.normal(0, 2, points1.shape)
    points2[30:] = rng.uniform(0, 1, (30, 2)) * [639, 479]
    for method in ("ransac", "usac", "prosac"):
        estimator = Estimator(method, refit_rounds=1)
        spread = robust_spread(points1, points2, SIZE, estimator)
        assert spread.failures == 0
        assert 0 < spread.rms_px < 20
        first = estimator(points1, points2).homography
        assert np.abs(transform_points([[0, 0]], first) - spread.corners[0, 0]).max() == 0
    assert robust_spread(points1, points2, SIZE, Estimator("dlt")).rms_px < 1e-9


# --- failures are data ---


@pytest.mark.parametrize("method", INSTALLED)
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_too_few_matches(method, count):
    points = np.arange(2.0 * count).reshape(count, 2)
    assert_failed(estimate_homography(points, points, method), "too_few_matches", count)


@pytest.mark.parametrize("method", INSTALLED)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_coordinates_that_are_not_finite(matches, method, bad):
    points1, points2 = matches
    points1 = points1.copy()
    points1[5, 1] = bad
    assert_failed(estimate_homography(points1, points2, method), "not_finite", 180)
    assert_failed(estimate_homography(points2, points1, method), "not_finite", 180)


LINE = np.column_stack([np.linspace(10, 600, 12), np.linspace(20, 400, 12)])
SCATTERED = np.array([[x, (x * 37) % 211] for x in range(12)], float) * [50, 2]
DEGENERATE = {
    "all equal": (np.full((12, 2), 5.0), np.full((12, 2), 7.0)),
    "collinear": (LINE, LINE + 3),
    "collinear in float32": (LINE.astype(np.float32), (LINE * 1.1).astype(np.float32)),
    "collinear in view 1 only": (LINE, SCATTERED),
    "collinear in view 2 only": (SCATTERED, LINE),
    "many to one": (SCATTERED, np.full((12, 2), 40.0)),
    "many to one but two": (SCATTERED, np.vstack([np.full((10, 2), 40.0), [[1, 2], [90, 8]]])),
    "three distinct": (SCATTERED[:3].repeat(4, axis=0), SCATTERED[:3].repeat(4, axis=0)),
    "all but one collinear": (np.vstack([LINE, [[9, 300]]]), np.vstack([LINE, [[9, 300]]])),
    "three of four collinear": (np.vstack([LINE[:3], [[9, 300]]]),) * 2,
}


@pytest.mark.parametrize("method", INSTALLED)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_matches(method, name):
    points1, points2 = DEGENERATE[name]
    assert_failed(estimate_homography(points1, points2, method), "degenerate", len(points1))


@pytest.mark.parametrize("method", INSTALLED)
def test_all_outliers_give_a_wrong_homography_or_a_failure_but_no_crash(rng, perspective, method):
    points1, points2 = rng.uniform(0, 400, (2, 50, 2))
    estimate = estimate_homography(points1, points2, method)
    assert corner_error(estimate.homography, perspective, SIZE) > 20
    assert estimate.status in ("ok", "degenerate")
    if estimate.status == "ok" and not method.startswith("dlt"):
        assert estimate.inliers.sum() < 25


def test_a_map_that_folds_the_view_is_an_estimate_and_infinitely_wrong():
    folding = np.array([[1, 0, 0], [0, 1, 0], [-1 / 400, 0, 1.0]])
    points = np.array([[x, y] for x in (10.0, 100, 200, 300, 500, 620) for y in (10.0, 200, 470)])
    estimate = estimate_homography(points, transform_points(points, folding))
    assert estimate.status == "ok"
    np.testing.assert_allclose(estimate.homography, folding, atol=1e-9)
    assert (corner_errors(estimate.homography, np.eye(3), SIZE) == np.inf).all()


def test_points_that_overflow_are_not_finite():
    huge = SCATTERED * 1e300
    assert_failed(estimate_homography(huge, huge, "dlt_raw"), "not_finite", 12)


def test_misused_shapes_are_refused_and_an_empty_list_is_no_match():
    with pytest.raises(ValueError, match="pair up"):
        estimate_homography(SCATTERED, SCATTERED[:5])
    with pytest.raises(ValueError, match="points must be"):
        estimate_homography(np.zeros((4, 3)), np.zeros((4, 3)))
    assert_failed(estimate_homography([], []), "too_few_matches", 0)


# --- options ---


@pytest.mark.parametrize("ratio", [None, "auto", 0.6, 1])
def test_a_ratio_of_the_estimator_is_kept_for_the_evaluation(ratio):
    assert Estimator(max_ratio=ratio).max_ratio == ratio


@pytest.mark.skipif(HAS_POSELIB, reason="PoseLib is installed")
def test_poselib_where_it_is_missing_is_one_clear_line():
    with pytest.raises(HomoregError, match="pip install poselib"):
        Estimator("poselib")


def test_every_method_has_a_config_file_with_the_defaults_of_the_class():
    names = sorted(path.stem for path in (conf_dir() / "estimators").glob("[!_]*.yaml"))
    names = [name for name in names if not name.startswith("magsac_")]  # refits
    assert names == sorted(METHODS)
    config = compose("train", [f"estimators=[{','.join(names)}]"]).estimators
    assert sorted(config) == names
    for method in INSTALLED:
        changed = {"threshold_px": 3.0 if method == "ransac" else 2.0}
        if method == "dlt":
            changed["max_ratio"] = "auto"
        assert instantiate(config[method]) == Estimator(method, **changed)
