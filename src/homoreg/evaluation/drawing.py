"""What figures of two views share: pale views, outlines, and magnified offsets."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from homoreg.data.images import limit_side
from homoreg.geometry import FEW_MATCHES, calibrated_ellipse, ellipse_points
from homoreg.plotting import ACCENT

SMALL, TINY = 8.5, 7.5  # font sizes, points
MAX_SIDE_PX = 800  # larger views are reduced before they are drawn
MAX_LINES = 500  # of more matches only so many are drawn


def show_view(axis: Axes, image: np.ndarray, x: float = 0.0) -> None:
    left, right, bottom, top = extent((image.shape[1], image.shape[0]))
    small = pale(limit_side(image, MAX_SIDE_PX))
    axis.imshow(small, "gray", vmin=0, vmax=255, extent=(left + x, right + x, bottom, top))


def show_side_by_side(axis: Axes, image1: np.ndarray, image2: np.ndarray) -> np.ndarray:
    """Show both views; returns the shift ``(2,)`` from pixels of view 2 to the axis."""
    (height1, width1), (height2, width2) = image1.shape[:2], image2.shape[:2]
    shift = np.array([width1 + 0.01 * (width1 + width2), 0.0])
    show_view(axis, image1)
    show_view(axis, image2, x=shift[0])
    axis.set_xlim(-0.5, shift[0] + width2 - 0.5)
    axis.set_ylim(max(height1, height2) - 0.5, -0.5)
    return shift


def drawn_rows(count: int) -> np.ndarray:
    """The rows of ``count`` matches that are drawn: all, or evenly thinned ones."""
    return np.unique(np.linspace(0, count - 1, min(count, MAX_LINES)).astype(int))


def pale(image: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` uint8 as pale gray ``(H, W)``."""
    return (255 - 0.5 * (255 - image.mean(axis=2))).astype(np.uint8)


def extent(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The extent that places a reduced picture at the view's own pixels."""
    return -0.5, size[0] - 0.5, size[1] - 0.5, -0.5


def format_view(axis: Axes, title: str) -> None:
    axis.set_aspect("equal")
    axis.set_axis_off()
    axis.set_title(title, fontsize=SMALL)


def write_across(axis: Axes, text: str) -> None:
    note = axis.text(0.5, 0.5, text, transform=axis.transAxes, fontsize=SMALL)
    note.set(ha="center", va="center")
    note.set_bbox({"facecolor": "white", "edgecolor": ACCENT, "boxstyle": "round,pad=0.4"})


def closed(points: np.ndarray) -> np.ndarray:
    """``(N, 2)`` corners as the x and y of a closed outline."""
    return np.vstack([points, points[:1]]).T


def corner_ellipses(covariances: np.ndarray, factor: float, match_count: int) -> np.ndarray:
    """Outlines ``(4, 65, 2)`` about the origin, in pixels, of the errors of a view's corners.

    They show the calibrated bound on the RMS corner error, or without a calibration the 95 % that
    the noise of the matches predicts.

    Args:
        covariances: ``(4, 2, 2)`` px².
        factor: of the calibrated bound; not finite where there is none.
        match_count: number of matches of the solve.
    """
    return np.array(
        [
            calibrated_ellipse([0, 0], covariance, factor)
            if np.isfinite(factor)
            else ellipse_points([0, 0], covariance, match_count)
            for covariance in covariances
        ]
    )


def ellipse_note(factor: float, match_count: int) -> str:
    """What the outlines of :func:`corner_ellipses` show, and whether few matches tell it."""
    note = "ellipses: 95 % by the noise, not calibrated"
    if np.isfinite(factor):
        note = "ellipses: calibrated 90 % bound on the RMS"
    return f"{note}, from only {match_count} matches" if match_count < FEW_MATCHES else note


def magnification(vectors: Iterable[np.ndarray], size: float) -> float:
    """The largest of 1, 2, 5, 10, … 500 that keeps ``(..., 2)`` vectors within ``size``."""
    reach = max(float(np.nan_to_num(np.abs(vector)).max()) for vector in vectors)
    steps = np.outer([1, 10, 100], [1, 2, 5]).ravel()
    fitting = steps[steps * reach <= size]
    return float(fitting[-1]) if len(fitting) else 1.0


def shortened(vectors: np.ndarray, length: float) -> np.ndarray:
    """``(N, 2)`` vectors limited to a length that the canvas can draw."""
    norms = np.hypot(*vectors.T)[:, None]
    return vectors * np.minimum(1, length / np.maximum(norms, 1e-300))


def short(value: float) -> str:
    """Three significant digits."""
    if np.isnan(value):
        return "–"
    return f"{value:.3g}" if np.isfinite(value) else "∞"
