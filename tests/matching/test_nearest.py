"""Matching against SciPy's k-d tree, OpenCV's brute force and a table of all distances."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from homoreg.errors import HomoregError
from homoreg.matching import match_descriptors, nearest


def unit_rows(rng: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    rows = rng.normal(size=(count, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def study_matches(view1: np.ndarray, view2: np.ndarray, ratio: float) -> list[tuple[int, int]]:
    """The study's own matching, by k-d tree."""
    distances, indices = cKDTree(view2).query(view1, k=2)
    passed = distances[:, 0] < ratio * distances[:, 1]
    return [(int(i), int(indices[i, 0])) for i in np.flatnonzero(passed)]


@pytest.mark.parametrize(("dimension", "ratio"), [(2, 0.8), (32, 0.8), (128, 0.95)])
def test_agrees_with_the_study_k_d_tree(dimension: int, ratio: float) -> None:
    rng = np.random.default_rng(dimension)
    view2 = unit_rows(rng, 300, dimension)
    view1 = view2[rng.permutation(300)[:250]] + rng.normal(0, 0.3 / dimension, (250, dimension))
    expected = study_matches(view1, view2, ratio)
    assert len(expected) > 20
    matches = match_descriptors(view1, view2, ratio=ratio)
    assert [tuple(pair) for pair in matches.indices] == expected


def test_distances_and_ratios_are_those_of_the_two_nearest() -> None:
    rng = np.random.default_rng(1)
    view1, view2 = unit_rows(rng, 80, 16), unit_rows(rng, 90, 16)
    table = np.sort(cdist(view1, view2), axis=1)
    matches = match_descriptors(view1, view2, ratio=None)
    np.testing.assert_array_equal(matches.indices[:, 0], np.arange(80))
    np.testing.assert_allclose(matches.distances, table[:, 0], rtol=1e-12)
    np.testing.assert_allclose(matches.ratios, table[:, 0] / table[:, 1], rtol=1e-12)


def test_agrees_with_opencv_cross_check() -> None:
    rng = np.random.default_rng(2)
    view1, view2 = unit_rows(rng, 200, 32), unit_rows(rng, 150, 32)
    expected = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True).match(view1, view2)
    matches = match_descriptors(view1, view2, ratio=None, mutual=True)
    assert {tuple(p) for p in matches.indices} == {(m.queryIdx, m.trainIdx) for m in expected}


def test_agrees_with_opencv_on_bits() -> None:
    rng = np.random.default_rng(3)
    bytes1 = rng.integers(0, 256, (200, 32), np.uint8)
    bytes2 = bytes1[::-1] ^ (rng.random((200, 32)) < 0.4)
    bits1, bits2 = (np.unpackbits(b, axis=1).astype(np.float32) for b in (bytes1, bytes2))
    pairs = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(bytes1, bytes2, k=2)
    expected = {(a.queryIdx, a.trainIdx) for a, b in pairs if a.distance < 0.8 * b.distance}
    matches = match_descriptors(bits1, bits2, ratio=0.8, metric="hamming")
    assert len(expected) > 100
    assert {tuple(p) for p in matches.indices} == expected
    np.testing.assert_array_equal(
        matches.distances, (bits1[matches.indices[:, 0]] != bits2[matches.indices[:, 1]]).sum(1)
    )


# Few distinct values make many exact ties, and rows that are not finite.
coarse_rows = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 12), st.just(3)),
    elements=st.sampled_from([0.0, 0.25, 1.0, 1e-6, 1e6, np.nan, np.inf]),
)


