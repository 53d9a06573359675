"""Figures of pairs: every failure, every odd size, and numbers that are the pair's own."""

import io
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from skimage import data as photographs
from tests.baselines import PROTOCOL, RootSift

from homoreg.evaluation import EvaluationProtocol, ViewPair, evaluate_pair
from homoreg.evaluation.calibration import Bound, Calibration
from homoreg.evaluation.drawing import ellipse_note
from homoreg.evaluation.figures import card_figure, pair_figure
from homoreg.evaluation.pair import match_pair, observe
from homoreg.evaluation.table import identity, label
from homoreg.geometry import Estimate, corners_of, transform_points
from homoreg.matching import RatioMatcher, ShiTomasi

PHOTO = cv2.resize(photographs.astronaut(), (160, 120), interpolation=cv2.INTER_AREA)
PHOTO.setflags(write=False)
TRUTH = np.array([[0.98, -0.06, 7.0], [0.05, 1.02, -4.0], [4e-5, -6e-5, 1.0]])
VIEW2 = cv2.warpPerspective(PHOTO, TRUTH, (160, 120), borderMode=cv2.BORDER_REFLECT)
PAIR = ViewPair("000001", PHOTO, VIEW2, TRUTH)
FLAT = np.full((120, 160, 3), 128, np.uint8)
EVERYTHING = RatioMatcher(ratio=None)


class Places:
    """Describes a keypoint by what a function makes of its coordinates."""

    name = "places"
    metric = "l2"

    def __init__(self, of_view1=lambda points: points, of_view2=lambda points: points) -> None:
        self.of_view1, self.of_view2 = of_view1, of_view2

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        of = self.of_view1 if image is PHOTO else self.of_view2
        return of(keypoints).astype(np.float32)


ORACLE = Places(of_view2=lambda points: transform_points(points, np.linalg.inv(TRUTH)))


class Fixed:
    """An estimator that always gives one homography, from all matches."""

    def __init__(self, homography: np.ndarray) -> None:
        self.homography = homography

    def __call__(self, points1: np.ndarray, points2: np.ndarray) -> Estimate:
        used = np.ones(len(points1), bool)
        return Estimate(self.homography, "ok", used)


