"""Contact sheets: prepared pairs of views, and patch pairs of a batch."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from homoreg.data.manifest import Pair, PairManifest
from homoreg.data.views import read_view1, read_view2
from homoreg.geometry.homography import corners_of, transform_points
from homoreg.keyed import keyed_rng
from homoreg.plotting import ACCENT, INK, save_figure

PAIRS = 6


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
    figure = Figure(figsize=(14, 2.9 * rows), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for (left, right), index in zip(axes.reshape(-1, 2), chosen, strict=False):
        _draw_pair(left, right, manifest.pairs[index])
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
    patches1: np.ndarray, patches2: np.ndarray, labels: np.ndarray, rows: int = 8
) -> Figure:
    """Draw patch pairs: corresponding ones on the left, the others on the right.

    Args:
        patches1: ``(N, S, S, 3)`` uint8.
        patches2: ``(N, S, S, 3)`` uint8.
        labels: ``(N,)``; > 0 for pairs that correspond.
        rows: rows of each kind, three pairs a row.
    """
    figure = Figure(figsize=(11, 1.05 * rows + 0.8), dpi=80, layout="constrained")
    halves = np.asarray(figure.subfigures(1, 2))
    kinds = (("same place (+1)", INK, labels > 0), ("another place (−1)", ACCENT, labels <= 0))
    for half, (title, color, chosen) in zip(halves, kinds, strict=True):
        half.suptitle(f"{title}, {chosen.mean():.0%} of the batch", color=color)
        axes = half.subplots(rows, 3, squeeze=False)
        indices = np.flatnonzero(chosen)[: axes.size]
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, i in zip(axes.flat, indices, strict=False):
            gap = np.full((patches1.shape[1], 2, 3), 255, np.uint8)
            axis.imshow(np.hstack([patches1[i], gap, patches2[i]]), interpolation="nearest")
    return figure
