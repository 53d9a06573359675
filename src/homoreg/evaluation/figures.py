"""Figures of a pair: its matches, their errors, and the estimate against the truth.

Views are shown in pale gray, so that lines stand out; correct matches are solid, wrong ones dashed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullLocator

from homoreg.data.images import limit_side
from homoreg.evaluation.calibration import Calibration
from homoreg.evaluation.drawing import (
    MAX_SIDE_PX,
    SMALL,
    TINY,
    closed,
    corner_ellipses,
    drawn_rows,
    ellipse_note,
    extent,
    format_view,
    magnification,
    pale,
    short,
    shortened,
    show_side_by_side,
    show_view,
    write_across,
)
from homoreg.evaluation.pair import (
    CORRECT_PX,
    Method,
    Observation,
    PairMatches,
    ViewPair,
    condition_estimate,
    estimate_from,
    match_pair,
    observe,
)
from homoreg.evaluation.table import EvaluationProtocol, identity, label
from homoreg.geometry import (
    Conditioning,
    Estimate,
    Estimator,
    align_back,
    corner_error,
    corner_error_rms,
    corners_of,
    folds,
    masked_rmse,
    transform_points,
)
from homoreg.plotting import ACCENT, INK, LIGHT_GRAY

# Colors of a match's true error, on a log scale: blue is correct, orange far off. The yellow end of
# plasma is left out, since it would not show on pale gray.
ERROR_RANGE_PX = 0.3, 100.0
ERROR_SCALE = LogNorm(*ERROR_RANGE_PX, clip=True)
ERROR_COLORS = ListedColormap(colormaps["plasma"](np.linspace(0.0, 0.82, 256)))
ERROR_TICKS_PX = [0.3, 1, 3, 10, 30, 100]


@dataclass(frozen=True)
class Solved:
    """An estimate and its conditioning, for a row of panels."""

    name: str
    estimate: Estimate
    numbers: Conditioning
    factor: float  # of the calibrated bound; NaN where there is none
    failure: str  # in words; empty if there is an estimate


def pair_figure(
    pair: ViewPair,
    descriptors: Sequence[Method],
    protocol: EvaluationProtocol,
    calibration: Calibration | None = None,
) -> Figure:
    """One row for each descriptor: matches, overlay of the views, corners, singular values.

    Args:
        pair: the views and the truth.
        descriptors: those to show, from the top, systems included.
        protocol: detector, matcher and estimators, the main one of which is shown.
        calibration: ratios of the estimators and factors of the bounds.
    """
    name = protocol.main_estimator
    calibration = calibration or Calibration()
    observation = observe(pair, protocol.detector)
    row_height = 6.6 * _height_to_width(pair) + 0.5
    figure = Figure(figsize=(17, row_height * len(descriptors) + 0.7), dpi=100, layout=_layout())
    axes = figure.subplots(
        len(descriptors), 4, squeeze=False, gridspec_kw={"width_ratios": [2.5, 1.3, 1.5, 0.8]}
    )
    for row, descriptor in zip(axes, descriptors, strict=True):
        matches = match_pair(descriptor, pair, observation, protocol.matcher)
        model = label(identity(descriptor))
        _draw_matches(row[0], pair, observation, matches, f"{model}: ")
        estimator = calibration.estimators(model, protocol.estimators)[name]
        factor = calibration.factors(model, [name])[name]
        solved = _solve(pair, observation, matches, name, estimator, factor)
        _draw_estimate(row[1:], pair, solved)
    _draw_error_scale(figure, axes[:, 0])
    figure.suptitle(f"pair {pair.id}, homography by {name}", parse_math=False)
    return figure


def card_figure(
    pair: ViewPair,
    observation: Observation,
    matches: PairMatches,
    estimators: Mapping[str, Estimator],
    factors: Mapping[str, float] | None = None,
) -> Figure:
    """One descriptor on one pair: its matches, and below them a row for each estimator.

    ``factors`` are those of the calibrated bounds, by estimator.
    """
    width, ratio = 7.2, _height_to_width(pair)
    heights = [0.95 * width * ratio + 0.3] + [0.74 * width * ratio + 0.45] * len(estimators)
    figure = Figure(figsize=(width, sum(heights) + 0.4), dpi=95, layout=_layout())
    grid = figure.add_gridspec(
        len(heights), 3, height_ratios=heights, width_ratios=[1.3, 1.6, 0.75]
    )
    top = figure.add_subplot(grid[0, :])
    _draw_matches(top, pair, observation, matches)
    for row, (name, estimator) in enumerate(estimators.items(), start=1):
        axes = [figure.add_subplot(grid[row, column]) for column in range(3)]
        solved = _solve(
            pair, observation, matches, name, estimator, (factors or {}).get(name, np.nan)
        )
        _draw_estimate(axes, pair, solved)
    _draw_error_scale(figure, top)
    return figure


def _layout() -> ConstrainedLayoutEngine:
    # It places a color bar too low under axes of equal aspect.
    return ConstrainedLayoutEngine(rect=(0, 0.04, 1, 0.96))


def _height_to_width(pair: ViewPair) -> float:
    """Height over width of both views side by side, limited to what a page can show."""
    (width1, height1), (width2, height2) = pair.size1, pair.size2
    return float(np.clip(max(height1, height2) / (width1 + width2), 0.25, 1.0))


def _solve(
    pair: ViewPair,
    observation: Observation,
    matches: PairMatches,
    name: str,
    estimator: Estimator,
    factor: float,
) -> Solved:
    estimate = estimate_from(estimator, matches)
    numbers = condition_estimate(matches, estimate, pair.size1)
    failure = "" if estimate.status == "ok" else estimate.status.replace("_", " ")
    if observation.lacks_keypoints and not matches.own_keypoints:
        failure = "no keypoints"
    return Solved(name, estimate, numbers, factor, failure)


def _draw_estimate(axes: Sequence[Axes], pair: ViewPair, solved: Solved) -> None:
    overlay, corners, values = axes
    _draw_overlay(overlay, pair, solved)
    _draw_corners(corners, pair, solved)
    _draw_singular_values(values, solved)


def _draw_matches(
    axis: Axes, pair: ViewPair, observation: Observation, matches: PairMatches, title: str = ""
) -> None:
    """Both views side by side, keypoints as dots, matches as lines colored by their error."""
    shift = show_side_by_side(axis, pair.image1, pair.image2)
    keypoints1, keypoints2 = observation.keypoints1, observation.keypoints2
    if matches.own_keypoints:
        keypoints1, keypoints2 = matches.points1, matches.points2
    keypoints = np.vstack([keypoints1, keypoints2 + shift])
    axis.plot(keypoints[:, 0], keypoints[:, 1], "o", color=INK, ms=1.6, mew=0, alpha=0.7)

    errors = matches.errors_px
    right = errors <= CORRECT_PX
    shown = drawn_rows(len(errors))
    ends = np.stack([matches.points1, matches.points2 + shift], axis=1)
    # Correct ones last, so that they stay visible.
    width = np.clip(12 / np.sqrt(len(shown) + 1), 0.7, 1.5)
    for chosen, style in ((shown[~right[shown]], (0, (4, 2))), (shown[right[shown]], "solid")):
        lines = LineCollection(list(ends[chosen]), linewidths=width, linestyles=[style])
        lines.set(array=np.clip(errors[chosen], *ERROR_RANGE_PX))
        lines.set(cmap=ERROR_COLORS, norm=ERROR_SCALE)
        axis.add_collection(lines, autolim=False)
    matched = f"{len(errors)} match{'es' if len(errors) != 1 else ''}"
    count = f"{matched}, {right.sum()} within {CORRECT_PX:g} px"
    thinned = f" ({len(shown)} drawn)" if len(shown) < len(errors) else ""
    format_view(axis, title + count + thinned)


def _draw_error_scale(figure: Figure, axes: Axes | np.ndarray) -> None:
    """One color bar for all matches, below them."""
    scale = ScalarMappable(ERROR_SCALE, ERROR_COLORS)
    bar = figure.colorbar(
        scale, ax=axes, location="bottom", extend="both", shrink=0.7, aspect=70, pad=0.01
    )
    bar.set_ticks(ERROR_TICKS_PX, labels=[f"{tick:g}" for tick in ERROR_TICKS_PX])
    bar.minorticks_off()
    bar.ax.axvline(CORRECT_PX, color="white", linewidth=2)
    bar.ax.tick_params(labelsize=TINY)
    bar.set_label(
        f"true error of a match (px); solid up to {CORRECT_PX:g} px, dashed beyond", fontsize=TINY
    )


def _draw_overlay(axis: Axes, pair: ViewPair, solved: Solved) -> None:
    """View 1 in the red channel, view 2 warped back in green and blue; agreement looks gray."""
    H = solved.estimate.homography
    aligned, valid = align_back(pair.image2, H, pair.size1)
    view1, view2 = limit_side(pair.image1, MAX_SIDE_PX), limit_side(aligned, MAX_SIDE_PX)
    known = limit_side(valid.astype(np.float32), MAX_SIDE_PX) == 1
    both = np.repeat(pale(view1)[..., None], 3, axis=2)
    both[known] = np.stack([view.mean(axis=2) for view in (view1, view2, view2)], axis=2)[known]
    axis.imshow(both, extent=extent(pair.size1))
    title = f"{solved.name}: RMSE {short(masked_rmse(pair.image1, aligned, valid))} gray levels"
    if solved.failure:
        title = f"{solved.name}: {solved.failure}"
        write_across(axis, solved.failure)
    elif not valid.any():
        title = f"{solved.name}: no overlap"
    format_view(axis, title)


def _draw_corners(axis: Axes, pair: ViewPair, solved: Solved) -> None:
    """View 1's outline in view 2 by truth and by estimate, its corners with their ellipses.

    Small offsets and ellipses are magnified. The ellipses show the calibrated 90 % bound on the RMS
    corner error, or where there is none the 95 % that the noise of the inliers predicts.
    """
    H = solved.estimate.homography
    show_view(axis, pair.image2)
    low, high = _corner_window(pair)
    axis.set_xlim(low[0], high[0])
    axis.set_ylim(high[1], low[1])
    truth = transform_points(corners_of(pair.size1), pair.homography)
    if folds(pair.homography, pair.size1):
        write_across(axis, "the truth folds view 1")
        format_view(axis, "corner error ∞ px")
        return
    axis.plot(*closed(truth), color=INK, linewidth=1.2, label="truth")
    notes = []
    if H is None:
        write_across(axis, solved.failure)
    elif solved.numbers.folds:
        write_across(axis, "the estimate folds view 1")
    else:
        offsets = transform_points(corners_of(pair.size1), H) - truth
        count = int(solved.estimate.inliers.sum())
        covariances = solved.numbers.corner_covariances
        outlines = offsets[:, None] + corner_ellipses(covariances, solved.factor, count)
        side = float((high - low).max())
        times = magnification([*offsets, *outlines], 0.12 * side)
        estimated = truth + shortened(times * offsets, 50 * side)
        axis.plot(*closed(estimated), "--", color=ACCENT, linewidth=1.0, label="estimate")
        for corner, end, outline in zip(truth, estimated, outlines, strict=True):
            axis.plot(*np.stack([corner, end]).T, color=ACCENT, linewidth=1.8)
            axis.plot(*end, "o", color=ACCENT, markersize=3)
            axis.plot(*(corner + shortened(times * outline, 50 * side)).T, color=ACCENT, lw=0.8)
        axis.legend(loc="center", fontsize=TINY, framealpha=0.7, borderpad=0.3)
        known = np.isfinite(outlines).all()
        notes.append(f"offsets{' and ellipses' if known else ''} ×{times:g}")
        if known:
            notes.append(ellipse_note(solved.factor, count))
        else:
            notes.append("no ellipses" + (" from 4 matches" if count == 4 else ""))
        outside = int(((estimated < low) | (estimated > high)).any(axis=1).sum())
        if outside:
            notes.append(f"{outside} of 4 beyond the panel")
    note = axis.text(0.5, -0.02, "\n".join(notes), transform=axis.transAxes, fontsize=TINY)
    note.set(ha="center", va="top")
    error = short(corner_error(H, pair.homography, pair.size1))
    rms = short(corner_error_rms(H, pair.homography, pair.size1))
    predicted = short(solved.numbers.predicted_corner_error_px)
    format_view(axis, f"corner error {error} px (RMS {rms}, predicted {predicted})")


def _corner_window(pair: ViewPair) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the corner panel: view 2 and the true corners, if near, and a margin."""
    far = np.subtract(pair.size2, 1.0)
    truth = transform_points(corners_of(pair.size1), pair.homography)
    near = np.clip(np.nan_to_num(truth), -0.5 * far, 1.5 * far)
    low, high = np.minimum(near.min(axis=0), 0), np.maximum(near.max(axis=0), far)
    margin = 0.13 * (high - low).max() + 1
    return low - margin, high + margin


