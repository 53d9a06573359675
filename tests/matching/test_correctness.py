"""Right and wrong by the true homography, and the curves over the ratio test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import precision_recall_curve

from homoreg.matching import (
    match_descriptors,
    match_errors,
    precision_recall,
    ratio_precision,
    repeatable_count,
)

SHIFT = np.array([[1.0, 0, 30], [0, 1, -20], [0, 0, 1]])


def test_errors_are_measured_in_view_2_from_the_true_place() -> None:
    twice = np.diag([2.0, 2.0, 1.0])
    errors = match_errors(
        np.array([[10.0, 20.0], [1.0, 1.0]]), np.array([[23.0, 44.0], [2, 2]]), twice
    )
    assert errors.tolist() == [5.0, 0.0]


def test_a_point_at_infinity_is_infinitely_wrong() -> None:
    vanishing = np.array([[1.0, 0, 0], [0, 1, 0], [-0.1, 0, 1]])
    errors = match_errors(np.array([[10.0, 5.0], [0.0, 0.0]]), np.zeros((2, 2)), vanishing)
    assert errors.tolist() == [np.inf, 0.0]
    assert repeatable_count(np.array([[10.0, 5.0], [0.0, 0.0]]), np.zeros((1, 2)), vanishing) == 1


def test_repeatable_counts_keypoints_of_view_1() -> None:
    keypoints1 = np.array([[0.0, 0], [1, 0], [100, 100], [200, 50]])
    keypoints2 = np.array([[30.0, -20], [130, 83], [230.0, 33.1]])
    # (0, 0) and (1, 0) share a keypoint, (100, 100) is 3 px away, (200, 50) 3.1 px.
    assert repeatable_count(keypoints1, keypoints2, SHIFT) == 3
    assert repeatable_count(keypoints1, keypoints2, SHIFT, threshold_px=0.5) == 1


def test_nothing_is_repeatable_without_keypoints() -> None:
    points, none = np.ones((3, 2)), np.empty((0, 2))
    assert repeatable_count(points, none, SHIFT) == 0
    assert repeatable_count(none, points, SHIFT) == 0
    assert match_errors(none, none, SHIFT).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_recall_never_exceeds_one(seed: int, mutual: bool) -> None:
    rng = np.random.default_rng(seed)
    keypoints1, keypoints2 = rng.uniform(0, 20, (40, 2)), rng.uniform(0, 20, (30, 2))
    matches = match_descriptors(
        rng.normal(size=(40, 2)), rng.normal(size=(30, 2)), ratio=None, mutual=mutual
    )
    i, j = matches.indices.T
    correct = match_errors(keypoints1[i], keypoints2[j], np.eye(3)) <= 3
    assert correct.sum() <= repeatable_count(keypoints1, keypoints2, np.eye(3), 3)


ratio_arrays = hnp.arrays(
    np.float64, st.integers(1, 30), elements=st.integers(0, 8).map(lambda n: n / 8)
)


@settings(max_examples=60, deadline=None)
@given(ratio_arrays, st.integers(0, 2**30 - 1))
def test_precision_recall_agrees_with_scikit_learn(ratios: np.ndarray, bits: int) -> None:
    correct = np.array([bool(bits >> k & 1) for k in range(len(ratios))])
    correct[0] = True
    # scikit-learn thresholds a score from below, ends at (1, 0), and counts all that is right.
    expected = precision_recall_curve(correct, -ratios)
    precision, recall, thresholds = precision_recall(ratios, correct, int(correct.sum()))
    np.testing.assert_allclose(precision, expected[0][-2::-1])
    np.testing.assert_allclose(recall, expected[1][-2::-1])
    np.testing.assert_allclose(thresholds, -expected[2][::-1])


def test_ratio_precision_is_that_of_the_matcher_at_each_threshold() -> None:
    rng = np.random.default_rng(0)
    view1 = rng.normal(size=(200, 8))
    view2 = view1 + rng.normal(0, 0.4, view1.shape)
    everything = match_descriptors(view1, view2, ratio=None)
    correct = everything.indices[:, 0] == everything.indices[:, 1]
    thresholds = np.array([0.9, 0.5, 0.7])
    precision, kept = ratio_precision(everything.ratios, correct, thresholds)
    for threshold, one_precision, one_kept in zip(thresholds, precision, kept, strict=True):
        matches = match_descriptors(view1, view2, ratio=float(threshold))
        assert len(matches) == one_kept
        assert np.mean(matches.indices[:, 0] == matches.indices[:, 1]) == pytest.approx(
            one_precision
        )


def test_curves_of_no_matches_are_empty_and_say_so() -> None:
    none, no_answers = np.empty(0), np.empty(0, bool)
    precision, kept = ratio_precision(none, no_answers, np.array([0.8]))
    assert np.isnan(precision).all()
    assert kept.tolist() == [0]
    assert all(len(part) == 0 for part in precision_recall(none, no_answers, 5))
    assert np.isnan(precision_recall(np.array([0.5]), np.array([False]), 0)[1]).all()
