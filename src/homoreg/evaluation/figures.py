"""A pair as a picture: what was matched, what of it is right, where the estimate puts view 2."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from homoreg.descriptors.loading import Descriptor
from homoreg.evaluation.pair import CORRECT_PX, PairMatches, ViewPair, match_pair, observe
from homoreg.evaluation.table import EvaluationProtocol
from homoreg.geometry import Estimate, align_back, corner_error

# Blue and orange differ in gray and to every kind of colour vision.
RIGHT, WRONG = "#0072b2", "#d55e00"


def pair_figure(
    pair: ViewPair,
    descriptors: Sequence[Descriptor],
    protocol: EvaluationProtocol,
    estimator_name: str | None = None,
) -> Figure:
    """One row a descriptor: matches, singular values, and the views laid over each other.

    Args:
        pair: the views and the truth.
        descriptors: those to show, from the top.
        protocol: detector, matcher and estimators.
        estimator_name: whose homography is shown; the first of the protocol by default.
    """
    estimator_name = estimator_name or next(iter(protocol.estimators))
    observation = observe(pair, protocol.detector)
    width, height = pair.size1[0] + pair.size2[0], max(pair.size1[1], pair.size2[1])
    row_height = max(2.6, 7.5 * height / width)
    figure = Figure(figsize=(16, row_height * len(descriptors) + 0.5), dpi=80, layout="constrained")
    axes = figure.subplots(
        len(descriptors), 3, squeeze=False, gridspec_kw={"width_ratios": [2.1, 0.75, 1.1]}
    )
    for (matched, values, overlay), descriptor in zip(axes, descriptors, strict=True):
        matches = match_pair(descriptor, pair, observation, protocol.matcher)
        estimate = protocol.estimators[estimator_name](matches.points1, matches.points2)
        keypoints = observation.keypoints1, observation.keypoints2
        _draw_matches(matched, pair, *keypoints, matches, _title(descriptor))
        _draw_singular_values(values, estimate, estimator_name)
        _draw_overlay(overlay, pair, estimate, estimator_name)
    figure.suptitle(f"pair {pair.id}")
    return figure


def _title(descriptor: Descriptor) -> str:
    arm = getattr(descriptor, "regularizer", "")
    seed = getattr(descriptor, "seed", None)
    return f"{descriptor.name} ({arm}, seed {seed})" if arm else descriptor.name


def _draw_matches(
    axis: Axes,
    pair: ViewPair,
    keypoints1: np.ndarray,
    keypoints2: np.ndarray,
    matches: PairMatches,
    title: str,
) -> None:
    """Both views side by side, keypoints as dots, matches as lines; wrong ones lie underneath."""
    (width1, height1), (width2, height2) = pair.size1, pair.size2
    canvas = np.full((max(height1, height2), width1 + width2, 3), 255, np.uint8)
    canvas[:height1, :width1] = pair.image1
    canvas[:height2, width1:] = pair.image2
    axis.imshow(canvas)
    shift = np.array([width1, 0.0])
    for keypoints in (keypoints1, keypoints2 + shift):
        axis.plot(keypoints[:, 0], keypoints[:, 1], ".", color="white", markersize=1.5)
    right = matches.errors_px <= CORRECT_PX
    for which, colour, style in ((~right, WRONG, "dashed"), (right, RIGHT, "solid")):
        ends = np.stack([matches.points1[which], matches.points2[which] + shift], axis=1)
        axis.add_collection(
            LineCollection(list(ends), colors=colour, linewidths=0.7, linestyles=style)
        )
    axis.set_title(
        f"{title}: {len(right)} matches, {right.sum()} within {CORRECT_PX:g} px (solid), "
        f"{(~right).sum()} not (dashed)",
        fontsize=10,
    )
    axis.set_axis_off()


def _draw_singular_values(axis: Axes, estimate: Estimate, name: str) -> None:
    """The nine singular values of the matrix that the final solve used."""
    axis.set_title(f"singular values, {name}", fontsize=10)
    if estimate.singular_values is None:
        axis.text(0.5, 0.5, estimate.status, ha="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    axis.semilogy(np.arange(1, 10), estimate.singular_values, "o-", color=RIGHT, markersize=4)
    axis.set_xticks(range(1, 10))
    axis.set_xlabel("index")
    axis.grid(alpha=0.3)


def _draw_overlay(axis: Axes, pair: ViewPair, estimate: Estimate, name: str) -> None:
    """View 1 in the red channel, view 2 warped back in green and blue: what agrees looks gray."""
    aligned, valid = align_back(pair.image2, estimate.homography, pair.size1)
    gray1, gray2 = pair.image1.mean(2), aligned.mean(2)
    gray2 = np.where(valid, gray2, 255)
    axis.imshow(np.stack([gray1, gray2, gray2], axis=2).astype(np.uint8))
    error = corner_error(estimate.homography, pair.homography, pair.size1)
    axis.set_title(
        f"aligned by {name} ({estimate.status}): corner error {error:.3g} px", fontsize=10
    )
    axis.set_axis_off()
