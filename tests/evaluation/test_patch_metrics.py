import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data as photographs
from sklearn.metrics import average_precision_score, roc_curve
from tests.baselines import Constant, Orb, RawPatches, RootSift, Silent

from homoreg.evaluation.pair import ViewPair
from homoreg.evaluation.patch_metrics import (
    corresponding_points,
    draw_allowed,
    draw_other_photo,
    nearest_is_right,
    patch_metrics,
    row_distances,
    unit_length,
)
from homoreg.geometry import transform_points

TRUTH = np.array([[0.95, -0.12, 20.0], [0.1, 1.02, -9.0], [2e-5, -3e-5, 1.0]])
SIZE = (320, 240)


def view_pair(
    name: str, photo: np.ndarray, homography: np.ndarray = TRUTH, shown: str = ""
) -> ViewPair:
    image = cv2.resize(photo, SIZE, interpolation=cv2.INTER_AREA)
    view2 = cv2.warpPerspective(image, homography, SIZE, borderMode=cv2.BORDER_REFLECT)
    return ViewPair(name, image, view2, homography, photo=shown or name)


ASTRONAUT = view_pair("1", photographs.astronaut())
COFFEE = view_pair("2", photographs.coffee())
CAT = view_pair("3", photographs.chelsea())
PHOTOS = [ASTRONAUT, COFFEE, CAT]


class Oracle:
    """Describes a place by where it lies in view 1 and by its photo."""

    name = "oracle"
    metric = "l2"

    def __init__(self, pairs: list[ViewPair] = PHOTOS, noise_px: float = 0.0) -> None:
        self.pairs = pairs
        self.noise_px = noise_px

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        for number, pair in enumerate(self.pairs):
            if image is pair.image1 or image is pair.image2:
                back = np.eye(3) if image is pair.image1 else np.linalg.inv(pair.homography)
                noise = np.random.default_rng(number).normal(0, self.noise_px, keypoints.shape)
                places = transform_points(keypoints, back) + noise
                return np.column_stack([places, np.full(len(places), 1000.0 * number + 1)])
        raise AssertionError("an image of no pair")


class Noise:
    """Says something else every time."""

    name = "noise"
    metric = "l2"

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        return self.rng.normal(size=(len(keypoints), 32)).astype(np.float32)


class HalfBlind(Oracle):
    """Describes nothing in the left half of an image."""

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        described = super().describe(image, keypoints)
        described[keypoints[:, 0] < SIZE[0] / 2] = np.nan
        return described


def test_a_perfect_descriptor_is_perfect() -> None:
    found = patch_metrics(Oracle(), PHOTOS)
    assert (found.pairs, found.photos, found.dimension, found.left_out) == (3, 3, 3, 0)
    assert 100 < found.points <= 300
    assert found.fpr95_same_photo == found.fpr95_other_photo == 0
    assert found.average_precision_same_photo == found.average_precision_other_photo == 1
    assert found.nearest_neighbor_accuracy == 1
    assert found.alignment == pytest.approx(0, abs=1e-12)


def test_a_collapsed_descriptor_has_chance_and_no_luck() -> None:
    found = patch_metrics(Constant(), PHOTOS)
    assert found.fpr95_same_photo == found.fpr95_other_photo == 1
    assert found.average_precision_same_photo == pytest.approx(0.5, abs=0.01)
    assert found.nearest_neighbor_accuracy == 0  # a tie is no answer
    assert found.uniformity == pytest.approx(0, abs=1e-6)
    assert found.alignment == 0


def test_a_random_descriptor_is_at_chance_and_fills_the_sphere() -> None:
    found = patch_metrics(Noise(), PHOTOS)
    assert found.fpr95_same_photo == pytest.approx(0.95, abs=0.05)
    assert found.average_precision_other_photo == pytest.approx(0.5, abs=0.07)
    assert found.nearest_neighbor_accuracy < 0.05
    assert found.alignment == pytest.approx(2, abs=0.1)
    # The optimum in 32 dimensions, from the integral over the sphere.
    assert found.uniformity == pytest.approx(-3.75, abs=0.05)
    assert found.effective_rank == pytest.approx(32, abs=1)


