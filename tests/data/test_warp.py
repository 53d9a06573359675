"""A second view is the first one under the stored homography, and every draw keeps its promise."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from skimage.data import chelsea

from homoreg.data.warp import Warp, move_corners, mutual_overlap, render, similarity_about_center
from homoreg.errors import HomoregError

SIZE = (640, 480)
CLEAN = {"occlusion_probability": 0.0, "blur_probability": 0.0}


def project(homography: np.ndarray, x: Any, y: Any) -> np.ndarray:
    """``H (x, y, 1)`` by hand."""
    u, v, w = (row[0] * np.asarray(x) + row[1] * np.asarray(y) + row[2] for row in homography)
    return np.stack([u / w, v / w])


def independent_view(image: np.ndarray, homography: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """View 2 by SciPy's interpolation, and where view 1 covers it."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    x1, y1 = project(np.linalg.inv(homography), x, y)
    view = np.dstack(
        [map_coordinates(image[:, :, c].astype(float), [y1, x1], order=1) for c in range(3)]
    )
    return view, (x1 > 0) & (x1 < width - 1) & (y1 > 0) & (y1 < height - 1)


@pytest.mark.parametrize("repeat", range(4))
def test_view_2_is_view_1_warped_by_the_homography(repeat: int) -> None:
    image = chelsea()
    size = (image.shape[1], image.shape[0])
    warp = Warp(**CLEAN)
    draw = warp.draw(3, "cat", repeat, size)
    expected, covered = independent_view(image, draw.homography)
    difference = np.abs(warp.apply(image, draw) - expected)[covered]
    assert covered.mean() > 0.3
    assert np.median(difference) <= 1
    assert np.quantile(difference, 0.99) <= 6
    # The other direction is clearly another picture, so the test can tell them apart.
    wrong, covered = independent_view(image, np.linalg.inv(draw.homography))
    assert np.median(np.abs(warp.apply(image, draw) - wrong)[covered]) > 6


def test_direction_on_a_single_point() -> None:
    """A white dot at x1 shows up at H x1: one step right and one quarter turn, seen by hand."""
    image = np.zeros((41, 61, 3), np.uint8)
    image[10, 20] = 255
    quarter = similarity_about_center((61, 41), 90, 1.0, (4, 0))
    view = render(image, quarter)
    # About the center (30, 20): (-10, -10) turns to (10, -10), and the shift adds (4, 0).
    assert np.argwhere(view[:, :, 0] == 255).tolist() == [[10, 44]]


def test_borders() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[:, 0] = 10
    image[:, 1] = 20
    right = similarity_about_center((30, 20), 0, 1, (3, 0))
    first_columns = {
        b: render(image, right, border=b)[5, :5, 0].tolist()
        for b in ("reflect", "replicate", "black")
    }
    assert first_columns == {
        "reflect": [0, 20, 10, 10, 20],
        "replicate": [10, 10, 10, 10, 20],
        "black": [0, 0, 0, 10, 20],
    }


def test_occlusion_comes_before_the_blur() -> None:
    image = np.full((50, 60, 3), 200, np.uint8)
    view = render(image, np.eye(3), {"occlusion_box": (10, 20, 6, 8)})
    rows, columns = np.nonzero(view[:, :, 1] == 0)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 15, 20, 27)
    assert (view == 0).all(axis=2).sum() == 48
    blurred = render(image, np.eye(3), {"occlusion_box": (10, 20, 6, 8), "blur_kernel": 5})
    assert 0 < blurred[20, 9, 0] < 200
    assert (image == 200).all()


