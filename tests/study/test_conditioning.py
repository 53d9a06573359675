import numpy as np
import pandas as pd
import pytest
from scipy import stats

from homoreg.geometry import conditioning, corner_error_rms, dlt_homography, transform_points
from homoreg.plotting import arm_styles
from homoreg.study.conditioning import (
    PREDICTORS,
    bound_coverage,
    calibration,
    calibration_figure,
    rank_correlation_figure,
    rank_correlations,
)
from homoreg.study.statistics import share_interval

SIZE = (640, 480)


def table(predicted, actual, status="ok", arm="none", estimator="dlt") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": arm,
            "estimator": estimator,
            "pair_id": [f"{i:06d}" for i in range(1, len(actual) + 1)],
            "photo": [f"{i}.jpg" for i in range(1, len(actual) + 1)],
            "status": status,
            "inliers": 20,
            "predicted_corner_error_px": np.asarray(predicted, float),
            "corner_error_px": np.asarray(actual, float),
            "corner_error_rms_px": np.asarray(actual, float),
        }
    )


@pytest.fixture(scope="module")
def simulated() -> pd.DataFrame:
    """600 configurations of the study's kind, each with its own noise, spread and N."""
    rng = np.random.default_rng(7)
    records = []
    for number in range(600):
        count = int(rng.integers(20, 80))
        middle, spread = rng.uniform([200, 150], [440, 330]), rng.uniform(0.25, 1)
        points1 = middle + spread * rng.uniform(-1, 1, (count, 2)) * [200, 150]
        angle, scale = np.deg2rad(rng.uniform(-30, 30)), rng.uniform(0.8, 1.2)
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        shift = rng.uniform(-60, 60, 2)
        truth = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [1e-5, -2e-5, 1.0]])
        noise_px = 10 ** rng.uniform(-1, 0.5)
        points2 = transform_points(points1, truth) + rng.normal(0, noise_px, (count, 2))
        points1 = points1 + rng.normal(0, noise_px, (count, 2))
        estimate = dlt_homography(points1, points2).homography
        numbers = conditioning(points1, points2, estimate, SIZE)
        records.append(
            {
                "descriptor": "simulated",
                "regularizer": "",
                "seed": None,
                "estimator": "dlt",
                "pair_id": f"{number:06d}",
                "photo": f"{number}.jpg",
                "status": "ok",
                "match_count": count,
                "inliers": count,
                "corner_error_rms_px": corner_error_rms(estimate, truth, SIZE),
                **{p: getattr(numbers, p) for p in PREDICTORS if p != "match_count"},
            }
        )
    return pd.DataFrame(records)


def test_predictions_of_the_covariance_are_calibrated(simulated: pd.DataFrame) -> None:
    (row,) = calibration(simulated).to_dict("records")
    assert (row["arm"], row["rows"], row["n"], row["excluded"]) == ("simulated", 600, 600, 0)
    # The RMS of four corners that move in k directions: √(median of χ²ₖ/k), 0.83 at k = 2.
    assert 0.8 < row["ratio_median"] < 0.95
    assert row["within_2x"] > 0.95
    predicted = simulated["predicted_corner_error_px"]
    ratios = simulated["corner_error_rms_px"] / predicted
    assert (ratios**2).mean() == pytest.approx(1, abs=0.12)
    actual, predicted = np.log10(simulated["corner_error_rms_px"]), np.log10(predicted)
    assert stats.linregress(predicted, actual).slope == pytest.approx(1, abs=0.04)


def test_calibration_sees_a_prediction_that_is_off(simulated: pd.DataFrame) -> None:
    column = "predicted_corner_error_px"
    honest, boastful = calibration(
        pd.concat(
            [
                simulated.assign(arm="none"),
                simulated.assign(arm="l2", **{column: lambda t: t[column] / 3}),
            ]
        )
    ).to_dict("records")
    assert boastful["ratio_median"] == pytest.approx(3 * honest["ratio_median"])
    assert boastful["within_3x"] == honest["within_1x"]


def test_the_predicted_error_leads_the_ranking(simulated: pd.DataFrame) -> None:
    table = rank_correlations(simulated).set_index("predictor")
    rho = table["spearman"]
    assert rho["predicted_corner_error_px"] > 0.9
    assert rho["predicted_corner_error_px"] > rho["dop"] > rho["kappa"]
    assert rho["kappa_notebook"] < 0  # the study's number points the wrong way
    for predictor in PREDICTORS:
        expected = stats.spearmanr(simulated[predictor], simulated["corner_error_rms_px"]).statistic
        assert rho[predictor] == pytest.approx(expected)
    assert (table["low"] < rho).all()
    assert (rho < table["high"]).all()