@pytest.mark.parametrize("descriptor", [RootSift(support=32), Orb(), RawPatches(32, 16)])
def test_real_descriptors_lie_between_chance_and_perfection(descriptor) -> None:
    turn = np.vstack([cv2.getRotationMatrix2D((160, 120), 15, 0.9), [0, 0, 1]])
    photos = [photographs.astronaut(), photographs.coffee()]
    found = patch_metrics(descriptor, [view_pair(str(i), p, turn) for i, p in enumerate(photos)])
    assert found.points + found.left_out > 150
    assert found.fpr95_same_photo < 0.6
    assert 0.85 < found.average_precision_same_photo < 1
    assert 0.4 < found.nearest_neighbor_accuracy < 1
    assert 0.05 < found.alignment < 1.2
    assert -4 < found.uniformity < -1
    assert 20 < found.effective_rank < found.dimension


def test_fpr_and_precision_agree_with_scikit_learn() -> None:
    """The same questions asked by hand, of a descriptor that errs."""
    descriptor = Oracle([ASTRONAUT, COFFEE], noise_px=30)
    found = patch_metrics(descriptor, [ASTRONAUT, COFFEE], points_per_pair=150, radius_px=40)
    distances = {"positive": [], "negative": []}
    for pair in (ASTRONAUT, COFFEE):
        points1 = grid_of_shown(pair)
        first = descriptor.describe(pair.image1, points1)
        second = descriptor.describe(pair.image2, transform_points(points1, pair.homography))
        far = np.linalg.norm(points1[:, None] - points1, axis=2) >= 40
        all_distances = np.linalg.norm(first[:, None] - second, axis=2)
        distances["positive"].append(np.diag(all_distances))
        distances["negative"].append(all_distances[far])
    positive, negative = (np.concatenate(distances[kind]) for kind in ("positive", "negative"))
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    scores = -np.concatenate([positive, negative])
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert found.fpr95_same_photo == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=0.06)
    # One negative for each positive, as the metric is defined.
    weights = np.where(labels == 1, 1, len(positive) / len(negative))
    expected = average_precision_score(labels, scores, sample_weight=weights)
    assert found.average_precision_same_photo == pytest.approx(expected, abs=0.03)


def grid_of_shown(pair: ViewPair) -> np.ndarray:
    x, y = np.meshgrid(np.arange(0, SIZE[0], 12.0), np.arange(0, SIZE[1], 12.0))
    points = np.column_stack([x.ravel(), y.ravel()])
    places = transform_points(points, pair.homography)
    return points[((places >= 0) & (places <= np.array(SIZE) - 1)).all(1)]


def test_the_distance_is_the_one_that_matching_uses() -> None:
    class Loud(Oracle):
        """Lengths carry everything; directions nothing."""

        def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
            places = super().describe(image, keypoints)
            return places[:, :1] + 400 * places[:, 1:2]

    found = patch_metrics(Loud(), PHOTOS)
    assert found.nearest_neighbor_accuracy == 1
    assert found.uniformity == pytest.approx(0, abs=1e-6)


def test_what_cannot_be_described_is_left_out_and_counted() -> None:
    whole, half = patch_metrics(Oracle(), PHOTOS), patch_metrics(HalfBlind(), PHOTOS)
    assert half.points + half.left_out == whole.points
    assert half.left_out > 50
    assert half.nearest_neighbor_accuracy == 1
    silent = patch_metrics(Silent(), PHOTOS)
    assert (silent.points, silent.left_out) == (0, whole.points)
    numbers = [v for v in vars(silent).values() if isinstance(v, float)]
    assert len(numbers) == 8
    assert np.isnan(numbers).all()


def test_pairs_of_one_photo_are_no_other_photo() -> None:
    turned = view_pair("4", photographs.astronaut(), np.linalg.inv(TRUTH), shown="1")
    found = patch_metrics(RootSift(support=32), [ASTRONAUT, turned])
    assert (found.pairs, found.photos) == (2, 1)
    assert np.isnan([found.fpr95_other_photo, found.average_precision_other_photo]).all()
    assert found.fpr95_same_photo < 0.6


