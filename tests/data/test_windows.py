"""Windows that follow keypoints, against an exact average over each pixel of the patch."""

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data

from homoreg.data.device import DeviceBank
from homoreg.data.patches import MAX_LEVEL, Window, cut_patches, reduce_by
from homoreg.errors import HomoregError

PHOTO = data.astronaut()
SIZE = 16


def reference(x: float, y: float, side: float, angle_deg: float, samples: int = 16) -> np.ndarray:
    """The photo, interpolated by SciPy, averaged over the pixels of a turned window."""
    count = samples * SIZE
    u, v = np.meshgrid(*2 * [(np.arange(count) - (count - 1) / 2) * side / count])
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    at = [y + sin * u + cos * v, x + cos * u - sin * v]
    values = [
        ndimage.map_coordinates(PHOTO[..., c].astype(float), at, order=1, mode="nearest")
        for c in range(3)
    ]
    blocks = np.stack(values, 2).reshape(SIZE, samples, SIZE, samples, 3)
    return blocks.mean((1, 3))


def nearest_samples(x: float, y: float, side: float, angle_deg: float) -> np.ndarray:
    """One bilinear sample for each pixel of the patch: what aliases."""
    step, middle = side / SIZE, (SIZE - 1) / 2
    c, s = step * np.cos(np.deg2rad(angle_deg)), step * np.sin(np.deg2rad(angle_deg))
    turn = np.array([[c, -s, x - (c - s) * middle], [s, c, y - (s + c) * middle]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(PHOTO, turn, (SIZE, SIZE), flags=flags, borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize(
    ("side", "rmse_gray"), [(5, 0.5), (16, 0.7), (33, 0.7), (64, 1.0), (100, 2.5), (200, 5.0)]
)
@pytest.mark.parametrize("window", ["scaled", "oriented"])
def test_a_window_is_the_average_over_its_pixels(
    side: float, rmse_gray: float, window: str
) -> None:
    rng = np.random.default_rng(1)
    frames = np.column_stack(
        [rng.uniform(0, 511, (25, 2)), np.full(25, side / 5), rng.uniform(0, 360, 25)]
    )
    patches = Window(64, SIZE, window, 5.0).patches(PHOTO, frames)
    error, aliased = [], []
    for (x, y, _, angle), patch in zip(frames, patches, strict=True):
        place = (x, y, side, angle if window == "oriented" else 0.0)
        expected = reference(*place)
        error.append(np.sqrt(((patch - expected) ** 2).mean()))
        aliased.append(np.sqrt(((nearest_samples(*place) - expected) ** 2).mean()))
    assert np.mean(error) <= rmse_gray
    if side > 2 * SIZE:
        assert np.mean(error) < np.mean(aliased) / 3


def test_stripes_of_one_pixel_become_gray() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    frames = [[200.3, 199.8, side / 5, angle] for side in (85, 200) for angle in (0.0, 30.0, 90.0)]
    patches = Window(64, SIZE, "oriented", 5.0).patches(stripes, np.array(frames))
    assert np.abs(patches.astype(int) - 127.5).max() <= 20


def test_orientation_turns_the_patch_so_that_it_points_right() -> None:
    """A gradient that rises downwards rises to the right in a window turned by 90 degrees."""
    ramp = np.arange(200, dtype=np.uint8).repeat(200).reshape(200, 200)
    image = np.dstack([ramp] * 3)
    patch = Window(64, SIZE, "oriented", 4.0).patches(image, np.array([[100.0, 100.0, 16.0, 90.0]]))
    row = patch[0, 8, :, 0].astype(int)
    assert (np.diff(row) == 4).all()
    assert (patch[0, :, 3, 0] == patch[0, 3, 3, 0]).all()


def test_scaled_windows_agree_with_fixed_ones_of_their_side() -> None:
    points = np.random.default_rng(0).uniform(0, 511, (50, 2))
    for side in (16.0, 32.0, 64.0):
        frames = np.column_stack([points, np.full(50, side / 4)])
        scaled = Window(64, SIZE, "scaled", 4.0).patches(PHOTO, frames).astype(int)
        fixed = cut_patches(PHOTO, points, support=int(side), size=SIZE)
        # At 16 pixels fixed windows are sampled once per pixel, scaled ones are averaged.
        assert np.abs(scaled - fixed).mean() <= (3.0 if side == 16 else 0.6)


def test_many_images_and_keypoints_far_outside() -> None:
    frames = np.array([[-1e12, 5.0, 3.0, 0.0], [600.0, 700.0, 1e6, 45.0], [0.0, 0.0, 1e-9, 90.0]])
    images = [PHOTO, PHOTO[:1, :1], PHOTO[:7, :90]]
    cutter = Window(64, SIZE, "oriented")
    together = cutter.patches(images, frames)
    for image, frame, patch in zip(images, frames, together, strict=True):
        assert (cutter.patches(image, frame[None]) == patch).all()
    assert (together[1] == PHOTO[0, 0]).all()
    assert cutter.patches(PHOTO, np.empty((0, 4))).shape == (0, SIZE, SIZE, 3)


@pytest.mark.parametrize(("window", "columns"), [("scaled", 2), ("oriented", 2), ("oriented", 3)])
def test_keypoints_that_lack_what_a_window_needs(window: str, columns: int) -> None:
    lacking = "scale" if columns == 2 else "orientation"
    with pytest.raises(
        HomoregError, match=f"patch.window={window}: the keypoints have no {lacking}"
    ):
        Window(64, 32, window).patches(PHOTO, np.ones((1, columns)))


class Bank:
    """Two photos as a bank holds them."""

    images = (PHOTO[:333, :401], PHOTO[100:, :250])
    slots = (0, 1)

    def pixels(self) -> np.ndarray:
        return np.concatenate([image.ravel() for image in self.images])

    def places(self, slots: tuple[int, ...]) -> np.ndarray:
        return np.array([[0, 401, 333], [333 * 401 * 3, 250, 412]])


@pytest.mark.parametrize("window", ["fixed", "scaled", "oriented"])
def test_a_device_cuts_nearly_the_same(window: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, 300)  # more than are cut at once
    frames = np.column_stack(
        [rng.uniform(0, 330, (300, 2)), np.exp(rng.uniform(0, 4, 300)), rng.uniform(0, 360, 300)]
    ).astype(np.float32)
    cutter = Window(48, SIZE, window)
    expected = cutter.patches([Bank.images[i] for i in images], frames.astype(float)).astype(int)
    bank = DeviceBank(Bank(), cutter, torch.device("cpu"))  # type: ignore[arg-type]
    found = bank.cut(torch.from_numpy(images), torch.from_numpy(frames)).numpy()
    difference = np.abs(found - expected)
    assert difference.mean() <= 0.8
    assert np.quantile(difference, 0.999) <= (1 if window == "fixed" else 12)


def test_reduction_averages_blocks_and_replicates_the_edge() -> None:
    image = np.array([[0, 4, 8], [4, 8, 12]], np.uint8).repeat(3).reshape(2, 3, 3)
    assert reduce_by(image, 2)[0, :, 0].tolist() == [4, 10]
    assert reduce_by(PHOTO, 2**MAX_LEVEL).shape == (8, 8, 3)