@given(
    angle=st.floats(-180, 180),
    scale=st.floats(0.5, 2),
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
)
def test_a_similarity_is_what_it_says(
    angle: float, scale: float, shift: tuple[float, float]
) -> None:
    homography = similarity_about_center(SIZE, angle, scale, shift)
    center = np.array([319.5, 239.5])
    assert project(homography, *center) == pytest.approx(center + shift)
    step = project(homography, 419.5, 239.5) - center - shift
    assert np.hypot(*step) == pytest.approx(100 * scale)
    turned = np.rad2deg(np.arctan2(step[1], step[0]))
    assert (turned - angle + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


def test_moved_corners_arrive_where_they_should() -> None:
    similarity = similarity_about_center(SIZE, 12, 0.9, (5, -3))
    offsets = np.array([[3.0, -8], [20, 1], [-9, 14], [0, 2]])
    homography = move_corners(similarity, SIZE, offsets)
    x, y = np.array([[0.0, 0], [639, 0], [639, 479], [0, 479]]).T
    assert project(homography, x, y) == pytest.approx(project(similarity, x, y) + offsets.T)
    assert np.abs(homography[2, :2]).max() > 1e-5
    assert move_corners(similarity, SIZE, np.zeros((4, 2))) is similarity


def test_mutual_overlap() -> None:
    assert mutual_overlap(np.eye(3), SIZE) == pytest.approx(1)
    half = similarity_about_center(SIZE, 0, 1, (320, 0))
    assert mutual_overlap(half, SIZE) == pytest.approx(0.5)
    # Zoomed in, all of view 2 comes from view 1, of which it shows a quarter; and the reverse.
    for scale in (2.0, 0.5):
        zoom = similarity_about_center(SIZE, 0, scale, (0, 0))
        assert mutual_overlap(zoom, SIZE) == pytest.approx(0.25, abs=2e-3)
    assert mutual_overlap(np.diag([-1.0, 1, 1]), SIZE) == 0  # a mirror
    assert mutual_overlap(np.array([[1, 0, 0], [0, 1, 0], [-1 / 300, 0, 1.0]]), SIZE) == 0  # a fold
    assert mutual_overlap(-np.eye(3), SIZE) == pytest.approx(1)  # the sign of H means nothing


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    photo=st.text(min_size=1, max_size=8),
    repeat=st.integers(0, 3),
    size=st.tuples(st.integers(64, 800), st.integers(64, 800)),
)
def test_draws_stay_in_their_ranges(
    seed: int, photo: str, repeat: int, size: tuple[int, int]
) -> None:
    warp = Warp(occlusion_probability=1, blur_probability=0.5, corner_jitter=0.15, min_overlap=0.5)
    draw = warp.draw(seed, photo, repeat, size)
    known = draw.parameters
    assert -30 <= known["rotation_deg"] <= 30
    assert 0.8 <= known["scale"] <= 1.2
    assert (np.abs(known["shift_px"]) <= 0.15 * np.array(size)).all()
    assert (np.abs(known["corner_jitter_px"]) <= 0.15 * np.array(size)).all()
    assert known["blur_kernel"] in (None, 3, 5)
    assert known["overlap_fraction"] >= 0.5
    x, y, width, height = known["occlusion_box"]
    assert 0 <= x <= x + width <= size[0]
    assert 0 <= y <= y + height <= size[1]
    assert 0.1 * size[0] - 1 <= width <= 0.2 * size[0] + 1
    assert 0.1 * size[1] - 1 <= height <= 0.2 * size[1] + 1
    # The parameters alone make the homography again.
    again = similarity_about_center(size, known["rotation_deg"], known["scale"], known["shift_px"])
    again = move_corners(again, size, np.array(known["corner_jitter_px"]))
    assert again == pytest.approx(draw.homography)


def test_draws_belong_to_their_key() -> None:
    warp = Warp()
    base = warp.draw(42, "a.jpg", 0, SIZE)
    same = warp.draw(42, "a.jpg", 0, SIZE)
    assert np.array_equal(base.homography, same.homography)
    assert base.parameters == same.parameters
    for other in (
        warp.draw(43, "a.jpg", 0, SIZE),
        warp.draw(42, "b.jpg", 0, SIZE),
        warp.draw(42, "a.jpg", 1, SIZE),
    ):
        assert other.parameters["rotation_deg"] != base.parameters["rotation_deg"]


def test_occlusion_and_blur_do_not_move_the_homography() -> None:
    plain, busy = Warp(**CLEAN), Warp(occlusion_probability=1, blur_probability=1)
    assert np.array_equal(
        plain.draw(1, "a", 0, SIZE).homography, busy.draw(1, "a", 0, SIZE).homography
    )


def test_probabilities_are_kept() -> None:
    drawn = [Warp().draw(0, str(i), 0, (100, 100)).parameters for i in range(600)]
    share = np.mean(
        [[d["occlusion_box"] is not None, d["blur_kernel"] is not None] for d in drawn], 0
    )
    assert np.abs(share - 0.3).max() < 0.06  # three standard deviations
    assert {d["blur_kernel"] for d in drawn} == {None, 3, 5}


def test_the_studys_warp_is_a_similarity() -> None:
    notebook = Warp(shift=0.3, corner_jitter=0, min_overlap=0)
    for repeat in range(20):
        homography = notebook.draw(42, "a", repeat, SIZE).homography
        assert homography[2].tolist() == [0, 0, 1]
        linear = homography[:2, :2]
        assert linear @ linear.T == pytest.approx(np.eye(2) * np.linalg.det(linear))


def test_an_overlap_that_no_draw_has() -> None:
    warp = Warp(scale=(3, 3), min_overlap=0.9)
    with pytest.raises(HomoregError, match=r"^warp\.min_overlap=0\.9: .* lower it"):
        warp.draw(0, "a", 0, SIZE)
