"""AUC of the corner error and other aggregates over pairs against known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homoreg.aggregates import (
    corner_error_auc,
    mean_matching_accuracy,
    quartiles,
    resampled_auc,
    resampled_mean,
    resampled_median,
)


def test_known_answers():
    assert corner_error_auc([0, 0, 0], [1, 10]) == [100.0, 100.0]
    assert corner_error_auc([np.inf, 11.0], [10]) == [0.0]
    # One pair at 4 px: a ramp to (4, 1), then flat to 5: (2 + 1) / 5.
    assert corner_error_auc([4.0], [5]) == pytest.approx([60.0])


def test_a_failure_costs_what_an_infinite_error_costs():
    with_failure = corner_error_auc([1.0, 2.0, np.inf], [5])
    assert corner_error_auc([np.nan, 2.0, 1.0], [5]) == with_failure
    assert with_failure[0] < corner_error_auc([1.0, 2.0], [5])[0]


def test_no_errors_no_number():
    assert np.isnan(corner_error_auc([], [1, 3])).all()


@pytest.mark.parametrize(("errors", "thresholds"), [([-1.0], [5]), ([1.0], [0])])
def test_impossible_values_are_refused(errors: list, thresholds: list):
    with pytest.raises(ValueError, match=r"negative|positive"):
        corner_error_auc(errors, thresholds)


def test_matching_accuracy_counts_a_pair_without_matches_as_nothing_right():
    pairs = [[0.2, 1.0, 3.5, np.inf], [], [2.0]]
    assert mean_matching_accuracy(pairs, [1, 2, 10]) == pytest.approx(
        [(2 / 4 + 0 + 0) / 3, (2 / 4 + 0 + 1) / 3, (3 / 4 + 0 + 1) / 3]
    )
    assert mean_matching_accuracy([[], []], [1]) == [0.0]
    assert np.isnan(mean_matching_accuracy([], [1, 2])).all()


@given(st.lists(st.lists(st.floats(0, 20)), min_size=1))
def test_matching_accuracy_rises_with_the_threshold_and_every_pair_weighs_the_same(pairs: list):
    accuracy = mean_matching_accuracy(pairs, range(1, 11))
    assert accuracy[0] >= 0
    assert accuracy[-1] <= 1
    assert (np.diff(accuracy) >= -1e-12).all()
    # Each match given twice changes nothing.
    assert mean_matching_accuracy([p * 2 for p in pairs], range(1, 11)) == pytest.approx(accuracy)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.5, 4.0, 7.0, np.inf]), st.integers(0, 3)), min_size=1
    )
)
def test_counts_stand_for_repeated_pairs(pairs: list):
    values, counts = (np.array(column) for column in zip(*pairs, strict=True))
    repeated = np.repeat(values, counts)
    weights = np.stack([counts, np.ones_like(counts)])
    auc, median, mean = (
        resampled_auc(values, weights, 5),
        resampled_median(values, weights),
        resampled_mean(np.minimum(values, 9), weights),
    )
    if repeated.size:
        assert auc[0] == pytest.approx(corner_error_auc(repeated, [5])[0])
        assert median[0] == quartiles(repeated)[1]
        assert mean[0] == pytest.approx(np.minimum(repeated, 9).mean())
    else:
        assert np.isnan([auc[0], median[0], mean[0]]).all()
    assert auc[1] == pytest.approx(corner_error_auc(values, [5])[0])
    assert median[1] == quartiles(values)[1]
