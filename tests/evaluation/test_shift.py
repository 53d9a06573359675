import cv2
import numpy as np
import pytest
from scipy.special import j0
from skimage import data as photographs
from tests.baselines import Orb, RawPatches, RootSift

from homoreg.evaluation.shift import SHIFTS_PX, ShiftResponse, shift_figure, shift_response

PHOTO = cv2.resize(photographs.astronaut(), (240, 200), interpolation=cv2.INTER_AREA)
COFFEE = cv2.resize(photographs.coffee(), (240, 200), interpolation=cv2.INTER_AREA)


class Turning:
    """Its descriptor turns by a degree a pixel in x: cos(f(x), f(x + δ)) = cos(δx degrees)."""

    name = "turning"
    metric = "l2"

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        angles = np.deg2rad(keypoints[:, 0])
        # Lengths must not matter.
        return np.stack([np.cos(angles), np.sin(angles)], axis=1) * (1 + keypoints[:, 1:])


class Bits(Turning):
    """Two of eight bits flip from one whole pixel to the next: the cosine falls to a half."""

    metric = "hamming"

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        odd = np.floor(keypoints[:, :1]) % 2
        return np.hstack([odd, odd, np.ones((len(odd), 6))]).astype(np.float32)


class BlindOnTheRight(Turning):
    """Describes nothing beyond the middle of the image."""

    def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        described = super().describe(image, keypoints)
        described[keypoints[:, 0] > 120] = np.nan
        return described


def grid(image: np.ndarray) -> np.ndarray:
    x, y = np.meshgrid(np.arange(0, image.shape[1], 10.0), np.arange(0, image.shape[0], 10.0))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def test_the_cosine_is_that_of_the_shifted_point() -> None:
    many = 64
    response = shift_response(
        Turning(), [PHOTO], shifts_px=(0, 8, 32), directions=many, detector=grid
    )
    # The mean over all directions of cos(δ cos φ) is the Bessel function J₀(δ).
    assert response.mean == pytest.approx(j0(np.deg2rad([0, 8, 32])), abs=1e-9)
    phi = 2 * np.pi * np.arange(3600) / 3600
    expected = np.quantile(np.cos(np.deg2rad(32) * np.cos(phi)), [0.25, 0.5, 0.75])
    found = response.quartile_1[2], response.median[2], response.quartile_3[2]
    assert found == pytest.approx(expected, abs=2e-3)
    assert (response.images, response.points) == (1, 50)
    assert response.n == (50 * many,) * 3
    assert response.left_out == (0, 0, 0)


def test_bits_count_as_plus_and_minus_one() -> None:
    response = shift_response(Bits(), [PHOTO], shifts_px=(0, 1), directions=400, detector=grid)
    assert response.mean[0] == pytest.approx(1)
    # From a whole x, less than a pixel to the right changes no bit, any step to the left changes 2.
    assert response.mean[1] == pytest.approx(0.75, abs=0.01)
    assert (response.quartile_1[1], response.quartile_3[1]) == pytest.approx((0.5, 1))


def test_what_cannot_be_described_is_left_out_and_counted() -> None:
    response = shift_response(BlindOnTheRight(), [PHOTO], shifts_px=(0, 30), detector=grid)
    blind = response.left_out[0] / 4
    assert 0 < blind < response.points
    assert response.left_out[1] > response.left_out[0]
    assert [n + out for n, out in zip(response.n, response.left_out, strict=True)] == [200, 200]
    assert response.mean[0] == pytest.approx(1)


@pytest.mark.parametrize("descriptor", [RootSift(support=32), Orb(), RawPatches(32, 16)])
def test_real_descriptors_fall_from_one_towards_the_unrelated(descriptor) -> None:
    response = shift_response(descriptor, [PHOTO, COFFEE], points_per_image=25)
    assert response.shift_px == SHIFTS_PX
    assert response.mean[0] == pytest.approx(1, abs=1e-6)
    falling = np.array(response.mean)
    assert (np.diff(falling[:6]) < 0).all()
    assert response.unrelated - 0.1 < falling[-1] < 0.75
    assert (np.array(response.quartile_1) <= np.array(response.quartile_3)).all()


def test_an_image_seen_again_changes_nothing_and_draws_are_the_image_s_own() -> None:
    def response(*images: np.ndarray, seed: int = 0) -> ShiftResponse:
        return shift_response(RawPatches(32, 8), images, points_per_image=20, seed=seed)

    assert response(PHOTO, COFFEE, PHOTO) == response(PHOTO, COFFEE)
    alone, other, both = response(PHOTO).mean, response(COFFEE).mean, response(COFFEE, PHOTO).mean
    assert both == pytest.approx((np.array(alone) + other) / 2)
    assert response(PHOTO, seed=1).mean != alone


def test_shifted_points_stay_in_the_image() -> None:
    class Watching(Turning):
        def describe(self, image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
            assert (keypoints >= 0).all()
            assert (keypoints <= [image.shape[1] - 1, image.shape[0] - 1]).all()
            return super().describe(image, keypoints)

    response = shift_response(Watching(), [PHOTO, COFFEE[:80, :75]], detector=grid)
    assert response.images == 2


def test_images_without_points_leave_numbers_undefined() -> None:
    flat = np.full((200, 240, 3), 90, np.uint8)
    response = shift_response(RawPatches(), [flat, PHOTO[:1, :1], PHOTO[:40]])
    assert (response.images, response.points, response.n[0]) == (0, 0, 0)
    assert np.isnan([*response.mean, *response.median, response.unrelated]).all()


def test_the_figure_has_a_curve_a_descriptor_with_n() -> None:
    responses = [
        shift_response(descriptor, [PHOTO, COFFEE], points_per_image=5)
        for descriptor in (RawPatches(32, 8), RootSift(support=32))
    ]
    figure = shift_figure(responses)
    figure.draw_without_rendering()
    (axis,) = figure.axes
    curves = [line for line in axis.lines if len(line.get_xdata()) == len(SHIFTS_PX)]
    assert [tuple(curve.get_ydata()) for curve in curves] == [r.mean for r in responses]
    assert len({(str(c.get_linestyle()), c.get_marker()) for c in curves}) == 2
    assert curves[0].get_label() == "raw_patches\nn = 40"
    assert "px" in axis.get_xlabel()
