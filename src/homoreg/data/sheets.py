"""Sheets of patch pairs to look at."""

import numpy as np
from matplotlib.figure import Figure

# Blue and orange differ in gray and to every kind of color vision.
SAME, DIFFERENT = "#0072b2", "#d55e00"


def patch_sheet(
    patches1: np.ndarray, patches2: np.ndarray, labels: np.ndarray, rows: int = 8
) -> Figure:
    """Pairs that show the same place on the left, pairs that do not on the right.

    Args:
        patches1: ``(N, S, S, 3)`` uint8.
        patches2: ``(N, S, S, 3)`` uint8.
        labels: ``(N,)``; > 0 marks the same place.
        rows: pairs of each kind, three a row.
    """
    figure = Figure(figsize=(11, 1.05 * rows + 0.8), dpi=80, layout="constrained")
    halves = np.asarray(figure.subfigures(1, 2))
    kinds = (("same place (+1)", SAME, labels > 0), ("another place (−1)", DIFFERENT, labels <= 0))
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
