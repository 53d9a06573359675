"""Detectors on a real photograph, on drawings with known corners, and on images without any."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import scipy.spatial
import skimage.data

from homoreg.matching import FastKeypoints, OrbKeypoints, ShiTomasi, SiftKeypoints

DETECTORS = [ShiTomasi, SiftKeypoints, OrbKeypoints, FastKeypoints]
Detector = Callable[..., Callable[[np.ndarray], np.ndarray]]


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return skimage.data.astronaut()


def test_shi_tomasi_is_the_study_detector(photo: np.ndarray) -> None:
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    expected = cv2.goodFeaturesToTrack(gray, 500, qualityLevel=0.01, minDistance=8)
    np.testing.assert_array_equal(ShiTomasi()(photo), expected.reshape(-1, 2))


def test_shi_tomasi_keeps_the_strongest_and_the_distance(photo: np.ndarray) -> None:
    points = ShiTomasi()(photo)
    np.testing.assert_array_equal(ShiTomasi(max_keypoints=20)(photo), points[:20])
    response = cv2.cornerMinEigenVal(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), 3)
    x, y = points.astype(int).T
    assert (np.diff(response[y, x]) <= 0).all()
    gaps = np.linalg.norm(points[:, None] - points, axis=2)[~np.eye(len(points), dtype=bool)]
    assert gaps.min() >= 8


def test_subpixel_refinement_finds_a_corner_between_pixels() -> None:
    # A quarter plane drawn at 16 times the size, whose corner lands at (50.25, 40.25).
    large = np.zeros((1280, 1600), np.uint8)
    large[: round(40.75 * 16), : round(50.75 * 16)] = 255
    image = cv2.cvtColor(
        cv2.resize(large, (100, 80), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB
    )
    whole, refined = (ShiTomasi(max_keypoints=1, subpixel=s)(image)[0] for s in (False, True))
    error, refined_error = (np.linalg.norm(point - (50.25, 40.25)) for point in (whole, refined))
    assert refined_error < 0.15 < error


@pytest.mark.parametrize("detector", DETECTORS)
def test_points_have_the_promised_form(detector: Detector, photo: np.ndarray) -> None:
    points = detector(max_keypoints=300)(photo)
    # ORB may find one place on two levels, which counts once.
    assert 290 < len(points) <= 300
    assert points.dtype == np.float64
    places = points[:, :2]
    assert len(np.unique(places, axis=0)) == len(points)
    assert ((places >= 0) & (places <= (photo.shape[1] - 1, photo.shape[0] - 1))).all()
    np.testing.assert_array_equal(detector(max_keypoints=300)(photo), points)


@pytest.mark.parametrize("detector", [SiftKeypoints, OrbKeypoints])
def test_frames_are_opencv_s_keypoints(detector: Detector, photo: np.ndarray) -> None:
    gray = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    sift = detector is SiftKeypoints
    opencv = cv2.SIFT.create(enable_precise_upscale=True) if sift else cv2.ORB.create(300)
    known = {(p.size, p.angle): p.pt for p in opencv.detect(gray, None)}
    frames = detector(max_keypoints=300, frame="orientation")(photo)
    assert frames.shape == (300, 4)
    shared = [frame for frame in frames.tolist() if tuple(frame[2:]) in known]
    assert len(shared) > 250
    # OpenCV's places of ORB are off by up to a pixel of their level, which is size / 31 wide.
    for x, y, size, angle in shared:
        limit = 0 if sift else size / 31
        assert np.abs(np.subtract((x, y), known[size, angle])).max() <= limit
    # Without orientations each place is one keypoint, in the same order whatever it carries.
    scaled, places = (detector(300, frame=frame)(photo) for frame in ("scale", "place"))
    np.testing.assert_array_equal(scaled[:, :2], places)


@pytest.mark.parametrize("detector", [*DETECTORS, lambda: ShiTomasi(subpixel=True)])
def test_places_are_unbiased(detector: Detector, photo: np.ndarray) -> None:
    """A half turn of the photo turns the keypoints with it: a constant offset would show twice."""
    places = detector()(photo)[:, :2]
    turned = detector()(np.ascontiguousarray(photo[::-1, ::-1]))[:, :2]
    far_corner = np.subtract(photo.shape[1::-1], 1)
    distances, nearest = scipy.spatial.cKDTree(far_corner - turned).query(places)
    offsets = (far_corner - turned[nearest] - places)[distances < 4]
    assert len(offsets) > 0.9 * len(places)
    assert np.abs(offsets.mean(axis=0)).max() < 0.02


# ORB shares its count out over the levels of its pyramid, so more is not only longer.
@pytest.mark.parametrize("detector", [ShiTomasi, SiftKeypoints, FastKeypoints])
def test_fewer_points_are_the_first_of_more(detector: Detector, photo: np.ndarray) -> None:
    many = detector(max_keypoints=200)(photo)
    np.testing.assert_array_equal(detector(max_keypoints=50)(photo), many[:50])


@pytest.mark.parametrize("detector", [*DETECTORS, lambda: ShiTomasi(subpixel=True)])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 2), (12, 12), (50, 60)])
@pytest.mark.parametrize("gray", [0, 77, 255])
def test_images_without_corners_give_no_points(
    detector: Detector, size: tuple[int, int], gray: int
) -> None:
    points = detector()(np.full((*size, 3), gray, np.uint8))
    assert points.ndim == 2
    assert len(points) == 0
    assert points.dtype == np.float64


@pytest.mark.parametrize("detector", [*DETECTORS, lambda: ShiTomasi(subpixel=True)])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 2), (9, 9), (14, 16), (31, 31)])
def test_small_images_of_noise_do_no_harm(detector: Detector, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert np.isfinite(detector()(noise)).all()