def drawn(figure: Figure) -> np.ndarray:
    """The figure's pixels ``(H, W, 3)``; drawing them is half of each test."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return np.asarray(Image.open(buffer).convert("RGB"))


def texts(figure: Figure) -> str:
    titles = [axis.get_title() for axis in figure.axes]
    return "\n".join(titles + [text.get_text() for axis in figure.axes for text in axis.texts])


def panel(figure: Figure, title: str) -> Axes:
    return next(axis for axis in figure.axes if title in axis.get_title())


def with_estimator(estimator: object) -> EvaluationProtocol:
    return replace(PROTOCOL, estimators={"fixed": estimator})


def test_a_row_for_each_descriptor_with_the_numbers_of_the_table() -> None:
    descriptors = [RootSift(support=32), ORACLE]
    figure = pair_figure(PAIR, descriptors, PROTOCOL)
    assert drawn(figure).std() > 10
    assert len(figure.axes) == 2 * 4 + 1  # and the color bar
    text = texts(figure)
    for descriptor in descriptors:
        _, row = evaluate_pair(
            descriptor,
            PHOTO,
            VIEW2,
            TRUTH,
            matcher=PROTOCOL.matcher,
            estimators=PROTOCOL.estimators,
        )
        assert (
            f"{descriptor.name}: {row['match_count']} matches, {row['correct_3px']} within 3 px"
            in text
        )
        assert f"magsac: RMSE {row['rmse_gray']:.3g} gray levels" in text
        assert (
            f"corner error {row['corner_error_px']:.3g} px (RMS {row['corner_error_rms_px']:.3g}, "
            f"predicted {row['predicted_corner_error_px']:.3g})" in text
        )
        assert f"κ {row['kappa']:.3g}, fit gap {row['fit_gap']:.3g}" in text


def test_right_and_wrong_matches_differ_in_color_and_in_line() -> None:
    figure = pair_figure(PAIR, [RootSift(support=32)], replace(PROTOCOL, matcher=EVERYTHING))
    wrong, right = panel(figure, "rootsift").collections
    errors = [np.asarray(lines.get_array()) for lines in (wrong, right)]
    assert len(errors[0]) > 5
    assert len(errors[1]) > 5
    assert errors[0].min() > 3 >= errors[1].max()
    assert right.get_linestyle() != wrong.get_linestyle()
    # In order of the error the colors get lighter, so that they read in gray as well.
    levels = wrong.to_rgba(np.geomspace(0.3, 100, 20))[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(levels) > 0).all()


def test_of_many_matches_some_are_drawn_and_the_title_says_so() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(5, 110, (900, 2))
    protocol = replace(PROTOCOL, detector=lambda image: points, matcher=EVERYTHING)
    figure = pair_figure(PAIR, [Places()], protocol)
    matched = panel(figure, "900 matches")
    assert "(500 drawn)" in matched.get_title()
    assert sum(len(lines.get_segments()) for lines in matched.collections) == 500


@pytest.mark.parametrize(
    ("pair", "descriptor", "matcher", "said"),
    [
        (replace(PAIR, image1=FLAT), Places(), None, "no keypoints"),
        (PAIR, Places(lambda p: np.full((len(p), 2), np.nan)), None, "too few matches"),
        (PAIR, Places(lambda p: np.zeros((len(p), 2))), EVERYTHING, "degenerate"),
    ],
)
@pytest.mark.parametrize("estimator", ["dlt", "magsac"])
def test_each_failure_has_its_picture(pair, descriptor, matcher, said, estimator) -> None:
    chosen = {estimator: PROTOCOL.estimators[estimator]}
    protocol = EvaluationProtocol(ShiTomasi(), matcher or RatioMatcher(), chosen)
    figure = pair_figure(pair, [descriptor], protocol)
    drawn(figure)
    assert f"{estimator}: {said}" in texts(figure)
    assert "corner error ∞ px" in texts(figure)


def test_numbers_beyond_float64_are_a_failure_with_a_picture() -> None:
    def estimator(points1: np.ndarray, points2: np.ndarray) -> Estimate:
        return Estimate(None, "not_finite", np.zeros(len(points1), bool))

    figure = pair_figure(PAIR, [ORACLE], with_estimator(estimator))
    drawn(figure)
    assert "fixed: not finite" in texts(figure)


@pytest.mark.parametrize(
    ("homography", "said"),
    [
        (np.array([[1, 0, 0], [0, 1, 0], [-0.02, 0, 1.0]]), "the estimate folds view 1"),
        (np.array([[1, 0, 0], [0, 1, 0], [-1 / 159, 0, 1.0]]), "the estimate folds view 1"),
        (np.array([[1, 0, 1e6], [0, 1, 0], [0, 0, 1.0]]), "4 of 4 beyond the panel"),
        (np.array([[1e200, 0, 0], [0, 1e200, 0], [0, 0, 1.0]]), "beyond the panel"),
        (np.array([[1e-9, 0, 50], [0, 1e-9, 50], [0, 0, 1.0]]), "×1"),
    ],
)
def test_estimates_far_off_stay_in_their_panel(homography: np.ndarray, said: str) -> None:
    figure = pair_figure(PAIR, [ORACLE], with_estimator(Fixed(homography)))
    pixels = drawn(figure)
    assert said in texts(figure)
    assert max(pixels.shape) < 2000
    corners = panel(figure, "corner error")
    assert max(np.abs(corners.get_xlim() + corners.get_ylim())) < 3 * 160


def test_offsets_are_magnified_by_what_the_panel_says() -> None:
    moved = np.array([[1, 0, 0.5], [0, 1, 0], [0, 0, 1.0]]) @ TRUTH
    figure = pair_figure(PAIR, [RootSift(support=32)], with_estimator(Fixed(moved)))
    corners = panel(figure, "corner error 0.5 px")
    times = float(re.search(r"×(\d+)", texts(figure)).group(1))
    estimate = next(line for line in corners.lines if line.get_label() == "estimate").get_xydata()
    expected = transform_points(corners_of((160, 120)), TRUTH) + [times * 0.5, 0]
    np.testing.assert_allclose(estimate[:4], expected, atol=1e-6)


def test_an_ellipse_is_drawn_around_each_estimated_corner() -> None:
    figure = pair_figure(PAIR, [ORACLE], PROTOCOL)
    corners = panel(figure, "corner error")
    outlines = [line.get_xydata() for line in corners.lines if len(line.get_xdata()) == 65]
    estimate = next(line for line in corners.lines if line.get_label() == "estimate").get_xydata()
    assert len(outlines) == 4
    for outline, corner in zip(outlines, estimate[:4], strict=True):
        np.testing.assert_allclose((outline.min(0) + outline.max(0)) / 2, corner, atol=1e-2)


def test_ellipses_say_which_coverage_was_measured() -> None:
    figure = pair_figure(PAIR, [ORACLE], PROTOCOL)
    assert "ellipses: 95 % by the noise, not calibrated" in texts(figure)
    key = label(identity(ORACLE)), PROTOCOL.main_estimator
    calibration = Calibration(bounds={key: Bound(1.7, 100, 20)})
    figure = pair_figure(PAIR, [ORACLE], PROTOCOL, calibration=calibration)
    assert "ellipses: calibrated 90 % bound on the RMS" in texts(figure)


def test_four_matches_have_no_ellipses() -> None:
    square = np.array([[10, 10], [150, 12], [140, 110], [12, 100.0]])
    places = transform_points(square, TRUTH)
    protocol = replace(
        PROTOCOL,
        detector=lambda image: square if image is PHOTO else places,
        matcher=EVERYTHING,
    )
    figure = pair_figure(PAIR, [ORACLE], protocol)
    drawn(figure)
    assert "no ellipses from 4 matches" in texts(figure)
    assert "fit gap ∞" in texts(figure)


@pytest.mark.parametrize(
    ("size1", "size2"), [((1, 1), (1, 1)), ((160, 120), (1, 300)), ((40, 300), (400, 30))]
)
def test_views_of_any_size(size1: tuple[int, int], size2: tuple[int, int]) -> None:
    views = [cv2.resize(PHOTO, size) for size in (size1, size2)]
    pair = ViewPair("odd", *views, np.eye(3))
    figure = pair_figure(pair, [RootSift(support=32)], PROTOCOL)
    assert max(drawn(figure).shape) < 2000


def test_a_truth_that_folds_is_said() -> None:
    truth = np.array([[1, 0, 0], [0, 1, 0], [-0.02, 0, 1.0]])
    figure = pair_figure(replace(PAIR, homography=truth), [RootSift(support=32)], PROTOCOL)
    drawn(figure)
    assert "the truth folds view 1" in texts(figure)


@pytest.mark.filterwarnings("error")  # of a layout that leaves no room for the panels
@pytest.mark.parametrize("factors", [None, {"dlt": 2.0, "magsac": 2.0}])
def test_a_card_has_a_row_for_each_estimator(factors: dict[str, float] | None) -> None:
    observation = observe(PAIR, PROTOCOL.detector)
    matches = match_pair(ORACLE, PAIR, observation, PROTOCOL.matcher)
    figure = card_figure(PAIR, observation, matches, PROTOCOL.estimators, factors)
    height, width, _ = drawn(figure).shape
    assert height > width
    assert len(figure.axes) == 1 + 2 * 3 + 1
    assert "dlt: RMSE" in texts(figure)
    assert "magsac: RMSE" in texts(figure)


@pytest.mark.parametrize(
    ("factor", "matches", "note"),
    [
        (1.5, 12, "ellipses: calibrated 90 % bound on the RMS"),
        (1.5, 11, "ellipses: calibrated 90 % bound on the RMS, from only 11 matches"),
        (np.inf, 40, "ellipses: 95 % by the noise, not calibrated"),
    ],
)
def test_ellipses_say_what_they_show(factor: float, matches: int, note: str) -> None:
    assert ellipse_note(factor, matches) == note
