"""Tests and intervals against known answers, references, and simulated studies."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from benchmarks import null_rates
from benchmarks.null_rates import WORLDS, World
from benchmarks.simulated_study import study
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from homoreg.aggregates import corner_error_auc
from homoreg.errors import HomoregError
from homoreg.geometry.estimators import Method
from homoreg.study.analysis import ANALYSES, NOTEBOOK, Analysis, OutcomeName, primary_estimator
from homoreg.study.arms import ORIGINAL_ARMS
from homoreg.study.comparisons import OUTCOMES, compare_arms, compare_contrasts, levels
from homoreg.study.statistics import (
    FLIPS,
    MAX_SKEWNESS,
    SeedValues,
    fewest_seeds,
    holm,
    photo_sample,
    resampled_spearman,
    share_interval,
    sign_flip_power,
    sign_flip_test,
)

some_differences = st.lists(st.integers(-20, 20), min_size=2, max_size=9)


# Exact tests over seeds


@given(some_differences, st.sampled_from(["two-sided", "greater", "less"]))
def test_sign_flip_equals_scipys_permutation_test(differences: list[int], alternative: str):
    theirs = stats.permutation_test(
        (differences,),
        lambda values, axis: values.sum(axis),
        permutation_type="samples",
        alternative=alternative,
        n_resamples=np.inf,
        vectorized=True,
    )
    assert sign_flip_test(differences, alternative) == pytest.approx(theirs.pvalue)


def test_beyond_twenty_seeds_the_flips_are_random_and_keyed():
    differences = np.random.default_rng(1).normal(0.45, 1, 25)
    p = sign_flip_test(differences)
    assert p == sign_flip_test(differences)
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=0.15)
    # The unflipped differences are among them, so that no p is 0.
    assert sign_flip_test(np.arange(1.0, 31), "greater") == 1 / (FLIPS + 1)


@pytest.mark.parametrize("tests", [1, 7, 52])
def test_holm_equals_statsmodels(tests: int):
    p = np.random.default_rng(tests).beta(0.3, 3, tests).round(3)  # small ones, and ties
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_fewest_seeds_and_power_are_of_the_family():
    assert [fewest_seeds(1), fewest_seeds(3), fewest_seeds(52, "greater")] == [6, 7, 11]
    # At 7 seeds only differences of one sign are significant.
    same_sign = stats.norm.cdf(0.7) ** 7 + stats.norm.cdf(-0.7) ** 7
    power = sign_flip_power(0.7, 7, tests=3, simulations=20000)
    assert power == pytest.approx(same_sign, abs=3 * np.sqrt(same_sign / 20000))
    assert sign_flip_power(1.0, 12, tests=3) == pytest.approx(0.74, abs=0.03)
    assert sign_flip_power(1.0, 12, tests=10) < sign_flip_power(1.0, 12, tests=3)
    above, below = (sign_flip_power(0.8, seeds, tests=3) for seeds in (21, 16))
    assert above > below


# Seeds and photos, crossed


@pytest.mark.parametrize(
    "world",
    [*WORLDS[:2], *(pytest.param(world, marks=pytest.mark.slow) for world in WORLDS[2:])],
    ids=str,
)
def test_intervals_cover_and_tests_err_as_stated(world: World):
    for rate in null_rates.seeds_and_photos(world, 600):  # a rate of 5 % within ±2.7 %
        assert rate.holds, rate


@pytest.mark.parametrize("draw", ["normal", "laplace", "uniform"])
def test_holm_over_contrasts_with_one_baseline_errs_in_one_study_of_twenty(draw: str):
    rate = null_rates.holm_over_contrasts(draw, 2000)
    assert rate.holds, rate


def test_the_marked_skewness_costs_the_sign_flip_test_its_level():
    assert null_rates.skewed(MAX_SKEWNESS, 7, 2000).measured < 0.08
    assert not null_rates.skewed(2 * MAX_SKEWNESS, 7, 2000).holds


def test_a_baseline_has_the_variance_of_the_photos_and_one_seed_has_none():
    values = np.random.default_rng(0).normal(0, 1, 50)
    sample = photo_sample(np.arange(50), draws=2000)
    means = (sample.counts @ values / 50)[:, None]
    error, df = SeedValues(means, sample.photos, trained=False).error()
    assert error == pytest.approx(stats.sem(values), rel=0.05)
    assert df == 49
    one_seed = SeedValues(means, sample.photos)
    assert np.isnan([*one_seed.error(), *one_seed.interval(), one_seed.test("greater")]).all()
    one_photo = SeedValues(np.tile(means, 3), photos=1)
    assert np.isnan(one_photo.error()).all()


def test_pairs_of_one_photo_are_drawn_together():
    counts = photo_sample(["c", "a", "a", "b", "c", "c"], draws=50).counts
    assert (counts[0] == 1).all()
    assert (counts[:, 1] == counts[:, 2]).all()
    assert (counts[:, [0, 0]] == counts[:, [4, 5]]).all()
    assert (counts[1:, [0, 1, 3]].sum(1) == 3).all()


def test_a_resampled_rank_correlation_is_that_of_the_repeated_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 15).astype(float), rng.integers(0, 6, 15).astype(float)
    x[:2] = np.inf
    counts = rng.multinomial(15, np.full(15, 1 / 15), 20)
    ranks = [(np.repeat(x, own), np.repeat(y, own)) for own in counts]
    expected = [np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1] for a, b in ranks]
    assert resampled_spearman(x, y, counts) == pytest.approx(expected)


# Arms against a baseline


def test_a_difference_is_found_and_an_equivalence_too():
    rows = study(seeds=12, error={"l2": 1.0, "dropout": 2.0, "hybrid": 0.6})
    table = compare_arms(rows, draws=100).set_index(["metric", "arm"])
    assert table["verdict"]["log10_corner_error"].to_dict() == {
        "l2": "equivalent",
        "dropout": "higher",
        "hybrid": "lower",
    }
    assert table["verdict"]["auc_5px"][["dropout", "hybrid"]].tolist() == ["lower", "higher"]
    dropout = table.loc[("log10_corner_error", "dropout")]
    assert dropout["difference"] == pytest.approx(np.log10(2), abs=0.05)
    assert dropout["low"] < dropout["difference"] < dropout["high"]
    assert dropout["p_seeds"] == dropout["p"] == 2 / 2**12
    assert dropout["p_holm"] == 3 * dropout["p"]
    assert dropout["effect_size"] > 1
    assert (table["seeds"] == 12).all()
    assert (table["pairs"] == 2 * table["photos"]).all()


def test_stated_contrasts_are_one_family_over_all_recipes():
    stated = [{"arm": "dropout", "against": "l2"}, {"arm": "hybrid", "against": "missing"}]
    analysis = Analysis(contrasts=[*stated, {"arm": "l2", "against": "none"}])
    rows = study(seeds=9, error={"dropout": 2.0})
    other = study(seeds=9, protocol="corrected_strong", key=1)
    analyses = {"corrected": analysis, "corrected_strong": analysis}
    both = pd.concat([rows, other]).assign(manifest_hash="a")
    table = compare_contrasts(both, analyses, draws=50)
    assert table["p_holm"].tolist() == pytest.approx(holm(table["p"]).tolist())
    own = table.set_index(["protocol", "arm", "against"])
    assert own["verdict"].to_dict() == {
        ("corrected", "dropout", "l2"): "higher",
        ("corrected", "hybrid", "missing"): "open: too few seeds",
        ("corrected", "l2", "none"): "equivalent",
        ("corrected_strong", "dropout", "l2"): "equivalent",
        ("corrected_strong", "hybrid", "missing"): "open: too few seeds",
        ("corrected_strong", "l2", "none"): "equivalent",
    }
    against_none = compare_arms(rows, draws=50).set_index(["metric", "arm"])
    difference = own["difference"]["corrected", "dropout", "l2"]
    of_arms = against_none["difference"]["log10_corner_error"]
    assert difference == pytest.approx(of_arms["dropout"] - of_arms["l2"])


def test_any_name_is_an_arm():
    rows = study(seeds=8, error={"l2": 2.0}).replace({"arm": {"l2": "whitening"}})
    table = compare_arms(rows, draws=50).set_index(["metric", "arm"])
    assert table["verdict"]["log10_corner_error", "whitening"] == "higher"


def test_values_are_those_of_the_aggregates():
    rows = study(seeds=2, failed=0.2)
    table = levels(rows, draws=10).set_index("arm")
    own = rows[rows["arm"] == "l2"]
    aucs = [corner_error_auc(run["corner_error_px"], [5])[0] for _, run in own.groupby("seed")]
    assert table.loc["l2", "auc_5px_mean"] == pytest.approx(np.mean(aucs))
    assert table.loc["l2", "failure_rate_mean"] == (own["status"] != "ok").mean()
    folded = rows.assign(status="ok")  # so a run's own table has estimates that fold the view
    assert levels(folded, draws=2)["failure_rate_mean"].tolist() == [0.2] * 4
    compared = compare_arms(folded, draws=2).query("metric == 'failure_rate'")
    assert (compared["mean_arm"] == 0.2).all()
    errors = np.log10(own["corner_error_px"].clip(0.05, 100))
    assert table.loc["l2", "log10_corner_error_mean"] == pytest.approx(errors.mean())
    assert (errors == 2).sum() == (own["status"] != "ok").sum()  # failures count 100 px


def test_baselines_have_levels_and_are_no_arms():
    rows = study(seeds=2)
    baseline = rows[(rows["arm"] == "l2") & (rows["seed"] == 0)]
    rows = pd.concat([rows, baseline.assign(arm="rootsift", seed=pd.NA)])
    assert set(compare_arms(rows, draws=5)["arm"]) == {"l2", "dropout", "hybrid"}
    table = levels(rows, draws=50).set_index("arm")
    assert table.loc["rootsift", "seeds"] == 0
    low, high = table.loc["rootsift", ["auc_5px_low", "auc_5px_high"]]
    assert low < table.loc["rootsift", "auc_5px_mean"] < high


def test_few_seeds_leave_the_question_open():
    table = compare_arms(study(seeds=6, error={"dropout": 3.0}), draws=20)
    own = table.set_index(["metric", "arm"])
    assert set(own["verdict"]["log10_corner_error"]) == {"open: too few seeds"}
    dropout = own.loc[("log10_corner_error", "dropout")]
    assert dropout["p_seeds"] == 2 / 2**6
    assert np.isfinite(dropout[["low", "high", "difference"]].astype(float)).all()


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_an_outcome_at_its_floor_or_ceiling_is_not_informative(factor: float):
    table = compare_arms(study(seeds=8, error=dict.fromkeys(ORIGINAL_ARMS, factor)), draws=20)
    verdicts = table.set_index("metric")["verdict"]
    for name in ("auc_1px", "auc_5px", "log10_corner_error"):
        assert set(verdicts[name]) == {"not informative"}
    assert "equivalent" in set(verdicts["match_count"])


def test_an_infinite_median_is_not_informative():
    table = compare_arms(study(seeds=8, failed={"dropout": 0.7}), draws=20)
    own = table.set_index(["metric", "arm"])
    assert own["mean_arm"]["log10_kappa", "dropout"] == np.inf
    of_kappa = own["verdict"]["log10_kappa"]
    assert of_kappa.index[of_kappa == "not informative"].tolist() == ["dropout"]
    assert own["verdict"]["log10_corner_error", "dropout"] == "higher"
    assert own["difference"]["failure_rate", "dropout"] == pytest.approx(0.7)


def test_seeds_that_do_not_pair_are_left_out_and_counted():
    rows = study(seeds=9)
    gone = (rows["arm"] == "l2") & (rows["seed"] < 1) | (rows["arm"] == "none") & (rows["seed"] > 7)
    table = compare_arms(rows[~gone], draws=20).set_index(["metric", "arm"]).loc["auc_5px"]
    assert table["seeds"].to_dict() == {"l2": 7, "dropout": 8, "hybrid": 8}
    assert table["seeds_left_out"].to_dict() == {"l2": 2, "dropout": 1, "hybrid": 1}


def test_an_arm_without_a_seed_in_common_is_shown_as_open():
    rows = study(seeds=3)
    other = rows[rows["arm"] == "l2"].assign(seed=lambda table: table["seed"] + 100)
    table = compare_arms(pd.concat([rows[rows["arm"] == "none"], other]), draws=20)
    assert (table["seeds"] == 0).all()
    assert (table["seeds_left_out"] == 6).all()
    assert table["p"].isna().all()
    assert set(table["verdict"]) <= {"open: too few seeds", "not informative"}


def test_arms_are_compared_on_the_pairs_that_all_their_runs_share():
    rows = study(seeds=8).assign(manifest_hash="a")
    rows["rmse_identity_gray"] = rows["pair_id"].astype(float)
    other = rows["arm"] == "hybrid"  # other warps of the same photographs
    rows.loc[other, "rmse_identity_gray"] += 0.5
    renamed = rows["arm"] == "l2"  # the same pairs, prepared again under other numbers
    rows.loc[renamed, "manifest_hash"], rows.loc[renamed, "pair_id"] = "b", rows["pair_id"] + "b"
    fewer = rows[(rows["arm"] != "dropout") | (rows["seed"] != 3) | (rows["pair_id"] <= "000012")]
    table = compare_arms(fewer, draws=20).set_index(["metric", "arm"]).loc["auc_5px"]
    assert table["seeds"].to_dict() == {"l2": 8, "dropout": 8, "hybrid": 0}
    assert table["pairs"].to_dict() == {"l2": 30, "dropout": 12, "hybrid": 0}
    shared = compare_arms(rows[rows["pair_id"] <= "000012"], draws=20).set_index(["metric", "arm"])
    assert table.loc["dropout", "low"] == shared.loc[("auc_5px", "dropout"), "low"]


def test_two_pairs_of_a_photo_that_look_alike_stay_two():
    # Three pairs of each photograph, two of which have the same RMSE without a warp.
    rows = study(seeds=8).assign(manifest_hash="a")
    number = rows["pair_id"].astype(int)
    rows["photo"] = (number // 3).astype(str)
    rows["rmse_identity_gray"] = 20.0 + number % 3 // 2
    renamed = rows["arm"] == "l2"
    rows.loc[renamed, "manifest_hash"], rows.loc[renamed, "pair_id"] = "b", rows["pair_id"] + "b"
    table = compare_arms(rows, draws=20)
    assert set(table["pairs"]) == {30}


def test_the_notebooks_filter_is_applied_and_counted():
    rows = study(seeds=8, failed={"dropout": 0.4}, protocol="notebook")
    rows.loc[rows["pair_id"] == "000001", "kappa_notebook"] = 3e7
    table = compare_arms(rows, draws=20).set_index(["metric", "arm"])
    dropout = table.loc[("auc_5px", "dropout")]
    assert dropout["left_out"] > 8 * 0.4 * 30 - 1
    # Survivors only: the arm that fails on 40 % of the pairs looks no worse.
    assert abs(dropout["difference"]) < 5
    assert table.loc[("failure_rate", "dropout"), "difference"] == pytest.approx(0.4)
    honest = compare_arms(rows.assign(protocol="corrected"), draws=20)
    honest = honest.set_index(["metric", "arm"]).loc[("auc_5px", "dropout")]
    assert (honest["verdict"], honest["left_out"]) == ("lower", 0)


def test_analysis_options():
    rows = pd.DataFrame(
        {"status": ["ok", "folded", "degenerate"], "kappa": [5, 9e9, np.nan], "kappa_notebook": 1e6}
    )
    assert Analysis().apply(rows).equals(rows)
    # The original study had no check of an estimate: one that folds the view counted.
    assert Analysis(drop_failures=True).apply(rows).index.tolist() == [0, 1]
    assert Analysis(max_kappa=2e7).apply(rows).index.tolist() == [0, 2]
    assert NOTEBOOK.apply(rows).index.tolist() == [0, 1]
    assert ANALYSES["corrected"] == Analysis()
    assert set(Analysis().estimators) == set(get_args(Method))
    for evaluated, primary in {("dlt", "ransac"): "ransac", ("dlt_raw", "dlt"): "dlt"}.items():
        assert primary_estimator(pd.DataFrame({"estimator": evaluated}), Analysis()) == primary
    assert get_args(OutcomeName) == tuple(OUTCOMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: pd.concat([rows, rows]), "two runs of the arm none have the seed 0"),
        (lambda rows: rows.assign(protocol="mine"), "protocol mine: known are"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: Callable, message: str):
    with pytest.raises(HomoregError, match=message):
        compare_arms(change(study(seeds=1)))


def test_protocols_and_estimators_are_apart():
    rows = pd.concat(
        [
            study(seeds=2, protocol="notebook"),
            study(seeds=2, protocol="corrected"),
            study(seeds=2, protocol="corrected").assign(estimator="magsac"),
        ]
    )
    table = compare_arms(rows, draws=5)
    assert len(table.drop_duplicates(["protocol", "estimator"])) == 3
    assert not table.duplicated(["protocol", "estimator", "metric", "arm"]).any()


def test_an_interval_of_a_share_of_independent_pairs_is_clopper_and_pearsons():
    held = np.repeat([True, False], [90, 10])
    exact = stats.binomtest(90, 100).proportion_ci()
    assert share_interval(held, np.arange(100)) == pytest.approx(tuple(exact), abs=0.003)
    # Copies of a pair add nothing.
    copies = share_interval(held.repeat(5), np.arange(100).repeat(5))
    assert copies == pytest.approx(tuple(exact), abs=0.003)
    assert np.isnan(share_interval([True, False], ["a", "a"])).all()


def test_clustered_intervals_hold_the_true_share():
    rate = null_rates.share_interval_by_photo(1500)
    assert rate.holds, rate


@pytest.mark.slow
def test_the_whole_comparison_errs_in_one_null_study_of_twenty():
    rate = null_rates.all_arms(100)
    assert rate.holds, rate
