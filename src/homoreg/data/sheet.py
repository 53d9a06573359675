"""A sheet of random pairs, to see at a glance what was prepared."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from homoreg.data.manifest import Pair, PairManifest
from homoreg.data.views import read_view1, read_view2
from homoreg.files import atomic_path
from homoreg.geometry.homography import corners_of, transform_points
from homoreg.keyed import keyed_rng

PAIRS = 6


def write_sheet(path: Path, manifest: PairManifest, seed: int) -> None:
    """Draw six random pairs of a manifest, each with its parameters, as a PNG.

    View 2 carries the outline of view 1 under the stored homography, its top edge thick: where the
    picture does not follow that frame, the homography is wrong.

    Args:
        path: of the PNG.
        manifest: with homographies.
        seed: of the choice among the pairs.
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
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=90)


def _draw_pair(left: Axes, right: Axes, pair: Pair) -> None:
    left.imshow(read_view1(pair))
    left.set_title(f"{pair.id}  {pair.photo}", fontsize=9)
    right.imshow(read_view2(pair))
    right.set_title(_caption(pair), fontsize=8)
    if pair.homography is not None:
        outline = transform_points(corners_of(pair.size1), pair.homography)
        right.plot(*outline[[1, 2, 3, 0]].T, color="orange", linewidth=1)
        right.plot(*outline[:2].T, color="orange", linewidth=3)
        right.set_xlim(-0.5, pair.size2[0] - 0.5)
        right.set_ylim(pair.size2[1] - 0.5, -0.5)


def _caption(pair: Pair) -> str:
    known = pair.parameters
    shift = "{:+.0f}, {:+.0f}".format(*known["shift_px"])
    jitter = np.abs(known["corner_jitter_px"]).max()
    return (
        f"{known['rotation_deg']:+.0f}°  ×{known['scale']:.2f}  shift {shift} px\n"
        f"corners ≤ {jitter:.0f} px  blur {known['blur_kernel'] or 'none'}  "
        f"overlap {known['overlap_fraction']:.0%}"
    )
