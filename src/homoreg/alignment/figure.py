"""The picture of an alignment: its matches, both photographs overlaid, the uncertain corners."""

from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from homoreg.alignment.panorama import place_on_canvas
from homoreg.alignment.result import Alignment
from homoreg.evaluation.drawing import (
    MAX_SIDE_PX,
    closed,
    corner_ellipses,
    drawn_rows,
    ellipse_note,
    format_view,
    magnification,
    pale,
    show_side_by_side,
)
from homoreg.geometry import (
    corners_of,
    inverse,
    transform_points,
)
from homoreg.plotting import ACCENT, BLUE, INK

WIDTH_IN = 10.0


def alignment_figure(image1: np.ndarray, image2: np.ndarray, alignment: Alignment) -> Figure:
    """Draw an alignment; one that failed has matches only.

    Args:
        image1, image2: the photographs, ``(H, W, 3)`` uint8 RGB.
        alignment: of these photographs.
    """
    (width1, height1), (width2, height2) = alignment.size1, alignment.size2
    heights = [WIDTH_IN * max(height1, height2) / (width1 + width2)]
    if alignment.homography is not None:
        heights.append(0.7 * WIDTH_IN)
    heights = np.clip(heights, 0.25 * WIDTH_IN, 0.8 * WIDTH_IN).tolist()
    figure = Figure(figsize=(WIDTH_IN, sum(heights) + 0.9), dpi=100, layout="constrained")
    axes = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
    _draw_matches(axes[0], image1, image2, alignment)
    if alignment.homography is not None:
        _draw_overlay(axes[1], image1, image2, alignment)
    lines = [alignment.verdict, *(f"warning: {text}" for text in alignment.warnings)]
    figure.suptitle("\n".join(fill(line, 110) for line in lines), fontsize=11)
    return figure


def _draw_matches(axis: Axes, image1: np.ndarray, image2: np.ndarray, found: Alignment) -> None:
    """Both photographs, inliers as solid lines, other matches dashed."""
    shift = show_side_by_side(axis, image1, image2)
    ends = np.stack([found.matches1, found.matches2 + shift], axis=1)
    shown = drawn_rows(len(ends))
    inliers = found.is_inlier[shown]
    width = np.clip(12 / np.sqrt(len(shown) + 1), 0.6, 1.5)
    for chosen, color, style in (
        (shown[~inliers], ACCENT, (0, (4, 2))),
        (shown[inliers], BLUE, "solid"),
    ):
        lines = LineCollection(
            list(ends[chosen]), linewidths=width, linestyles=[style], colors=color, alpha=0.8
        )
        axis.add_collection(lines, autolim=False)
    thinned = f" ({len(shown)} drawn)" if len(shown) < len(ends) else ""
    format_view(axis, f"{found.inliers} inliers (blue) of {len(ends)} matches{thinned}")


def _draw_overlay(axis: Axes, image1: np.ndarray, image2: np.ndarray, found: Alignment) -> None:
    """Photograph 1 warped onto photograph 2, red on cyan, with its corners and their ellipses."""
    homography = found.homography
    assert homography is not None
    canvas = place_on_canvas(image1, image2, homography, MAX_SIDE_PX)
    gray1, gray2 = canvas.view1.mean(axis=2), canvas.view2.mean(axis=2)
    overlay = np.full((*gray1.shape, 3), 255, np.uint8)
    for mask, view in ((canvas.mask1, canvas.view1), (canvas.mask2, canvas.view2)):
        overlay[mask] = pale(view)[mask][:, None]
    both = canvas.mask1 & canvas.mask2
    overlay[both] = np.stack([gray1, gray2, gray2], axis=2)[both]
    height, width = both.shape
    edges = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]])
    (left, top), (right, bottom) = transform_points(edges, inverse(canvas.to_canvas))
    axis.imshow(overlay, extent=(left, right, bottom, top))

    corners = transform_points(corners_of(found.size1), homography)
    axis.plot(*closed(corners_of(found.size2)), color=INK, linewidth=0.8)
    axis.plot(*closed(corners), color=ACCENT, linewidth=0.8)
    ellipses = corner_ellipses(found.corner_covariances, found.factor, found.inliers)
    note = "no ellipses: too few inliers"
    if np.isfinite(ellipses).all():
        times = magnification(ellipses, 0.06 * max(right - left, bottom - top))
        for corner, ellipse in zip(corners, ellipses, strict=True):
            axis.plot(*corner, "o", color=ACCENT, markersize=2.5)
            axis.plot(*(corner + times * ellipse).T, color=ACCENT, linewidth=1)
        note = f"{ellipse_note(found.factor, found.inliers)}, ×{times:g}"
    margin = 0.08 * max(right - left, bottom - top)
    axis.set_xlim(left - margin, right + margin)
    axis.set_ylim(bottom + margin, top - margin)
    format_view(axis, f"photograph 1 (red) on photograph 2 (cyan), gray where they agree\n{note}")
