"""Figures whose unit is the training run: seeds, differences from `none`, doses, trials."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from homoreg.metrics import METRICS
from homoreg.plotting import GRAY, PALETTE, WIDTH_IN, ArmStyle, styled
from homoreg.study.arms import order_arms
from homoreg.study.document import span
from homoreg.study.figures import panels, side_by_side

TITLE_WIDTH = 26  # characters over a panel


def forest_plot(comparisons: pd.DataFrame, labels: dict[str, str], styles: dict) -> Figure:
    """Differences from the baseline with their 95 % intervals: a panel per metric, a row per arm.

    Args:
        comparisons: :func:`homoreg.study.statistics.compare_arms` of one protocol and estimator.
        labels: of the metrics, with their units.
        styles: of the arms.
    """
    arms = order_arms(comparisons["arm"])

    def panel(ax: Axes, metric: str) -> None:
        own = comparisons[comparisons["metric"] == metric]
        _differences(ax, own, arms, styles, "\n".join(wrap(labels[metric], TITLE_WIDTH)))

    metrics = list(dict.fromkeys(comparisons["metric"]))
    figure = panels(metrics, panel, 1.15 + 0.25 * len(arms), sharey=True)
    _label_arms(figure.axes[0], comparisons, arms)
    figure.supxlabel("difference from none", fontsize=9)
    return figure


@styled
def primary_figure(
    comparisons: pd.DataFrame, references: pd.DataFrame, label: str, styles: dict[str, ArmStyle]
) -> Figure:
    """The primary outcome: differences from the baseline arm, a panel per estimator.

    Args:
        comparisons: of one protocol and outcome.
        references: ``estimator``, ``arm`` and ``difference`` of the baselines, drawn as lines; one
            that is far off is in the legend alone, with its number.
        label: of the outcome.
        styles: of arms and baselines.
    """
    arms = order_arms(comparisons["arm"])
    estimators = list(dict.fromkeys(comparisons["estimator"]))
    figure, axes = side_by_side(estimators, 1.5 + 0.34 * len(arms))
    for ax, estimator in zip(axes, estimators, strict=True):
        own = comparisons[comparisons["estimator"] == estimator]
        _differences(ax, own, arms, styles, f"{estimator}, {span(own['photos'])} photos")
        low, high = ax.get_xlim()
        low, high = 2 * low - high, 2 * high - low  # twice as wide on either side
        shown = references[references["estimator"] == estimator]
        for reference in shown.to_dict("records"):
            style, x = styles[reference["arm"]], reference["difference"]
            line = {"color": style.color, "linestyle": style.linestyle, "linewidth": 1.2}
            if low < x < high:
                ends = [-0.6, len(arms) - 0.4]
                ax.plot([x, x], ends, label=reference["arm"], zorder=1, **line)
            else:
                ax.plot([], [], label=f"{reference['arm']} ({x:+.2f})", **line)
        if len(shown):
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4, fontsize=7)
    _label_arms(axes[0], comparisons, arms)
    figure.supxlabel(f"difference from none: {label}", fontsize=9)
    return figure


def _label_arms(ax: Axes, comparisons: pd.DataFrame, arms: list[str]) -> None:
    """Each arm with its number of seeds, on an axis that all panels share."""
    seeds = comparisons.groupby("arm")["seeds"].agg(span)
    ax.set_yticks(range(len(arms)), [f"{a} (n = {seeds[a]})" for a in arms], parse_math=False)


def _differences(
    ax: Axes, rows: pd.DataFrame, arms: list[str], styles: dict[str, ArmStyle], title: str
) -> None:
    """A row per arm with its difference and interval; the margin of equivalence in gray."""
    margin = rows["margin"].iloc[0]
    if np.isfinite(margin):
        ax.axvspan(-margin, margin, color="#e8e8e8", linewidth=0, zorder=0)
    ax.axvline(0, color="#444444", linewidth=1, zorder=1)
    for row in rows[np.isfinite(rows["difference"])].to_dict("records"):
        place, style = arms.index(row["arm"]), styles[row["arm"]]
        ax.plot([row["low"], row["high"]], [place, place], color=style.color, linewidth=1.8)
        ax.plot(row["difference"], place, markersize=6, **style.mark)
    ax.set_ylim(len(arms) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set_title(title, loc="left", fontsize=8, fontweight="bold", parse_math=False)
    ax.xaxis.set_major_locator(MaxNLocator(3))


@styled
def shift_curves(curves: pd.DataFrame, styles: dict[str, ArmStyle]) -> Figure:
    """Mean cosine of a descriptor with itself δ pixels further on, a line per arm.

    Bands are the 95 % intervals over seeds; at the right end the similarity of other images.

    Args:
        curves: :func:`homoreg.study.tables.shift_table` of one protocol.
    """
    shifts = sorted(set(curves["shift_px"]))
    # Evenly spaced: on a scale in pixels the first few shifts would be one.
    places = {shift: place for place, shift in enumerate(shifts)}
    end = len(shifts) + 0.3
    figure = Figure(figsize=(WIDTH_IN, 3.4))
    ax = figure.subplots()
    arms = order_arms(curves["arm"])
    for number, arm in enumerate(arms):
        curve = curves[curves["arm"] == arm].sort_values("shift_px")
        x, style = curve["shift_px"].map(places), styles[arm]
        label = f"{arm} (n = {curve['seeds'].max()})"
        ax.plot(x, curve["mean_mean"], markersize=5, label=label, **style.line)
        low, high = curve["mean_low"], curve["mean_high"]
        ax.fill_between(x, low, high, color=style.color, alpha=0.15, lw=0)
        place = end + 0.15 * (number - len(arms) / 2)
        ax.plot(place, curve["unrelated_mean"].iloc[0], **style.mark)
    ax.set_xticks([*places.values(), end], [*(f"{s:g}" for s in shifts), "other\nimage"])
    ax.set_xlabel("shift δ (px)")
    ax.set_ylabel("cos(f(x), f(x + δ))")
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=3.5)
    return figure


@styled
def ablation_plot(table: pd.DataFrame) -> Figure:
    """Precision, recall and AUC after each correction alone; intervals over seeds.

    Args:
        table: :func:`homoreg.study.variations.ablation_table`.
    """
    corrections = list(dict.fromkeys(table["correction"]))
    arms = list(dict.fromkeys(table["arm"]))
    metrics = {
        "precision_3px": "precision at 3 px",
        "recall_3px": "recall at 3 px",
        "auc_5px": "AUC of the corner error, 5 px (0 to 100)",
    }
    figure, axes = side_by_side(list(metrics), 1.1 + 0.3 * len(corrections))
    for ax, (metric, label) in zip(axes, metrics.items(), strict=True):
        for number, arm in enumerate(arms):
            of_arm = table[table["arm"] == arm]
            style = PALETTE[number % len(PALETTE)]
            lift = 0.5 * (number - (len(arms) - 1) / 2) / max(len(arms), 2)
            places = np.array([corrections.index(c) + lift for c in of_arm["correction"]])
            mean = of_arm[f"{metric}_mean"]
            low, high = (of_arm[f"{metric}_{end}"].fillna(mean) for end in ("low", "high"))
            ax.hlines(places, low, high, color=style.color)
            ax.plot(mean, places, label=f"{arm} (n = {of_arm['seeds'].max()})", **style.mark)
            if metric == "auc_5px" or len(arms) == 1:
                for value in of_arm.loc[of_arm["correction"] == "none", f"{metric}_mean"]:
                    ax.axvline(value, color=style.color, linewidth=0.8, linestyle=":")
        ax.set_xlabel(label)
    axes[0].set_yticks(range(len(corrections)), corrections, parse_math=False)
    axes[0].set_ylim(len(corrections) - 0.5, -0.5)
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def dose_curves(
    doses: pd.DataFrame, metrics: dict[str, str], reference: Mapping[str, float]
) -> Figure:
    """Metrics against the dose, a line per value of the other options; bars: 95 % intervals.

    Args:
        doses: :func:`homoreg.study.variations.dose_table` of one protocol, estimator and option.
        metrics: the label of each metric.
        reference: the metrics of the arm without regularization, drawn as a line.
    """
    # Evenly spaced, since doses go in powers of ten or have no number.
    ticks = dict(zip(doses["place"], doses["dose"], strict=True))
    lines = sorted(set(doses["other settings"]))

    def panel(ax: Axes, metric: str) -> None:
        for number, others in enumerate(lines):
            line = doses[doses["other settings"] == others].sort_values("place")
            style = PALETTE[number % len(PALETTE)]
            mean, seeds = line[f"{metric}_mean"], line["seeds"].max()
            reach = mean - line[f"{metric}_low"].fillna(mean)
            ax.errorbar(
                line["place"] + 0.06 * (number - (len(lines) - 1) / 2),
                mean.where(np.isfinite(mean)),
                yerr=reach.where(np.isfinite(reach), 0.0),
                label=f"{others or doses['regularizer'].iloc[0]} (n = {seeds})",
                **style.line | {"markersize": 5, "elinewidth": 1},
            )
        if np.isfinite(reference.get(metric, np.nan)):
            ax.axhline(reference[metric], color=GRAY, linewidth=1, linestyle=":", label="none")
        ax.set_xticks(list(ticks), list(ticks.values()), rotation=20, parse_math=False)
        ax.set_title("\n".join(wrap(metrics[metric], TITLE_WIDTH)), loc="left", fontsize=8.5)

    shown = [name for name in metrics if f"{name}_mean" in doses]
    figure = panels(shown, panel, 2.7, sharey=False)
    figure.supxlabel(doses["option"].iloc[0].replace("_", " "), fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    look: dict[str, Any] = {"ncols": 5, "handlelength": 3.5, "frameon": False}
    figure.legend(handles, labels, loc="outside upper center", **look)
    return figure


def trial_scatter(trials: pd.DataFrame, names: Sequence[str]) -> Figure:
    """The objective against each hyperparameter, a dot per trial; the best is marked.

    Args:
        trials: :func:`homoreg.study.variations.trial_table` of one objective.
        names: its columns to show.
    """
    best = trials[trials["rank"] == 1]

    def panel(ax: Axes, name: str) -> None:
        ax.scatter(trials[name], trials["value"], s=18, color="#0072B2", alpha=0.7)
        ax.scatter(best[name], best["value"], s=120, marker="*", color="#222222", zorder=3)
        values = trials[name]
        if values.min() > 0 and values.max() > 30 * values.min():
            ax.set_xscale("log")
        ax.set_xlabel(name, fontsize=8, parse_math=False)

    figure = panels(names, panel, 2.5, sharey=True)
    objective = trials["objective"].iloc[0]
    figure.supylabel(f"{objective} (n = {len(trials)} trials)", fontsize=9, parse_math=False)
    return figure


def metric_labels(metrics: Sequence[str]) -> dict[str, str]:
    """The labels of `<metric>_median` and AUC columns."""
    return {
        metric: f"AUC {metric.removeprefix('auc_').removesuffix('px')} px (0 to 100)"
        if metric.startswith("auc_")
        else METRICS[metric.removesuffix("_median")].heading
        for metric in metrics
    }
