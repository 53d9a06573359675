"""Conformal factors and coverage intervals on simulated errors of known distribution."""

import numpy as np
import pytest
from benchmarks import null_rates
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from homoreg.geometry import conformal_factor


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
