import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage import data

from homoreg.data import cut_patches
from homoreg.data.patches import inside_image

PHOTO = data.astronaut()


def test_whole_pixel_windows_are_the_pixels() -> None:
    patch = cut_patches(PHOTO, np.array([[100.0, 60.0]]), support=5, size=5)[0]
    assert (patch == PHOTO[58:63, 98:103]).all()


def test_a_patch_is_the_interpolated_photo_averaged_over_areas() -> None:
    x, y, support, size = 211.3, 155.8, 64, 32
    grid = np.arange(support) - (support - 1) / 2
    rows, columns = np.meshgrid(y + grid, x + grid, indexing="ij")
    window = np.stack(
        [
            ndimage.map_coordinates(PHOTO[..., c].astype(float), [rows, columns], order=1)
            for c in range(3)
        ],
        axis=2,
    )
    expected = window.reshape(size, 2, size, 2, 3).mean((1, 3))
    patch = cut_patches(PHOTO, np.array([[x, y]]), support=support, size=size)[0]
    # Two roundings to whole gray levels: after interpolating and after averaging.
    assert np.abs(patch - expected).max() <= 1.0


def test_outside_the_photo_its_edge_is_repeated() -> None:
    padded = cv2.copyMakeBorder(PHOTO, 40, 40, 40, 40, cv2.BORDER_REPLICATE)
    points = np.array([[0.0, 0.0], [511.0, 511.0], [3.0, 500.0]])
    assert (
        cut_patches(PHOTO, points, support=33, size=33)
        == cut_patches(padded, points + 40, support=33, size=33)
    ).all()


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    support=st.integers(2, 96),
    size=st.integers(8, 48),
    x=st.floats(-50, 150),
    y=st.floats(-50, 150),
)
def test_a_flat_image_gives_flat_patches_wherever_they_are_cut(
    width: int, height: int, support: int, size: int, x: float, y: float
) -> None:
    image = np.full((height, width, 3), (10, 120, 250), np.uint8)
    patches = cut_patches(image, np.array([[x, y]]), support=support, size=size)
    assert patches.shape == (1, size, size, 3)
    assert (patches == (10, 120, 250)).all()


@given(
    support=st.integers(2, 80),
    size=st.integers(8, 48),
    places=st.lists(st.tuples(st.floats(-60, 150), st.floats(-60, 150)), min_size=1, max_size=5),
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
)
def test_patches_of_many_images_are_those_of_each(
    support: int, size: int, places: list[tuple[float, float]], shape: tuple[int, int]
) -> None:
    images = [PHOTO[40 * i : 40 * i + shape[0], : shape[1] + i] for i in range(len(places))]
    together = cut_patches(images, np.array(places), support=support, size=size)
    for image, place, patch in zip(images, places, together, strict=True):
        assert (patch == cut_patches(image, np.array([place]), support=support, size=size)).all()


def test_no_points_give_no_patches() -> None:
    assert cut_patches(PHOTO, np.zeros((0, 2)), support=64, size=32).shape == (0, 32, 32, 3)


def test_points_far_outside_repeat_the_edge_and_do_not_crash() -> None:
    far = np.array([[-1e30, 250.0], [3e9, 250.0]])
    near = np.array([[-200.0, 250.0], [800.0, 250.0]])
    cut = cut_patches(PHOTO, far, support=32, size=16)
    assert (cut == cut_patches(PHOTO, near, support=32, size=16)).all()
    outside = np.array([[-0.1, 3], [511.0, 511.0], [np.nan, 2], [1e30, 2]])
    assert inside_image(PHOTO, outside).tolist() == [False, True, False, False]