def test_failures_are_left_out_and_counted_and_rank_last_among_all_rows() -> None:
    rows = table(
        predicted=[1, 2, 3, np.inf, np.nan, np.nan, np.nan],
        actual=[1, 3, 2, np.inf, np.inf, 9, np.nan],
        status=["ok", "ok", "ok", "ok", "too_few_matches", "ok", "too_few_matches"],
    )
    (row,) = rank_correlations(rows).to_dict("records")
    assert (row["rows"], row["n"], row["excluded"]) == (7, 3, 4)
    assert row["reasons"] == "2 too_few_matches, 1 folded, 1 ok but undefined"
    # Ranks 1 2 3 against 1 3 2: 1 − 6 · 2/(3 · 8).
    assert row["spearman"] == pytest.approx(0.5)
    # All rows: 1 2 3 5½ 5½ 5½ 5½ against 1 3 2 6 6 4 6, by the formula for ties (Pearson of ranks).
    assert row["spearman_all"] == pytest.approx(
        np.corrcoef([1, 2, 3, 5.5, 5.5, 5.5, 5.5], [1, 3, 2, 6, 6, 4, 6])[0, 1]
    )


def test_a_number_whose_worst_is_small_counts_as_small_where_it_is_missing() -> None:
    rows = table(predicted=[1, 2, 3, np.nan], actual=[1, 2, 3, np.inf])
    rows["fit_gap"] = [9.0, 8.0, 7.0, np.nan]
    by_predictor = rank_correlations(rows).set_index("predictor")["spearman_all"]
    assert by_predictor.to_dict() == {"predicted_corner_error_px": 1.0, "fit_gap": -1.0}


def test_seeds_and_warps_of_a_photograph_add_no_certainty() -> None:
    rng = np.random.default_rng(0)
    one = table(rng.random(30), rng.random(30))
    single = rank_correlations(one).iloc[0]
    warps = one.assign(pair_id=one["pair_id"] + "b")
    pooled = rank_correlations(pd.concat([one, one, warps])).iloc[0]
    assert (pooled["rows"], single["rows"]) == (90, 30)
    assert pooled["spearman"] == pytest.approx(single["spearman"])
    assert (pooled["low"], pooled["high"]) == pytest.approx((single["low"], single["high"]))


def test_too_few_or_constant_numbers_have_no_correlation() -> None:
    assert np.isnan(rank_correlations(table([1, 2], [1, 2])).iloc[0]["spearman"])
    assert np.isnan(rank_correlations(table([5, 5, 5, 5], [1, 2, 3, 4])).iloc[0]["spearman"])
    everything_failed = table([np.nan] * 4, [np.inf] * 4, status="degenerate")
    row = rank_correlations(everything_failed).iloc[0]
    assert (row["n"], row["reasons"]) == (0, "4 degenerate")
    assert np.isnan([row["spearman"], row["low"], row["spearman_all"]]).all()


def test_calibration_by_hand() -> None:
    rows = table(
        predicted=[1, 1, 2, 4, np.inf, np.nan, 0],
        actual=[0.5, 1, 5, 12, np.inf, np.inf, 0],
        status=["ok"] * 5 + ["degenerate", "ok"],
    )
    (row,) = calibration(rows).to_dict("records")
    assert (row["rows"], row["n"], row["excluded"]) == (7, 5, 2)
    assert row["reasons"] == "1 folded, 1 degenerate"
    # Ratios: 0.5, 1, 1 (exact), 2.5, 3.
    assert [row[f"ratio_{q}"] for q in ("q1", "median", "q3")] == [1, 1, 2.5]
    assert row["within_1x"] == row["within_2x"] == pytest.approx(3 / 5)
    assert row["within_3x"] == 1
    assert row["within_2x_of_all"] == pytest.approx(3 / 7)
    rows["inliers"] = [12, 12, 11, 12, 12, 0, 4]  # of the ratios: 0.5, 1, 3
    (row,) = calibration(rows).to_dict("records")
    assert (row["n_enough"], row["ratio_median_enough"]) == (3, 1)


