"""The picture of an alignment and the panorama, on photographs whose place is known."""

import numpy as np
import pytest
from tests.conftest import small_photos

from homoreg.alignment import Alignment, load_aligner
from homoreg.alignment.figure import alignment_figure
from homoreg.alignment.panorama import panorama, place_on_canvas
from homoreg.data.warp import render
from homoreg.geometry import corners_of, transform_points

PHOTO = small_photos()["photo_0.jpg"]
LEFT, RIGHT = PHOTO[:, :150], PHOTO[20:, 60:]
SHIFT = np.array([[1.0, 0, -60], [0, 1, -20], [0, 0, 1]])  # LEFT to RIGHT


@pytest.fixture(scope="module")
def found() -> Alignment:
    return load_aligner("rootsift")(LEFT, RIGHT)


def test_a_panorama_of_two_parts_is_the_photograph() -> None:
    whole = panorama(LEFT, RIGHT, SHIFT)
    assert whole.shape == PHOTO.shape
    # In neither part: what is right of LEFT and above RIGHT, and a rim of one pixel.
    seen = np.ones(PHOTO.shape[:2], bool)
    seen[:21, 149:] = False
    difference = np.abs(whole.astype(int) - PHOTO)[seen]
    assert np.quantile(difference, 0.98) <= 1
    assert not whole[:20, 150:].any()


def test_photographs_are_blended_without_a_seam() -> None:
    dark, bright = (np.full((40, 100, 3), gray, np.uint8) for gray in (60, 180))
    row = panorama(dark, bright, np.array([[1.0, 0, -50], [0, 1, 0], [0, 0, 1]]))[20, :, 0]
    steps = np.diff(row.astype(int))
    assert (row[2:48] == 60).all()
    assert (row[103:148] == 180).all()
    assert (steps[2:146] >= 0).all()
    assert steps.max() <= 8


@pytest.mark.parametrize(
    "homography",
    [
        np.diag([50.0, 50, 1]),
        np.array([[1.0, 0, 1e6], [0, 1, 0], [0, 0, 1]]),
        np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 100, 0, 1]]),  # folds LEFT
    ],
)
def test_the_canvas_is_bounded(homography: np.ndarray) -> None:
    canvas = place_on_canvas(LEFT, RIGHT, homography, max_side_px=256)
    assert max(canvas.view1.shape[:2]) in (255, 256, 257)
    corners = transform_points(corners_of((180, 160)), canvas.to_canvas)
    height, width = canvas.mask2.shape
    assert (corners >= -1).all()
    assert (corners <= [width, height]).all()
    assert canvas.mask2.any()


def test_a_reduced_canvas_shows_the_same(found: Alignment) -> None:
    large1, large2 = (part.repeat(4, 0).repeat(4, 1) for part in (LEFT, RIGHT))
    four = np.diag([4.0, 4, 1])
    reduced = panorama(large1, large2, four @ SHIFT @ np.linalg.inv(four), max_side_px=240)
    assert reduced.shape == PHOTO.shape
    assert np.abs(reduced[40:160, 70:140].astype(int) - PHOTO[40:160, 70:140]).mean() < 4


def test_the_picture_says_what_was_found(found: Alignment) -> None:
    figure = alignment_figure(LEFT, RIGHT, found)
    matches, overlay = figure.axes
    assert figure.get_suptitle() == found.verdict
    assert matches.get_title() == f"{found.inliers} inliers (blue) of {len(found.matches1)} matches"
    assert "90 % bound on the RMS" in overlay.get_title()
    # The outline of photograph 1 in pixels of photograph 2.
    outline = overlay.lines[1].get_xydata()
    np.testing.assert_allclose(outline[:4], transform_points(corners_of((150, 180)), SHIFT), atol=1)
    # Where both are known and agree, the overlay is gray.
    (picture,) = overlay.images
    left, right, bottom, top = picture.get_extent()
    pixels = picture.get_array()
    column = int((40 - left) / (right - left) * pixels.shape[1])
    row = int((80 - top) / (bottom - top) * pixels.shape[0])
    assert np.ptp(pixels[row, column].astype(int)) < 25


def test_the_picture_of_a_failure_has_its_matches_only() -> None:
    other = small_photos()["photo_5.jpg"]
    failed = load_aligner("rootsift")(LEFT, other)
    figure = alignment_figure(LEFT, other, failed)
    assert len(figure.axes) == 1
    assert figure.get_suptitle().startswith("failed, because")


def test_warnings_stand_in_the_picture() -> None:
    seen = render(PHOTO, np.array([[1.0, 0, 4], [0, 1, 0], [0, 0, 1]]))
    seen[:, 150:] = render(PHOTO, np.array([[1.0, 0, 30], [0, 1, 4], [0, 0, 1]]))[:, 150:]
    found = load_aligner("rootsift")(PHOTO, seen)
    assert "warning: parallax" in alignment_figure(PHOTO, seen, found).get_suptitle()