def _draw_singular_values(axis: Axes, solved: Solved) -> None:
    """The nine singular values of the inliers' Hartley-normalized matrix."""
    axis.tick_params(labelsize=TINY)
    values = solved.numbers.singular_values
    if not np.isfinite(values).all():
        write_across(axis, solved.failure)
        axis.set_axis_off()
        return
    # An exact fit leaves σ9 at 0 up to rounding, which has no place on a log scale.
    drawn = np.maximum(values, 1e-6 * values[0])
    axis.semilogy(np.arange(1, 9), drawn[:8], "o-", color=INK, markersize=3.5, linewidth=1)
    axis.semilogy([8, 9], drawn[7:], ":", color=ACCENT, linewidth=1)
    axis.semilogy([9], drawn[8:], "s", color=ACCENT, markersize=4)
    axis.yaxis.set_major_locator(LogLocator(numticks=5))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_box_aspect(1.1)
    axis.set_xticks(range(1, 10))
    axis.set_xlabel("singular value σ₁ … σ₉", fontsize=TINY)
    axis.grid(color=LIGHT_GRAY)
    axis.spines[["top", "right"]].set_visible(False)
    kappa, fit_gap = short(solved.numbers.kappa), short(solved.numbers.fit_gap)
    axis.set_title(f"κ {kappa}, fit gap {fit_gap}", fontsize=SMALL)
