"""Alignment on real photographs: the direction of H, the masks, and the pictures' numbers."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut
from skimage.metrics import structural_similarity

from homoreg.geometry import (
    align_back,
    compare_aligned,
    masked_rmse,
    masked_ssim,
    overlap_fraction,
    rmse_notebook_gray,
)


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(astronaut()[:300, :400])


@pytest.fixture
def warp():
    """20°, scale 1.1, a shift and a little perspective, about the middle of a 400×300 view."""
    c, s = 1.1 * np.cos(np.deg2rad(20)), 1.1 * np.sin(np.deg2rad(20))
    about = np.array([[c, -s, 0], [s, c, 0], [2e-4, -1e-4, 1]])
    to_center = np.array([[1, 0, -200], [0, 1, -150], [0, 0, 1.0]])
    back = np.array([[1, 0, 215], [0, 1, 140], [0, 0, 1.0]])
    return back @ about @ to_center


def everywhere(image):
    return np.ones(image.shape[:2], bool)


# --- the direction ---


def test_align_back_moves_by_the_inverse_on_an_image_without_symmetry():
    view1 = np.zeros((40, 50, 3), np.uint8)
    view1[10, 8] = (255, 120, 30)
    homography = np.array([[1, 0, 20], [0, 1, 5], [0, 0, 1.0]])
    view2 = np.zeros_like(view1)
    view2[15, 28] = (255, 120, 30)  # H maps (8, 10) to (28, 15)
    aligned, mask = align_back(view2, homography, (50, 40))
    np.testing.assert_array_equal(aligned[10, 8], (255, 120, 30))
    assert aligned.sum() == view2.sum()
    # Columns beyond 49 - 20 and rows beyond 39 - 5 were not seen, and a rim of one pixel is cut.
    assert mask[:34, :29].all()
    assert not mask[34:].any()
    assert not mask[:, 29:].any()


def test_the_true_homography_aligns_and_the_notebooks_direction_does_not(photo, warp):
    view2 = cv2.warpPerspective(photo, warp, (400, 300))
    right = compare_aligned(photo, view2, warp)
    identity = compare_aligned(photo, view2, np.eye(3))
    assert right.rmse_gray < 8
    assert right.ssim > 0.9
    assert identity.rmse_gray > 50
    assert identity.ssim < 0.5
    assert rmse_notebook_gray(photo, view2, warp) > 60
    # Its error was the direction: with the inverse the same code would have aligned the middle.
    middle = (slice(100, 200), slice(150, 250))
    again = cv2.warpPerspective(view2, np.linalg.inv(warp), (400, 300))
    assert masked_rmse(photo[middle], again[middle], everywhere(photo[middle])) < 8


def test_rmse_notebook_is_the_studys_two_lines(photo, warp):
    view2 = cv2.warpPerspective(photo, warp, (400, 300))[:250]
    warped = cv2.warpPerspective(view2, warp, dsize=(photo.shape[1], photo.shape[0]))
    rmse = np.sqrt(np.mean((photo.astype("float32") - warped.astype("float32")) ** 2))
    assert rmse_notebook_gray(photo, view2, warp) == pytest.approx(rmse, rel=1e-5)


# --- the mask ---


def test_identity_keeps_every_pixel(photo):
    aligned, mask = align_back(photo, np.eye(3), (400, 300))
    np.testing.assert_array_equal(aligned, photo)
    assert mask.all()


def test_masked_pixels_owe_nothing_to_the_border(photo, warp):
    """Whatever stands outside view 2, the valid pixels are the same."""
    aligned, mask = align_back(photo, warp, (400, 300))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    white = cv2.warpPerspective(photo, warp, (400, 300), flags=flags, borderValue=(255, 255, 255))
    np.testing.assert_array_equal(aligned[mask], white[mask])
    assert (aligned[~mask] == 0).all()
    assert mask.mean() == pytest.approx(overlap_fraction(warp, (400, 300), (400, 300)), abs=0.02)


def test_views_of_different_sizes(photo, warp):
    shrink = np.diag([0.5, 0.5, 1]) + [[0, 0, -0.25], [0, 0, -0.25], [0, 0, 0]]
    half = cv2.resize(photo, (200, 150), interpolation=cv2.INTER_AREA)
    result = compare_aligned(photo, half, shrink)
    assert result.overlap_fraction > 0.97
    assert result.rmse_gray < 12
    identity = compare_aligned(photo, half, np.eye(3))
    assert identity.overlap_fraction == pytest.approx(0.25, abs=0.01)


def test_what_lies_beyond_infinity_is_not_valid(photo):
    # x = 250 goes to infinity: the far side comes back upside down and must not count.
    folding = np.array([[1, 0, 0], [0, 1, 0], [-1 / 250, 0, 1.0]])
    _, mask = align_back(photo, folding, (400, 300))
    assert mask[:, :100].any()
    assert not mask[:, 250:].any()


@pytest.mark.parametrize(
    "homography", [None, np.full((3, 3), np.nan), np.diag([np.inf, 1, 1]), np.zeros((3, 3))]
)
def test_a_failed_estimate_aligns_nothing(photo, homography):
    aligned, mask = align_back(photo, homography, (400, 300))
    assert aligned.shape == photo.shape
    assert not mask.any()
    result = compare_aligned(photo, photo, homography)
    assert result.overlap_fraction == 0
    assert np.isnan([result.rmse_gray, result.ssim]).all()


def test_no_overlap_is_nan(photo):
    away = np.array([[1, 0, 5000], [0, 1, 0], [0, 0, 1.0]])
    result = compare_aligned(photo, photo, away)
    assert result.overlap_fraction == 0
    assert np.isnan([result.rmse_gray, result.ssim]).all()


# --- the numbers ---


def test_masked_rmse_agrees_with_numpy(photo, rng):
    other = np.roll(photo, 3, axis=1)
    mask = rng.random(photo.shape[:2]) < 0.3
    expected = np.sqrt(np.mean((photo[mask].astype(float) - other[mask].astype(float)) ** 2))
    assert masked_rmse(photo, other, mask) == pytest.approx(expected, rel=1e-12)
    gray = photo[..., 0]
    expected = np.sqrt(np.mean((gray[mask].astype(float) - other[..., 0][mask]) ** 2))
    assert masked_rmse(gray, np.ascontiguousarray(other[..., 0]), mask) == pytest.approx(expected)


def test_ssim_agrees_with_scikit_image(photo, rng):
    other = np.clip(photo * 0.8 + rng.normal(0, 20, photo.shape), 0, 255).astype(np.uint8)
    gray1, gray2 = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (photo, other))
    expected, whole = structural_similarity(
        gray1,
        gray2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        full=True,
    )
    assert masked_ssim(photo, other, everywhere(photo)) == pytest.approx(expected, abs=1e-4)
    mask = np.zeros(photo.shape[:2], bool)
    mask[40:140, 60:260] = True
    inside = whole[45:135, 65:255].mean()
    assert masked_ssim(gray1, gray2, mask) == pytest.approx(inside, abs=1e-4)


def test_ssim_ignores_what_the_mask_hides(photo):
    mask = everywhere(photo)
    mask[:, 200:] = False
    spoiled = photo.copy()
    spoiled[:, 200:] = 0
    assert masked_ssim(photo, spoiled, mask) == pytest.approx(1)
    assert masked_rmse(photo, spoiled, mask) == 0


def test_one_color_images():
    gray, brighter = np.full((30, 30, 3), 100, np.uint8), np.full((30, 30, 3), 110, np.uint8)
    result = compare_aligned(gray, brighter, np.eye(3))
    assert result.rmse_gray == 10
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 110 + c1) / (100**2 + 110**2 + c1)
    assert result.ssim == pytest.approx(expected, abs=1e-3)
    assert compare_aligned(gray, gray, np.eye(3)).ssim == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1), (1, 9, 3), (9, 1, 3)])
def test_images_of_one_pixel(shape):
    image = np.full(shape, 9, np.uint8)
    result = compare_aligned(image, image, np.eye(3))
    assert result.rmse_gray == 0
    assert result.overlap_fraction == 1
    assert np.isnan(result.ssim)
    assert rmse_notebook_gray(image, image, np.eye(3)) == 0
    far = np.array([[1, 0, 99], [0, 1, 0], [0, 0, 1.0]])
    assert np.isnan(compare_aligned(image, image, far).rmse_gray)


def test_extreme_homographies_do_not_crash(photo):
    for homography in (
        np.diag([1e300, 1e300, 1]),
        np.diag([1e-300, 1e-300, 1]),
        np.diag([1, 1, 1e-320]),
        np.ones((3, 3)) * 1e200,
        np.diag([1e9, 1e-9, 1]),
        -np.eye(3),
        np.fliplr(np.eye(3)),
    ):
        result = compare_aligned(photo, photo, homography)
        assert 0 <= result.overlap_fraction <= 1
        rmse_notebook_gray(photo, photo, homography)