def test_failures_are_no_success_of_a_prediction() -> None:
    (row,) = calibration(table([np.inf, 1], [np.inf, np.inf])).to_dict("records")
    assert (row["n"], row["ratio_median"], row["within_3x"]) == (1, np.inf, 0)
    (row,) = calibration(table([1, 1], [np.inf, np.nan])).to_dict("records")
    assert (row["n"], row["ratio_median"], row["within_3x"]) == (2, np.inf, 0)
    (row,) = calibration(table([np.nan] * 3, [np.inf] * 3, "degenerate")).to_dict("records")
    assert (row["n"], row["within_2x_of_all"]) == (0, 0)
    assert np.isnan([row["ratio_median"], row["within_2x"]]).all()


def test_coverage_is_of_finite_bounds_with_an_interval_over_photos() -> None:
    rows = table(predicted=np.ones(13), actual=[1.0] * 9 + [3.0, 1.0, np.inf, np.inf])
    # The last three: too few pairs for a bound, a fold, and no estimate.
    rows["bound_90_px"] = [2.0] * 10 + [np.inf, np.inf, np.nan]
    rows["seed"] = 0
    (row,) = bound_coverage(rows).to_dict("records")
    assert (row["seeds"], row["n"], row["covered_mean"]) == (1, 10, 0.9)
    interval = row["covered_low"], row["covered_high"]
    assert interval == share_interval([True] * 9 + [False], np.arange(10))
    seeds = pd.concat([rows, rows.assign(seed=1)])
    (row,) = bound_coverage(seeds).to_dict("records")
    assert (row["seeds"], row["n"], row["covered_mean"]) == (2, 20, 0.9)
    assert row["covered_low"] < 0.9 < row["covered_high"]


def test_arms_and_estimators_are_apart() -> None:
    rows = pd.concat(
        [
            table([1, 2, 3], [1, 2, 3], arm="rootsift", estimator="dlt"),
            table([1, 2, 3], [3, 2, 1], arm="l2", estimator="dlt"),
            table([1, 2, 3], [1, 3, 2], arm="l2", estimator="magsac"),
        ]
    )
    found = rank_correlations(rows)
    assert found[["estimator", "arm"]].to_numpy().tolist() == [
        ["dlt", "l2"],
        ["dlt", "rootsift"],
        ["magsac", "l2"],
    ]
    assert found["spearman"].tolist() == pytest.approx([-1, 1, 0.5])


def test_panels_of_many_estimators_are_as_wide_as_those_of_four(simulated: pd.DataFrame) -> None:
    names = ["dlt", "magsac", "ransac", "poselib", "usac"]
    rows = pd.concat([simulated.assign(arm="none", estimator=name) for name in names])
    widths = {}
    for count in (4, 5):
        shown = rows[rows["estimator"].isin(names[:count])]
        figure = calibration_figure(shown, arm_styles(["none"]))
        figure.draw_without_rendering()
        assert len(figure.axes) == count
        widths[count] = {round(ax.get_window_extent().width) for ax in figure.axes}
    assert min(widths[4]) > 0.15 * figure.bbox.width
    assert min(widths[5]) > 0.95 * min(widths[4])


def test_figures_show_every_estimator_and_arm_with_n(simulated: pd.DataFrame) -> None:
    failed = table([np.nan] * 3, [np.inf] * 3, "degenerate", arm="orb")  # alone, and among others
    rows = pd.concat(
        [simulated.assign(arm="none"), failed, simulated.assign(arm="l2", estimator="magsac")]
    )
    styles = arm_styles(rows["arm"])
    figure = calibration_figure(rows, styles)
    figure.draw_without_rendering()
    assert len(figure.axes) == 2
    assert "n = 600 of 603" in figure.axes[0].texts[0].get_text()
    for ax in figure.axes:
        assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlim()) == ("log", "log", ax.get_ylim())
    assert "px" in figure.get_supxlabel()
    assert "px" in figure.get_supylabel()

    chart = rank_correlation_figure(rank_correlations(rows), styles)
    chart.draw_without_rendering()
    assert [ax.get_title(loc="left") for ax in chart.axes] == [
        "dlt, n = 0 to 600",
        "magsac, n = 600",
    ]
    assert len(chart.axes[0].get_yticklabels()) == len(PREDICTORS)

    rank_correlation_figure(rank_correlations(failed), styles).draw_without_rendering()
    calibration_figure(failed, styles).draw_without_rendering()
