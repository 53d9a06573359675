"""Contact sheets: prepared pairs of views, and patch pairs of a batch."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from homoreg.data.manifest import Pair, PairManifest
from homoreg.data.views import read_view1, read_view2
from homoreg.geometry.homography import corners_of, transform_points
from homoreg.keyed import keyed_rng
from homoreg.plotting import ACCENT, INK, save_figure

PAIRS = 6
BARE: dict[str, Any] = {"xticks": [], "yticks": [], "frame_on": False}  # of axes
# No layout engine, whatever the style asks for: engines measure every title, which takes longest.
FIXED: dict[str, Any] = {"layout": "none"}


def write_pair_sheet(path: Path, manifest: PairManifest, seed: int) -> None:
    """Draw six random pairs of a manifest with their parameters.

    View 2 shows the outline of view 1 under the stored homography, with a thick top edge: where
    the picture does not follow it, the homography is wrong.

    Args:
        path: of the PNG.
        manifest: with homographies.
        seed: of the choice of pairs.
    """
    count = min(PAIRS, len(manifest))
    chosen = np.sort(keyed_rng(seed, "sheet").permutation(len(manifest))[:count])
    rows = max(1, -(-count // 2))
    figure = Figure(figsize=(14, 2.9 * rows), **FIXED)
    axes = figure.subplots(rows, 4, squeeze=False, subplot_kw=BARE)
    for (left, right), index in zip(axes.reshape(-1, 2), chosen, strict=False):
        _draw_pair(left, right, manifest.pairs[index])
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.94, wspace=0.02, hspace=0.2)
    save_figure(figure, path, dpi=90)


def _draw_pair(left: Axes, right: Axes, pair: Pair) -> None:
    left.imshow(read_view1(pair))
    left.set_title(f"{pair.id}  {pair.photo}", fontsize=9, parse_math=False)
    right.imshow(read_view2(pair))
    right.set_title(_caption(pair), fontsize=8)
    if pair.homography is not None:
        outline = transform_points(corners_of(pair.size1), pair.homography)
        right.plot(*outline[[1, 2, 3, 0]].T, color=ACCENT, linewidth=1)
        right.plot(*outline[:2].T, color=ACCENT, linewidth=3)
        right.set_xlim(-0.5, pair.size2[0] - 0.5)
        right.set_ylim(pair.size2[1] - 0.5, -0.5)


def _caption(pair: Pair) -> str:
    drawn = pair.parameters
    shift = "{:+.0f}, {:+.0f}".format(*drawn["shift_px"])
    jitter = np.abs(drawn["corner_jitter_px"]).max()
    return (
        f"{drawn['rotation_deg']:+.0f}°  ×{drawn['scale']:.2f}  shift {shift} px\n"
        f"corners ≤ {jitter:.0f} px  blur {drawn['blur_kernel'] or 'none'}  "
        f"overlap {drawn['overlap_fraction']:.0%}"
    )


def patch_sheet(
    patches1: np.ndarray, patches2: np.ndarray, labels: np.ndarray, rows: int
) -> Figure:
    """Draw patch pairs: corresponding ones on the left, the others on the right.

    Args:
        patches1: ``(N, S, S, 3)`` uint8.
        patches2: ``(N, S, S, 3)`` uint8.
        labels: ``(N,)``; > 0 for pairs that correspond.
        rows: rows of each kind, three pairs a row.
    """
    figure = Figure(figsize=(11, 0.9 * rows + 0.5), dpi=80, **FIXED)
    kinds = (("same place (+1)", INK, labels > 0), ("another place (−1)", ACCENT, labels <= 0))
    axes = figure.subplots(1, 2, subplot_kw=BARE)
    for axis, (title, color, chosen) in zip(axes, kinds, strict=True):
        axis.set_title(f"{title}, {chosen.mean():.0%} of the batch", color=color)
        axis.imshow(_mosaic(patches1[chosen], patches2[chosen], rows), interpolation="nearest")
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.94, wspace=0.03)
    return figure


def _mosaic(first: np.ndarray, second: np.ndarray, rows: int) -> np.ndarray:
    """Pairs of patches side by side on white, three pairs a row."""
    size, columns = first.shape[1], 3
    cells = np.full((rows * columns, size + 4, 2 * size + 10, 3), 255, np.uint8)
    count = min(len(first), len(cells))
    cells[:count, :size, :size] = first[:count]
    cells[:count, :size, size + 2 : 2 * size + 2] = second[:count]
    grid = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    return grid.reshape(rows * cells.shape[1], columns * cells.shape[2], 3)
