"""Matching accuracy, scores and curves against counting by hand and scikit-learn."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve
from tests.baselines import Pairs

from homoreg.evaluation import EvaluationProtocol, evaluate_benchmark
from homoreg.evaluation.curves import (
    RATIOS,
    MatchingQuality,
    curves_figure,
    matching_score,
    repeatability,
)
from homoreg.evaluation.pair import PairMatches, ViewPair, observe, without_ratio_test
from homoreg.geometry import Estimator
from homoreg.matching import (
    RatioMatcher,
    average_precision,
    match_descriptors,
    precision_at_recall,
    precision_recall,
    ratio_precision,
)

GRAY = np.full((100, 120, 3), 128, np.uint8)
SHIFT = np.array([[1.0, 0, 30.0], [0, 1, 0], [0, 0, 1]])
# Seen from view 1: at home, at home, and outside view 2 once moved by 30.
KEYPOINTS1 = np.array([[10.0, 10.0], [50.0, 60.0], [110.0, 50.0], [20.0, 80.0]])
# Where the first belongs; 4 px beside the second's place; outside view 1 (x - 30 < 0); far off.
KEYPOINTS2 = np.array([[40.0, 10.0], [84.0, 60.0], [5.0, 5.0], [90.0, 90.0]])


def shifted_pair(pair_id: str = "1", group: str = "") -> ViewPair:
    image2 = GRAY.copy()
    image2[0, 0] = 0  # so that a detector can tell the views apart
    return ViewPair(pair_id, GRAY, image2, SHIFT, group=group)


def detector(image: np.ndarray) -> np.ndarray:
    return KEYPOINTS2 if image[0, 0, 0] == 0 else KEYPOINTS1


class Scripted:
    """One number a keypoint, so that neighbors and ratios can be worked out on paper."""

    metric = "l2"

    def __init__(self, view1: list[float], view2: list[float], name: str = "scripted") -> None:
        self.values = {128: view1, 0: view2}
        self.name = name

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        return np.array(self.values[int(image[0, 0, 0])], np.float32)[:, None]


def evaluated(descriptors: Any, pairs: Pairs) -> list[dict[str, Any]]:
    quality = MatchingQuality()
    protocol = EvaluationProtocol(detector, RatioMatcher(0.8), {"dlt": Estimator()})
    evaluate_benchmark(descriptors, pairs, protocol, [quality])
    return quality.entries()


def test_repeatability_and_matching_score_by_hand() -> None:
    pair = shifted_pair()
    observation = observe(pair, detector)
    # Places of view 1's keypoints in view 2: (40,10), (80,60), (140,50) outside, (50,80).
    # Keypoints of view 2 seen in view 1: (10,10), (54,60), (-25,5) outside, (60,90).
    # One of three and one of three have each other within 3 px.
    assert repeatability(pair, observation) == pytest.approx(2 / 6)
    right = PairMatches(
        KEYPOINTS1[[0, 1]], KEYPOINTS2[[0, 1]], np.zeros(2), np.array([0.0, 4.0]), 0, 0
    )
    assert matching_score(pair, observation, right) == pytest.approx(1 / 3)


def test_scores_of_a_pair_that_shares_nothing_are_undefined_and_left_out() -> None:
    far = ViewPair("1", GRAY, GRAY, np.array([[1.0, 0, 1000], [0, 1, 0], [0, 0, 1]]))
    observation = observe(far, detector)
    nothing = PairMatches(np.empty((0, 2)), np.empty((0, 2)), np.empty(0), np.empty(0), 0, 0)
    assert np.isnan(repeatability(far, observation))
    assert np.isnan(matching_score(far, observation, nothing))
    far = ViewPair("far", GRAY, shifted_pair().image2, far.homography)
    first = Scripted([0, 10, 20, 30], [0, 10, 20, 30])
    (both,) = evaluated(first, Pairs([shifted_pair(), far]))
    (alone,) = evaluated(first, Pairs([shifted_pair()]))
    assert both["pairs"] == 2
    for score in ("repeatability", "matching_score"):
        assert both[score] == alone[score]
    assert both["mma"]["10px"] == alone["mma"]["10px"] / 2


def test_the_curve_counts_every_nearest_neighbor() -> None:
    # Nearest neighbors (index, ratio): 0 → 0, 1/9; 1 → 1, 4/6; 2 → 2, 2/12; 3 → 3, 0/14.
    descriptor = Scripted([1.0, 14.0, 26.0, 38.0], [0.0, 10.0, 24.0, 38.0])
    view1, view2 = (np.array(v, np.float32)[:, None] for v in descriptor.values.values())
    ratios = match_descriptors(view1, view2, ratio=None).ratios
    assert ratios == pytest.approx([1 / 9, 4 / 10, 2 / 12, 0.0], abs=1e-6)
    (entry,) = evaluated(descriptor, Pairs([shifted_pair()]))
    curve = entry["curve"]
    assert entry["nearest_neighbors"] == curve["matches"][-1] == 4
    at = {round(r, 2): k for k, r in enumerate(curve["ratio"])}
    # Only 0 → 0 is right, and one keypoint of view 1 is repeatable.
    assert [curve["matches"][at[r]] for r in (0.05, 0.11, 0.12, 0.17, 0.41)] == [1, 1, 2, 3, 4]
    assert curve["precision"][at[0.05]] == 0
    assert curve["precision"][at[0.12]] == 1 / 2
    assert curve["precision"][-1] == 1 / 4
    assert (curve["recall"][at[0.11]], curve["recall"][at[0.12]], curve["recall"][-1]) == (0, 1, 1)
    assert entry["average_precision"] == pytest.approx(1 / 2)
    assert entry["mma"] == {f"{t}px": 1 / 4 if t < 4 else 2 / 4 for t in range(1, 11)}


def test_a_curve_s_point_is_the_pooled_single_threshold() -> None:
    descriptor = Scripted([1.0, 14.0, 26.0, 38.0], [0.0, 16.0, 24.0, 90.0])
    protocol = EvaluationProtocol(detector, RatioMatcher(0.6), {"dlt": Estimator()})
    quality = MatchingQuality()
    table = evaluate_benchmark(
        descriptor, Pairs([shifted_pair("1"), shifted_pair("2")]), protocol, [quality]
    )
    (entry,) = quality.entries()
    at = int(np.argmin(np.abs(RATIOS - 0.6)))
    assert entry["curve"]["matches"][at] == table["match_count"].sum()
    pooled = table["correct_3px"].sum() / table["match_count"].sum()
    assert entry["curve"]["precision"][at] == pooled
    assert entry["curve"]["recall"][at] == table["correct_3px"].sum() / table["repeatable"].sum()


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1), st.integers(0, 9))
def test_average_precision_is_scikit_learn_s(pairs: list[tuple[int, bool]], missed: int) -> None:
    ratios = np.array([ratio / 12 for ratio, _ in pairs])
    correct = np.array([right for _, right in pairs])
    repeatable = int(correct.sum()) + missed
    found = average_precision(ratios, correct, repeatable)
    if repeatable == 0:
        assert np.isnan(found)
    elif correct.any():
        # Theirs takes what was found for all there is to find.
        reference = average_precision_score(correct, -ratios) * correct.sum() / repeatable
        assert found == pytest.approx(reference)
    else:
        assert found == 0


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1))
def test_precision_recall_agrees_with_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    ratios, correct = np.array([(ratio / 8, right) for ratio, right in pairs]).T
    correct[0] = True
    # scikit-learn thresholds a score from below, ends at (1, 0), and counts all that is right.
    expected = precision_recall_curve(correct, -ratios)
    precision, recall = precision_recall(ratios, correct, int(correct.sum()))
    np.testing.assert_allclose(precision, expected[0][-2::-1])
    np.testing.assert_allclose(recall, expected[1][-2::-1])


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


def test_the_matcher_keeps_its_other_options_without_the_ratio_test() -> None:
    mutual = without_ratio_test(RatioMatcher(0.7, mutual=True))
    assert mutual == RatioMatcher(None, mutual=True)
    assert without_ratio_test(match_descriptors) == RatioMatcher(None)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1),
    st.integers(1, 9),
    st.sampled_from([0.1, 0.5, 1.0]),
)
def test_precision_at_a_recall_by_trying_every_threshold(
    pairs: list[tuple[int, bool]], missed: int, recall: float
) -> None:
    repeatable = sum(right for _, right in pairs) + missed
    expected = 0.0
    for threshold in range(13):
        kept = [right for ratio, right in pairs if ratio <= threshold]
        if sum(kept) / repeatable >= recall:
            expected = sum(kept) / len(kept)
            break
    ratios, correct = np.array([(ratio / 12, right) for ratio, right in pairs]).T
    assert precision_at_recall(ratios, correct > 0, repeatable, recall) == pytest.approx(expected)
    assert np.isnan(precision_at_recall(ratios, correct > 0, 0, recall))


def test_the_table_compares_at_equal_recall_whatever_ratio_the_matcher_keeps() -> None:
    # Of the nearest neighbors, 0 → 0 (1/9) alone is right, and 3 → 3 (0/14) comes before it.
    descriptor = Scripted([1.0, 14.0, 26.0, 38.0], [0.0, 10.0, 24.0, 38.0])
    for ratio, kept in ((0.8, 4), (0.05, 1)):
        protocol = EvaluationProtocol(detector, RatioMatcher(ratio), {"dlt": Estimator()})
        [row] = evaluate_benchmark(descriptor, Pairs([shifted_pair()]), protocol).to_dict("records")
        assert (row["match_count"], row["precision_at_recall_10"]) == (kept, 1 / 2)


def test_groups_have_entries_of_their_own() -> None:
    (entry,) = evaluated(
        Scripted([0, 10, 20, 30], [0, 10, 20, 30]),
        Pairs([shifted_pair(name, name[0]) for name in ("i_a", "v_b", "v_c")]),
    )
    assert {name: part["pairs"] for name, part in entry["groups"].items()} == {"i": 1, "v": 2}
    assert entry["groups"]["i"]["mma"] == entry["mma"]


def test_the_figure_has_a_line_for_each_and_says_what_and_how_many() -> None:
    pairs = Pairs([shifted_pair("1"), shifted_pair("2")])
    good = Scripted([0, 11, 22, 33], [0, 10, 20, 30], "good")
    # One value for all: every ratio is 1, and nothing is left under any threshold.
    flat = Scripted([0, 0, 0, 0], [5, 5, 5, 5], "flat")
    entries = evaluated([flat, good], pairs)
    figure = curves_figure(entries, "benchmark made", ratio=0.8)
    by_ratio, by_recall = figure.axes
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [name.split()[0] for name in names] == ["good", "flat"]
    assert len(by_ratio.lines) == len(by_recall.lines) == 2
    assert len({(line.get_color(), line.get_marker()) for line in by_ratio.lines}) == 2
    title = figure.get_suptitle()
    assert "2 pairs" in title
    assert "ratio 0.8" in title
    assert "ratio test" in by_ratio.get_xlabel()
    assert "3 px" in by_ratio.get_ylabel()
    best = by_ratio.lines[0]
    assert np.asarray(best.get_xdata())[-1] == 1.0
    assert np.asarray(best.get_ydata())[-1] == entries[1]["curve"]["precision"][-1]
    figure.canvas.draw()
