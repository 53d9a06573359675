import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


@pytest.fixture
def perspective():
    """Rotation, scale, shift and a perspective part that moves corners by tens of pixels."""
    return np.array([[0.9, -0.2, 30.0], [0.25, 1.1, -12.0], [1e-4, -2e-4, 1.0]])


@pytest.fixture
def similarity():
    """From the study's ranges: 20°, scale 1.1, a shift of (60, -40) px, about (320, 240)."""
    angle = np.deg2rad(20)
    turn = 1.1 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    center = np.array([320.0, 240.0])
    shift = center - turn @ center + [60, -40]
    return np.vstack([np.column_stack([turn, shift]), [0, 0, 1]])
