"""Right and wrong by the true homography."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from homoreg.matching import match_descriptors, match_errors, repeatable_count

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
