"""Which conditioning number tracks the true error, and whether the predicted one is calibrated.

Takes an evaluation's rows, with or without the column ``arm``. The true error is
``corner_error_rms_px``, since the prediction is an RMS. Failed estimates have neither a true nor a
predicted error that could be compared: they are left out and counted with the reason.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from homoreg.aggregates import quartiles, resampled_mean
from homoreg.geometry import FEW_MATCHES
from homoreg.metrics import METRICS
from homoreg.plotting import GRAY, INK, LIGHT_GRAY, WIDTH_IN, ArmStyle, styled
from homoreg.study.arms import order_arms
from homoreg.study.comparisons import Outcome, levels
from homoreg.study.document import span
from homoreg.study.figures import (
    PANELS_PER_ROW,
    interval_marks,
    legend_above,
    side_by_side,
)
from homoreg.study.statistics import share_interval, spearman, spearman_interval

ERROR = "corner_error_rms_px"
PREDICTED = "predicted_corner_error_px"
BOUND = "bound_90_px"
COVERED = Outcome(
    "share within the bound", "covered", resampled_mean, margin=np.nan, range=(0.0, 1.0)
)
PREDICTORS = [PREDICTED, "dop", "kappa", "kappa_raw", "kappa_notebook", "fit_gap"]
PREDICTORS += ["hull_fraction", "match_count"]
# Predicted errors of one bin differ by a factor of 2 at most, but for the first and the last.
BIN_EDGES_PX = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, np.inf)
WITHIN = (1, 2, 3)


def rank_correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman's ρ of each conditioning number with the true RMS corner error.

    The seeds of an arm are pooled; the interval's sample size is the number of photographs, since
    the pairs of one photograph are not independent, and the seeds share them.

    Args:
        rows: the evaluation's, of one benchmark, with ``photo``.

    Returns:
        A row per estimator, arm and predictor: ``rows``; ``n`` that have the number and a finite
        error, ``excluded``, the others, and ``reasons`` (their number by status); ``spearman`` over
        the n with ``low`` and ``high``, its 95 % interval; ``spearman_all`` over all rows, in which
        failures rank last and a missing number counts as the predictor's worst. NaN with fewer than
        three rows and where either is constant.
    """

    records = []
    for about, group in _groups(rows):
        error = _errors(group)
        for predictor in (name for name in PREDICTORS if name in group):
            values = group[predictor].to_numpy(float)
            has = np.isfinite(values) & np.isfinite(error)
            rho = spearman(values[has], error[has])
            low, high = spearman_interval(rho, group.loc[has, "photo"].nunique())
            worst = np.where(np.isnan(values), METRICS[predictor].failure or 0.0, values)
            numbers = {"spearman": rho, "low": low, "high": high}
            numbers |= {"spearman_all": spearman(worst, error)}
            records.append(about | {"predictor": predictor} | _counts(group, has) | numbers)
    return pd.DataFrame(records)


def calibration(rows: pd.DataFrame) -> pd.DataFrame:
    """How the true RMS corner error compares with the predicted one.

    Where predictions are exact the ratio's mean square is 1 and its median a little lower: 0.84 in
    600 simulated configurations with Gaussian noise.

    Returns:
        A row per estimator and arm: ``rows``; ``n`` with a finite prediction, ``excluded``, the
        others, and ``reasons`` (their number by status); ``ratio_q1``, ``ratio_median`` and
        ``ratio_q3`` of true over predicted; ``within_1x``, ``within_2x`` and ``within_3x``, the
        shares of the n whose true error is at most so many times the predicted one;
        ``within_2x_of_all``, the second as a share of all rows; ``n_enough``, those of the n with
        :data:`~homoreg.geometry.FEW_MATCHES` inliers or more, and ``ratio_median_enough``, their
        median: a consensus of fewer may be one of wrong matches, whose residuals say nothing.
    """

    records = []
    for about, group in _groups(rows):
        has = np.isfinite(group[PREDICTED].to_numpy(float))
        predicted, actual = group.loc[has, PREDICTED].to_numpy(float), _errors(group)[has]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(actual == predicted, 1.0, actual / predicted)  # both may be 0
        enough = ratios[group.loc[has, "inliers"].to_numpy() >= FEW_MATCHES]
        spread = dict(zip(("ratio_q1", "ratio_median", "ratio_q3"), quartiles(ratios), strict=True))
        within = {f"within_{k}x": actual <= k * predicted for k in WITHIN}
        shares = {
            name: float(held.mean()) if held.size else np.nan for name, held in within.items()
        }
        shares["within_2x_of_all"] = float(within["within_2x"].sum() / len(group))
        shares |= {"n_enough": len(enough), "ratio_median_enough": quartiles(enough)[1]}
        records.append(about | _counts(group, has) | spread | shares)
    return pd.DataFrame(records)