@settings(max_examples=150, deadline=None)
@given(coarse_rows, coarse_rows, st.sampled_from([None, 0.5, 0.8, 1.0]), st.booleans())
def test_any_input_matches_as_the_table_of_all_distances_says(
    view1: np.ndarray, view2: np.ndarray, ratio: float | None, mutual: bool
) -> None:
    table = np.full((len(view1), len(view2)), np.inf)
    for i, j in np.ndindex(table.shape):
        if np.isfinite(view1[i]).all() and np.isfinite(view2[j]).all():
            difference = view1[i].astype(np.float64) - view2[j]
            table[i, j] = np.sqrt((difference**2).sum())
    expected = []
    for i, row in enumerate(table):
        first, second = np.sort(np.append(row, [np.inf, np.inf]))[:2]
        if not np.isfinite(first):
            continue
        j = int(np.argmin(row))
        passes = ratio is None or first < ratio * second
        if passes and not (mutual and np.argmin(table[:, j]) != i):
            expected.append([i, j])
    matches = match_descriptors(view1, view2, ratio=ratio, mutual=mutual)
    assert matches.indices.tolist() == expected
    assert matches.indices.dtype == np.int64
    assert ((matches.ratios >= 0) & (matches.ratios <= 1)).all()


@pytest.mark.parametrize("metric", ["l2", "hamming"])
def test_blocks_of_any_size_give_the_same(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    view1, view2 = rng.integers(0, 2, (2, 60, 24)).astype(np.float32)
    whole = match_descriptors(view1, view2, ratio=None, mutual=True, metric=metric)
    monkeypatch.setattr(nearest, "_BLOCK_ELEMENTS", 100)
    blocks = match_descriptors(view1, view2, ratio=None, mutual=True, metric=metric)
    np.testing.assert_array_equal(whole.indices, blocks.indices)
    np.testing.assert_array_equal(whole.ratios, blocks.ratios)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1000.0])
def test_nearly_equal_descriptors_are_told_apart_exactly(offset: float) -> None:
    # A collapsed network: float32 products alone cannot rank distances this small.
    rng = np.random.default_rng(5)
    steps = rng.integers(-8, 9, (2, 150, 32)) * 2.0**-12
    view1, view2 = (offset + steps).astype(np.float32)
    matches = match_descriptors(view1, view2, ratio=None)
    table = cdist(view1.astype(np.float64), view2.astype(np.float64))
    np.testing.assert_array_equal(matches.indices[:, 1], table.argmin(1))


def test_a_single_candidate_passes_the_ratio_test() -> None:
    matches = match_descriptors(np.ones((3, 2)), np.zeros((1, 2)), ratio=0.8)
    assert matches.indices.tolist() == [[0, 0], [1, 0], [2, 0]]
    assert matches.ratios.tolist() == [0, 0, 0]
    mutual = match_descriptors(np.ones((3, 2)), np.zeros((1, 2)), ratio=0.8, mutual=True)
    assert mutual.indices.tolist() == [[0, 0]]


def test_equal_descriptors_fail_the_ratio_test_and_go_to_the_first_without_it() -> None:
    same = np.ones((5, 4), np.float32)
    assert len(match_descriptors(same, same)) == 0
    everything = match_descriptors(same, same, ratio=None)
    assert everything.indices[:, 1].tolist() == [0] * 5
    assert everything.ratios.tolist() == [1] * 5


def test_bits_that_were_not_unpacked_are_refused() -> None:
    with pytest.raises(HomoregError, match="unpackbits"):
        match_descriptors(np.full((2, 32), 200.0), np.zeros((2, 32)), metric="hamming")


def test_descriptors_of_different_lengths_are_refused() -> None:
    with pytest.raises(HomoregError, match="32 and 128 numbers"):
        match_descriptors(np.zeros((2, 32)), np.zeros((2, 128)))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(HomoregError, match="'cosine'"):
        match_descriptors(np.zeros((2, 32)), np.zeros((2, 32)), metric="cosine")


def test_ten_thousand_keypoints_against_ten_thousand() -> None:
    rng = np.random.default_rng(6)
    view1 = unit_rows(rng, 10_000, 128)
    order = rng.permutation(10_000)
    view2 = (view1 + rng.normal(0, 0.02, view1.shape))[order].astype(np.float32)
    matches = match_descriptors(view1, view2, mutual=True)
    assert len(matches) == 10_000
    np.testing.assert_array_equal(order[matches.indices[:, 1]], matches.indices[:, 0])
