"""Frames carried by homographies, against what a homography does to a small circle and an arrow."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homoreg.geometry import transform_points
from homoreg.geometry.frames import as_frames, transform_frames

H = np.array([[1.1, -0.2, 30.0], [0.25, 0.9, -12.0], [2e-4, -3e-4, 1.0]])


@given(x=st.floats(0, 400), y=st.floats(0, 300), scale=st.floats(1, 50), angle=st.floats(0, 359.9))
def test_a_frame_follows_a_small_circle_and_an_arrow(
    x: float, y: float, scale: float, angle: float
) -> None:
    carried = transform_frames(np.array([[x, y, scale, angle]]), H)[0]
    around = np.deg2rad(np.arange(0, 360, 1))
    radius = 1e-3
    circle = [x, y] + radius * np.stack([np.cos(around), np.sin(around)], 1)
    ellipse = transform_points(circle, H)
    u, v = (ellipse - ellipse.mean(0)).T
    area = 0.5 * abs(np.sum(u * np.roll(v, -1) - v * np.roll(u, -1)))
    disc = 0.5 * 360 * np.sin(np.deg2rad(1)) * radius**2
    assert carried[2] == pytest.approx(scale * np.sqrt(area / disc), rel=1e-4)
    direction = [np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))]
    start, tip = transform_points(np.array([[x, y], [x, y] + radius * np.array(direction)]), H)
    assert carried[:2] == pytest.approx(start)
    expected = np.rad2deg(np.arctan2(*(tip - start)[::-1]))
    assert (carried[3] - expected + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)


def test_each_frame_by_its_own_homography() -> None:
    frames = np.array([[10.0, 20.0, 4.0], [10.0, 20.0, 4.0], [10.0, 20.0, 4.0]])
    behind = np.array([[1.0, 0, 0], [0, 1, 0], [-0.2, 0, 1]])
    carried = transform_frames(frames, np.array([np.eye(3), np.diag([3.0, 3.0, 1.0]), behind]))
    assert carried[:2] == pytest.approx(np.array([[10, 20, 4], [30, 60, 12]]))
    assert np.isnan(carried[2]).all()
    assert transform_frames(frames[:, :2], H) == pytest.approx(transform_points(frames[:, :2], H))


@pytest.mark.parametrize("keypoints", [[1.0, 2.0], np.zeros((3, 5)), [[1.0, 2.0, 0.0]], "points"])
def test_what_is_no_frame_is_refused(keypoints: object) -> None:
    with pytest.raises(ValueError, match="keypoints|a str"):
        as_frames(keypoints)