@pytest.mark.parametrize("size", [1, 2, 60])
def test_views_without_keypoints_change_nothing(size: int) -> None:
    flat = np.full((size, size, 3), 90, np.uint8)
    empty = ViewPair("9", flat, flat, np.eye(3))
    alone = patch_metrics(RawPatches(32, 8), [empty])
    assert (alone.pairs, alone.points, alone.dimension) == (1, 0, 0)
    assert np.isnan(alone.fpr95_same_photo)
    beside = patch_metrics(RawPatches(32, 8), [ASTRONAUT, empty, COFFEE])
    without = patch_metrics(RawPatches(32, 8), [ASTRONAUT, COFFEE])
    assert beside.fpr95_same_photo == without.fpr95_same_photo
    assert (beside.pairs, beside.photos) == (3, 3)


def test_the_same_question_gives_the_same_answer() -> None:
    def ask(seed: int) -> object:
        return patch_metrics(Orb(), PHOTOS, points_per_pair=40, seed=seed)

    assert ask(0) == ask(0) != ask(1)


def test_corresponding_points_are_shown_by_both_views() -> None:
    keypoints = np.random.default_rng(0).uniform([0, 0], SIZE, (500, 2))
    rng = np.random.default_rng(1)
    points1, points2 = corresponding_points(ASTRONAUT, keypoints, 50, rng)
    assert points1.shape == points2.shape == (50, 2)
    assert len(np.unique(points1, axis=0)) == 50
    assert points2 == pytest.approx(transform_points(points1, TRUTH))
    assert ((points2 >= 0) & (points2 <= [319, 239])).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_points_beyond_infinity_are_not_shown(sign: int) -> None:
    # The line x = 300 goes to infinity; what lies beyond comes back on the other side.
    folding = sign * np.array([[1.0, 0, 160], [0, 1, 120], [-1 / 300, 0, 1]])
    into_view = np.array([[1.0, 0, 600], [0, 1, 200], [0, 0, 1]])
    view2 = np.zeros((600, 1100, 3), np.uint8)
    pair = ViewPair("f", ASTRONAUT.image1, view2, into_view @ folding)
    keypoints = np.array([[900.0, 100.0], [100.0, 100.0]])
    places = transform_points(keypoints, pair.homography)
    assert ((places >= 0) & (places < [1100, 600])).all()  # the trap
    points1, _ = corresponding_points(pair, keypoints, 10, np.random.default_rng(0))
    assert points1.tolist() == [[100, 100]]


@given(st.integers(0, 12), st.integers(0, 2**32))
def test_negatives_are_drawn_among_what_is_allowed(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    allowed = rng.random((count, count)) < 0.3
    drawn = draw_allowed(allowed, rng)
    for row, column in enumerate(drawn):
        assert allowed[row, column] if column >= 0 else not allowed[row].any()
    photos = rng.choice(["a", "b", "c"], count)
    for row, other in enumerate(draw_other_photo(photos, rng)):
        assert photos[other] != photos[row] if other >= 0 else len(set(photos)) == 1


def test_draws_are_uniform() -> None:
    rng = np.random.default_rng(0)
    drawn = draw_allowed(np.tile([True, False, True, True], (6000, 1)), rng)
    assert np.bincount(drawn, minlength=4) / 6000 == pytest.approx(
        [1 / 3, 0, 1 / 3, 1 / 3], abs=0.03
    )


def test_nearest_counts_candidates_only() -> None:
    distances = np.array([[2.0, 1.0, 5.0], [np.nan, 1.0, 1.5], [3.0, 4.0, np.nan]])
    candidates = np.array([[False, False, True], [True, False, True], [True, True, False]])
    assert nearest_is_right(distances, candidates).tolist()[:2] == [1, 1]
    assert np.isnan(nearest_is_right(distances, candidates)[2])
    candidates[0] = [False, True, True]
    assert nearest_is_right(distances, candidates)[0] == 0
    assert np.isnan(nearest_is_right(distances, np.zeros_like(candidates))).all()


def test_bits_on_the_sphere() -> None:
    bits = np.random.default_rng(0).integers(0, 2, (2, 20, 486)).astype(float)
    units = unit_length(bits, "hamming")
    assert np.linalg.norm(units, axis=2) == pytest.approx(1)
    differing = row_distances(*bits, "hamming")
    assert (units[0] * units[1]).sum(1) == pytest.approx(1 - 2 * differing / 486)
