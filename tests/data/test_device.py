import cv2
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data as photographs

from homoreg.data import cut_patches
from homoreg.data.device import cut_patches_on_device, packed

PHOTO = cv2.resize(photographs.astronaut(), (120, 90), interpolation=cv2.INTER_AREA)


def on_device(points: np.ndarray, support: int, size: int) -> np.ndarray:
    """Cut from PHOTO, which lies behind some other pixels."""
    before = np.arange(77 * 3, dtype=np.uint8).reshape(77, 3)
    pixels = packed(torch.from_numpy(np.concatenate([before, PHOTO.reshape(-1, 3)])))
    slots = torch.tensor([[77, 120, 90]] * len(points))
    patches = cut_patches_on_device(
        pixels, slots, torch.from_numpy(points.astype(np.float32)), support=support, size=size
    )
    return patches.numpy()


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-20, 140),
    y=st.floats(-20, 110),
    support=st.integers(2, 64),
    size=st.integers(8, 64),
)
def test_the_device_cuts_what_opencv_cuts(x: float, y: float, support: int, size: int) -> None:
    points = np.array([[x, y], [60.0, 45.0], [0.0, 0.0], [119.0, 89.0]])
    expected = cut_patches(PHOTO, points, support=support, size=size).astype(int)
    levels = 1 if size <= support else 2
    assert np.abs(on_device(points, support, size) - expected).max() <= levels
