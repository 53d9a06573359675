"""Figures whose unit is the training run: differences from `none`, and doses."""

from collections.abc import Mapping
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from homoreg.metrics import METRICS
from homoreg.plotting import GRAY, LIGHT_GRAY, PALETTE, WIDTH_IN, ArmStyle, styled
from homoreg.study.arms import order_arms
from homoreg.study.document import span
from homoreg.study.figures import COLUMNS, interval_marks, legend_above, panels, signed

TITLE_WIDTH = 26  # characters over a panel


def difference_figure(
    comparisons: pd.DataFrame, by: str, labels: Mapping[str, str], styles: dict[str, ArmStyle]
) -> Figure:
    """Differences from the baseline with their 95 % intervals, a row per arm.

    The margin of equivalence is gray.

    Args:
        comparisons: :func:`homoreg.study.comparisons.compare_arms` of one protocol.
        by: the column whose values have a panel each, as ``metric`` or ``estimator``.
        labels: headings of the panels.
        styles: of the arms.
    """
    arms = order_arms(comparisons["arm"])
    seeds = comparisons.groupby("arm")["seeds"].agg(span)

    def panel(ax: Axes, name: str) -> None:
        own = comparisons[comparisons[by] == name]
        margin = own["margin"].iloc[0]
        ax.axvspan(-margin, margin, color=LIGHT_GRAY, linewidth=0, zorder=0)
        ax.axvline(0, color=GRAY, linewidth=1, zorder=1)
        interval_marks(ax, own.assign(value=own["difference"]), "arm", arms, styles)
        ax.set_yticks(range(len(arms)), [f"{a} (n = {seeds[a]})" for a in arms], parse_math=False)
        title = "\n".join(wrap(labels[name], TITLE_WIDTH))
        ax.set_title(title, loc="left", fontsize=8, fontweight="bold", parse_math=False)
        ax.xaxis.set_major_locator(MaxNLocator(3))

    figure = panels(list(comparisons[by].unique()), panel, 1.15 + 0.25 * len(arms))
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
    photos = comparisons.groupby("estimator")["photos"].agg(span)
    titles = {str(name): f"{name}, {count} photos" for name, count in photos.items()}
    figure = difference_figure(comparisons, "estimator", titles, styles)
    estimators = comparisons["estimator"].unique()
    lines = -(-len(estimators) // COLUMNS)
    figure.set_size_inches(WIDTH_IN, 0.6 + lines * (1.1 + 0.34 * comparisons["arm"].nunique()))
    beside = 2 if len(estimators) < COLUMNS else 1  # references, as long as a panel is wide
    for ax, estimator in zip(figure.axes, estimators, strict=False):
        low, high = ax.get_xlim()
        low, high = 2 * low - high, 2 * high - low  # twice as wide on either side
        for reference in references[references["estimator"] == estimator].to_dict("records"):
            style, x = styles[reference["arm"]], reference["difference"]
            line = {"color": style.color, "linestyle": style.linestyle, "linewidth": 1.2}
            if low < x < high:
                ax.plot([x, x], ax.get_ylim(), label=reference["arm"], zorder=1, **line)
            else:
                ax.plot([], [], label=f"{reference['arm']} ({signed(x)})", **line)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=beside, fontsize=7)
    figure.supxlabel(f"difference from none: {label}", fontsize=9)
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

    def panel(ax: Axes, metric: str) -> None:
        for (others, line), style in zip(doses.groupby("other settings"), PALETTE, strict=False):
            line = line.sort_values("place")
            mean = line[f"{metric}_mean"].replace(np.inf, np.nan)
            ax.errorbar(
                line["place"],
                mean,
                yerr=(mean - line[f"{metric}_low"]).fillna(0.0),
                label=f"{str(others) or line['regularizer'].iloc[0]} (n = {line['seeds'].max()})",
                **style.line | {"markersize": 5, "elinewidth": 1},
            )
        if np.isfinite(reference.get(metric, np.nan)):
            ax.axhline(reference[metric], color=GRAY, linewidth=1, linestyle=":", label="none")
        ax.set_xticks(list(ticks), list(ticks.values()), rotation=20, parse_math=False)
        ax.set_title("\n".join(wrap(metrics[metric], TITLE_WIDTH)), loc="left", fontsize=8.5)

    figure = panels([name for name in metrics if f"{name}_mean" in doses], panel, 2.7, sharey=False)
    figure.supxlabel(doses["option"].iloc[0].replace("_", " "), fontsize=9)
    legend_above(figure)
    return figure


def metric_labels(metrics: list[str]) -> dict[str, str]:
    """The labels of `<metric>_median` and AUC columns."""
    return {
        metric: f"AUC {metric.removeprefix('auc_').removesuffix('px')} px (0 to 100)"
        if metric.startswith("auc_")
        else METRICS[metric.removesuffix("_median")].heading
        for metric in metrics
    }