def bound_coverage(rows: pd.DataFrame) -> pd.DataFrame:
    """How often the 90 % bound on the RMS corner error holds.

    Args:
        rows: the evaluation's, of one protocol and benchmark, with ``photo`` and :data:`BOUND`.

    Returns:
        A row per estimator and arm that has bounds: ``seeds``, ``pairs``, ``n`` rows with a finite
        bound, and ``covered_mean``, the share of them whose error is at most the bound, with its
        95 % interval ``covered_low`` to ``covered_high`` over seeds and photos, or with one seed
        over photos. A bound is infinite for an estimate that folds the view, and where too few
        pairs calibrated it.
    """
    rows = _with_arms(rows)
    has = pd.Series(np.isfinite(rows[BOUND].to_numpy(float)), rows.index)
    held = (rows[ERROR] <= rows[BOUND]).astype(float).where(has)
    table = levels(rows.assign(covered=held), {"covered": COVERED}).set_index(["estimator", "arm"])
    table["n"] = has.groupby([rows["estimator"], rows["arm"]]).sum()
    for key in table.index[(table["n"] > 0) & (table["seeds"] < 2)]:
        own = rows[has & (rows["estimator"] == key[0]) & (rows["arm"] == key[1])]
        within = own[ERROR] <= own[BOUND]
        table.loc[key, ["covered_low", "covered_high"]] = share_interval(within, own["photo"])
    return table[table["n"] > 0].reset_index()


