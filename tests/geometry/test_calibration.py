"""Conformal factors and coverage intervals on simulated errors of known distribution."""

import numpy as np
import pytest
from benchmarks import null_rates
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from homoreg.geometry import conformal_factor, measure_coverage


@given(st.integers(1, 200), st.floats(0.5, 0.99), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_factor_is_the_conformal_quantile_of_the_ratios(count, coverage, seed):
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0.1, 9, count)
    true = predicted * rng.lognormal(size=count)
    factor = conformal_factor(true, predicted, coverage)
    needed = int(np.ceil(round((count + 1) * coverage, 9)))
    assert np.isinf(factor) == (needed > count)
    if needed <= count:
        assert ((true / predicted) <= factor * (1 + 1e-12)).sum() == needed
        # Doubling every prediction halves the factor.
        assert conformal_factor(true, 2 * predicted, coverage) == pytest.approx(factor / 2)


@pytest.mark.parametrize("count", [9, 30, 100])
def test_coverage_of_the_next_pair_is_as_promised(rng, count):
    """Exactly k/(n + 1) on average over calibration sets, whatever the distribution."""
    rate = null_rates.next_pair(count, 20_000)
    rank = int(np.ceil((count + 1) * 0.9))
    assert rate.measured == pytest.approx(rank / (count + 1), abs=0.008)
    # Given one calibration set, coverage scatters by the beta distribution of Vovk (2012).
    uniform = rng.uniform(size=(2000, count))
    given_set = [conformal_factor(row, np.ones(count)) for row in uniform]
    assert np.std(given_set) == pytest.approx(beta.std(rank, count + 1 - rank), rel=0.1)


def test_failures_and_exact_predictions():
    true, predicted = np.arange(1.0, 21), np.ones(20)
    assert conformal_factor(true, predicted) == 19
    # Without a prediction there is no bound to hold, whatever the error.
    unknown = np.append(predicted, [np.nan, np.nan])
    assert conformal_factor(np.append(true, [np.inf, np.nan]), unknown) == 19
    # Infinite errors count as misses; infinite bounds and errors of 0 never miss.
    assert (
        conformal_factor(np.append(true, [np.inf] * 3), np.append(predicted, [1, 0, 2])) == np.inf
    )
    assert conformal_factor([np.inf] * 9, [np.inf] * 9) == 0
    assert conformal_factor([0.0] * 9, [0.0] * 9) == 0
    assert conformal_factor([], []) == np.inf


@pytest.mark.parametrize(
    ("true", "predicted", "coverage"),
    [([1], [1, 2], 0.9), ([1], [1], 1), ([np.nan], [1], 0.9), ([-1], [1], 0.9), ([1], [-1], 0.9)],
)
def test_impossible_errors_are_rejected(true, predicted, coverage):
    with pytest.raises(ValueError, match="errors must|coverage must"):
        conformal_factor(true, predicted, coverage)


def test_an_interval_of_independent_pairs_is_clopper_and_pearsons(rng):
    true = np.repeat([0.5, 2.0], [90, 10])
    measured = measure_coverage(true, np.ones(100), 1, [str(i) for i in range(100)])
    assert (measured.share, measured.pairs) == (0.9, 100)
    assert measured.low == pytest.approx(beta.ppf(0.025, 90, 11), abs=0.003)
    assert measured.high == pytest.approx(beta.ppf(0.975, 91, 10), abs=0.003)
    # Copies of a pair add nothing.
    repeated = measure_coverage(true.repeat(5), np.ones(500), 1, np.arange(100).repeat(5))
    assert repeated.low == pytest.approx(measured.low, abs=0.003)
    assert repeated.high == pytest.approx(measured.high, abs=0.003)


def test_clustered_intervals_hold_the_true_coverage():
    rate = null_rates.coverage_interval(1500)
    assert rate.holds, rate


def test_an_interval_needs_two_photos_and_says_so_with_nan():
    measured = measure_coverage([1, 3], [1, 1], 2, ["a", "a"])
    assert (measured.share, measured.pairs) == (0.5, 2)
    assert np.isnan([measured.low, measured.high]).all()
    assert np.isnan(measure_coverage([np.inf], [np.nan], 2, ["a"]).share)
    always = measure_coverage(np.zeros(40), np.ones(40), 1, np.arange(40) // 4)
    assert (always.share, always.high) == (1, 1)
    assert always.low == pytest.approx(0.025 ** (1 / 10))