def _with_arms(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the column ``arm``; without it, what has a seed is its regularizer's."""
    if "arm" in rows:
        return rows
    return rows.assign(arm=rows["regularizer"].where(rows["seed"].notna(), rows["descriptor"]))


def _groups(rows: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of each estimator and arm."""
    for estimator, own in _with_arms(rows).groupby("estimator", sort=False):
        for arm in order_arms(own["arm"]):
            yield {"estimator": estimator, "arm": arm}, own[own["arm"] == arm]


def _errors(rows: pd.DataFrame) -> np.ndarray:
    return rows[ERROR].fillna(np.inf).to_numpy(float)


def _counts(group: pd.DataFrame, has: np.ndarray) -> dict[str, Any]:
    lacking = group[~has]
    # Four matches give an estimate without a residual to predict from.
    status = lacking["status"].mask(
        lacking["status"] == "ok",
        np.where(np.isinf(_errors(lacking)), "folded", "ok but undefined"),
    )
    reasons = [f"{count} {reason}" for reason, count in status.value_counts().items()]
    numbers = {"rows": len(group), "n": int(has.sum()), "excluded": int((~has).sum())}
    return numbers | {"reasons": ", ".join(reasons)}


@styled
def rank_correlation_figure(correlations: pd.DataFrame, styles: dict[str, ArmStyle]) -> Figure:
    """ρ and its interval, a panel per estimator, a group of marks per conditioning number.

    Args:
        correlations: :func:`rank_correlations`.
        styles: :func:`homoreg.plotting.arm_styles` of its arms.
    """
    estimators = list(correlations["estimator"].unique())
    predictors = list(correlations["predictor"].unique())
    height = 1.2 + len(predictors) * max(0.35, 0.13 * correlations["arm"].nunique())
    figure, axes = side_by_side(estimators, height, sharex=True)
    for ax, estimator in zip(axes, estimators, strict=True):
        own = correlations[correlations["estimator"] == estimator]
        of_arms = {arm: styles[arm] for arm in correlations["arm"].unique()}
        shown = own.assign(value=own["spearman"])
        interval_marks(ax, shown, "predictor", predictors, of_arms)
        title = f"{estimator}, n = {span(own['n'])}"
        ax.set_title(title, loc="left", fontweight="bold", parse_math=False)
        ax.axvline(0, color=GRAY, linewidth=1)
        ax.set_xlim(-1.02, 1.02)
    axes[0].set_yticks(range(len(predictors)), [METRICS[name].label for name in predictors])
    figure.supxlabel("Spearman's ρ with the true RMS corner error, 95 % interval", fontsize=9)
    legend_above(figure)
    return figure


OPEN_MARKS: dict[str, Any] = {"linestyle": "none", "markersize": 3.5, "markerfacecolor": "none"}
OPEN_MARKS |= {"markeredgewidth": 0.5, "alpha": 0.6, "clip_on": False, "rasterized": True}


@styled
def calibration_figure(rows: pd.DataFrame, styles: dict[str, ArmStyle]) -> Figure:
    """True over predicted RMS corner error, a panel per estimator, both in pixels on log scales.

    Every pair is a mark; a line joins an arm's medians over the bins of :data:`BIN_EDGES_PX` that
    hold at least five pairs. The black line is the identity, gray reaches from half to twice the
    prediction. Errors and predictions beyond the axes are on their edge; pairs without a finite
    prediction are left out.

    Args:
        rows: the evaluation's, of one benchmark.
        styles: :func:`homoreg.plotting.arm_styles` of its arms.
    """
    summary, limits = calibration(rows), _limits(rows)
    estimators = list(summary["estimator"].unique())
    height = 1.4 + 0.9 * WIDTH_IN / min(max(len(estimators), 2), PANELS_PER_ROW)
    figure, axes = side_by_side(estimators, height, sharex=True)
    by_estimator = dict(zip(estimators, axes, strict=True))
    for about, group in _groups(rows):
        ax, style = by_estimator[about["estimator"]], styles[about["arm"]]
        points = pd.DataFrame({"x": group[PREDICTED].to_numpy(float), "y": _errors(group)})
        points = points[np.isfinite(points["x"])]
        look = {"marker": style.marker, "markeredgecolor": style.color, **OPEN_MARKS}
        ax.plot(points["x"].clip(*limits), points["y"].clip(*limits), **look)
        bins = points.groupby(pd.cut(points["x"], BIN_EDGES_PX, right=False), observed=True)
        medians = bins.median()[bins.size() >= 5]
        ax.plot(
            medians["x"], medians["y"], markersize=5, label=about["arm"], zorder=3, **style.line
        )
    for estimator, ax in by_estimator.items():
        ax.plot(limits, limits, color=INK, linewidth=1, zorder=2)
        ax.fill_between(limits, limits / 2, limits * 2, color=LIGHT_GRAY, zorder=0, linewidth=0)
        ax.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
        ax.set_title(estimator, loc="left", fontweight="bold", pad=25, parse_math=False)
        own = summary[summary["estimator"] == estimator]
        ax.text(0, 1.03, _within_twice(own), transform=ax.transAxes, fontsize=7.5)
    figure.supxlabel("predicted RMS corner error (px)", fontsize=9)
    figure.supylabel("true RMS corner error (px)", fontsize=9)
    legend_above(figure)
    return figure


def _limits(rows: pd.DataFrame) -> np.ndarray:
    """Whole decades around nearly all of the finite errors and predictions, px."""
    values = rows[[ERROR, PREDICTED]].to_numpy(float)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return np.array([0.1, 10.0])
    low, high = np.log10(np.quantile(values, [0.005, 0.985]))
    return 10.0 ** np.array([np.floor(low), max(np.ceil(high), np.floor(low) + 1)])


def _within_twice(summary: pd.DataFrame) -> str:
    n, total = summary["n"].sum(), summary["rows"].sum()
    share = (summary["within_2x"] * summary["n"]).sum() / n if n else 0.0
    return f"n = {n} of {total}\n{100 * share:.0f} % within twice the prediction"
