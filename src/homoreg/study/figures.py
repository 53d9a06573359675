"""Figures whose unit is the image pair or the arm, from the study's tables."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from homoreg.aggregates import AUC_THRESHOLDS_PX
from homoreg.metrics import METRICS
from homoreg.plotting import GRAY, INK, WIDTH_IN, ArmStyle, styled
from homoreg.study.arms import order_arms
from homoreg.study.tables import finite_points, plotted

COLUMNS = 4  # panels beside one another
SMALL: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7, "color": GRAY}


# Pairs of metrics whose relation is shown, x and y, by the name of the figure.
RELATIONS = {
    "kappa_corner": ("kappa", "corner_error_px"),
    "predicted_corner": ("predicted_corner_error_px", "corner_error_rms_px"),
}


@styled
def box_plots(
    rows: pd.DataFrame, styles: dict[str, ArmStyle], metrics: Sequence[str], columns: int = 3
) -> Figure:
    """A panel per metric of one estimator's rows, a box per arm with its seeds pooled.

    Boxes show the pairs that have a value, and their number stands beside each.
    """
    names, arms = [name for name in metrics if name in rows], order_arms(rows["arm"])
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH_IN, lines * (0.9 + 0.34 * len(arms))))
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True).flatten()
    for ax, name in zip(axes, names, strict=False):
        values, label = plotted(rows, name)
        groups = [values[rows["arm"] == arm].to_numpy() for arm in arms]
        _boxes(ax, groups, [styles[arm] for arm in arms])
        ax.set_xlabel(label)
        if name == "rmse_gray":
            _reference_lines(ax, rows)
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    axes[0].set_yticks(range(len(arms)), arms)
    axes[0].invert_yaxis()  # shared: the first arm on top everywhere
    return figure


def _boxes(ax: Axes, groups: list[np.ndarray], styles: list[ArmStyle]) -> None:
    finite = [group[np.isfinite(group)] for group in groups]
    # Thousands of vector markers would make the page slow.
    dots = {"marker": ".", "markersize": 3, "markeredgecolor": GRAY, "rasterized": True}
    boxes = ax.boxplot(
        finite,
        orientation="horizontal",
        positions=range(len(groups)),
        widths=0.62,
        patch_artist=True,
        medianprops={"color": INK, "linewidth": 1.8},
        flierprops=dots,
        whiskerprops={"color": GRAY},
        capprops={"color": GRAY},
        manage_ticks=False,
    )
    for box, style in zip(boxes["boxes"], styles, strict=True):
        # Pale but opaque: transparency would fade the hatch as well.
        pale = [1 - (1 - channel) / 3 for channel in to_rgb(style.color)]
        box.set(facecolor=pale, edgecolor=style.color, hatch=style.hatch)
    for position, (group, kept) in enumerate(zip(groups, finite, strict=True)):
        count = f"n = {len(kept)}/{len(group)}"
        place = {"xycoords": ("axes fraction", "data"), "va": "center", **SMALL}
        ax.annotate(count, (1.0, position), xytext=(3, 0), **place)
    ax.grid(axis="y", visible=False)


def _reference_lines(ax: Axes, rows: pd.DataFrame) -> None:
    """The references of a picture error: no warp, and the true homography."""
    for name, label, linestyle, side in [
        ("rmse_identity_gray", "no warp", ":", "left"),
        ("rmse_oracle_gray", "true homography", "--", "right"),
    ]:
        if name in rows and rows[name].notna().any():
            median = float(rows[name].median())
            ax.axvline(median, color=GRAY, linewidth=1, linestyle=linestyle, zorder=0)
            place = {"xycoords": ("data", "axes fraction"), "ha": side, **SMALL}
            ax.annotate(label, (median, 1.0), xytext=(0, 2), **place)


OWN_LINE: dict[str, Any] = {"color": INK, "linewidth": 2, "zorder": 3}
OTHER_LINE: dict[str, Any] = {"color": GRAY, "alpha": 0.5, "linewidth": 0.8, "zorder": 1}


FEWEST_POINTS = 3  # of a panel: as many as a line and a correlation take


def scatter_caption(x: str, y: str, estimator: str, note: str = "") -> str:
    """The caption of :func:`scatter`."""
    return (
        f"{METRICS[y].heading} against {METRICS[x].heading}, {estimator}: a dot per pair, seeds "
        "pooled, with the arm's least-squares line in black and those of the other arms in gray. "
        "ρ: Spearman's rank correlation; n: pairs with both values; arms with fewer than "
        f"{FEWEST_POINTS} have no panel. "
        f"{note}{' ' * bool(note)}Dots: `tables/evaluation.csv.gz`; lines:"
    )


def scatter(
    rows: pd.DataFrame, lines: pd.DataFrame, x: str, y: str, styles: dict[str, ArmStyle]
) -> Figure:
    """A panel per arm with its pairs and its regression line.

    Args:
        rows: of one estimator.
        lines: :func:`homoreg.study.tables.regression` of the same rows and metrics.
        x: a metric.
        y: another one.
        styles: of the arms.
    """
    by_arm = {line["arm"]: line for line in lines.to_dict("records")}
    points = {arm: finite_points(rows[rows["arm"] == arm], x, y) for arm in by_arm}

    def panel(ax: Axes, arm: str) -> None:
        style = styles[arm]
        across, up = points[arm].T
        look: dict[str, Any] = {
            "facecolor": f"{style.color}66",
            "edgecolor": style.color,
            "linewidth": 0.4,
        }
        ax.scatter(across, up, 12, marker=style.marker, rasterized=True, **look)
        for other, line in by_arm.items():
            if np.isnan(line["slope"]):
                continue
            ends = np.array([points[other][:, 0].min(), points[other][:, 0].max()])
            look = OWN_LINE if other == arm else OTHER_LINE
            ax.plot(ends, line["slope"] * ends + line["intercept"], **look)
        line = by_arm[arm]
        slope, rho = signed(line["slope"]), signed(line["spearman"])
        panel_title(ax, arm, f"n = {line['n']} of {line['pairs']}\nslope {slope}, ρ {rho}")

    figure = panels(list(by_arm), panel, sharex=True)
    figure.supxlabel(plotted(rows, x)[1], fontsize=9)
    figure.supylabel(plotted(rows, y)[1], fontsize=9)
    return figure


def panel_title(ax: Axes, arm: str, detail: str) -> None:
    """The arm in bold, with lines of detail between it and the panel."""
    pad = 15 + 9 * detail.count("\n")
    ax.set_title(arm, loc="left", fontweight="bold", pad=pad, parse_math=False)
    ax.text(0, 1.03, detail, transform=ax.transAxes, fontsize=7.5, color=GRAY)


def signed(value: float) -> str:
    """With two decimals and the minus of the ticks; a dash for NaN."""
    return "–" if np.isnan(value) else f"{value:+.2f}".replace("-", "−")


@styled
def recall_curves(rows: pd.DataFrame, styles: dict[str, ArmStyle]) -> Figure:
    """Share of pairs with a corner error below a threshold, of which AUC is the integral."""
    estimators = list(dict.fromkeys(rows["estimator"]))
    limit = max(AUC_THRESHOLDS_PX)
    figure, axes = side_by_side(estimators, 3.4)
    for ax, estimator in zip(axes, estimators, strict=True):
        of_estimator = rows[rows["estimator"] == estimator]
        for number, arm in enumerate(order_arms(of_estimator["arm"])):
            errors = of_estimator.loc[of_estimator["arm"] == arm, "corner_error_px"]
            values = np.sort(errors.fillna(np.inf).to_numpy(float))
            x = np.concatenate([[0.0], values[values < limit], [limit]])
            recall = 100 * np.arange(x.size - 1) / values.size
            # Markers are offset between curves, so that they do not hide each other.
            every, label = (0.03 + 0.012 * number, 0.17), f"{arm} (n = {values.size})"
            line = styles[arm].line | {"markersize": 5, "markevery": every, "label": label}
            ax.plot(x, np.append(recall, recall[-1]), **line)
        ax.set_title(estimator, loc="left", fontweight="bold")
        ax.set_xlabel("corner error below (px)")
        ax.set(xlim=(0, limit), ylim=(0, 100))
    axes[0].set_ylabel("pairs (%)")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=3.5)
    return figure


def loss_curves(losses: pd.DataFrame, styles: dict[str, ArmStyle]) -> Figure:
    """Training and validation loss in evaluation mode, a panel per arm.

    Lines are means over an arm's seeds, bands reach from the lowest to the highest seed; the thin
    line is the loss that the optimizer saw, with dropout.

    Args:
        losses: :func:`homoreg.study.tables.loss_table` of one protocol.
        styles: of the arms.
    """
    lines = {
        "val/loss": ("validation", "-", 1.8, 1.0),
        "train/loss_eval": ("training", "--", 1.8, 1.0),
        "train/loss": ("training, as optimized", ":", 1.0, 0.7),
    }

    def panel(ax: Axes, arm: str) -> None:
        of_arm = losses[losses["arm"] == arm]
        color = styles[arm].color
        for loss, (label, linestyle, width, alpha) in lines.items():
            curve = of_arm[of_arm["loss"] == loss]
            if curve.empty:
                continue
            done = curve["epoch"] + 1
            line: dict[str, Any] = {"linestyle": linestyle, "linewidth": width, "alpha": alpha}
            ax.plot(done, curve["mean"], color=color, label=label, **line)
            if loss != "train/loss":
                low, high = curve["low"], curve["high"]
                ax.fill_between(done, low, high, color=color, alpha=0.15, linewidth=0)
        seeds = int(of_arm["seeds"].max())
        panel_title(ax, arm, f"n = {seeds} seed{'s' * (seeds > 1)}")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))

    figure = panels(order_arms(losses["arm"]), panel, sharex=True)
    figure.supxlabel("epochs", fontsize=9)
    figure.supylabel("loss", fontsize=9)
    legend_above(figure)
    return figure


def interval_marks(
    ax: Axes, table: pd.DataFrame, by: str, lines: list[str], styles: dict[str, ArmStyle]
) -> None:
    """A mark with an interval for each row of a table, on the line of its value of a column.

    Args:
        ax: where to draw.
        table: ``arm``, ``value``, ``low``, ``high`` and the column ``by``.
        by: where this is not the arm, the arms of a line are drawn above each other.
        lines: the values of ``by`` from top to bottom.
        styles: of the arms.
    """
    arms = list(styles)
    for arm, own in table.groupby("arm", sort=False):
        lift = 0.0 if by == "arm" else 0.8 * (arms.index(str(arm)) / len(arms) - 0.5)
        value = own["value"].replace([np.inf, -np.inf], np.nan)
        reach = [(value - own["low"]).fillna(0.0), (own["high"] - value).fillna(0.0)]
        look = styles[str(arm)].mark | {"markersize": 5, "elinewidth": 1.5}
        look["label"] = "_named on its line" if by == "arm" else arm
        ax.errorbar(value, own[by].map(lines.index) + lift, xerr=reach, **look)
    ax.set_yticks(range(len(lines)), lines, parse_math=False)
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)


def legend_above(figure: Figure) -> None:
    """What the first panel shows, above all panels."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    look: dict[str, Any] = {"frameon": False, "fontsize": 8, "handlelength": 4}
    figure.legend(handles, labels, loc="outside upper left", ncols=6, **look)


@styled
def panels(
    names: Sequence[str],
    draw: Callable[[Axes, str], None],
    height: float = 2.2,
    sharex: bool = False,
    sharey: bool = True,
) -> Figure:
    """A panel per name, each ``height`` inches, at most :data:`COLUMNS` side by side."""
    columns = min(COLUMNS, len(names))
    lines = -(-len(names) // columns)
    width = WIDTH_IN * min(1.0, max(columns, 2) / COLUMNS)
    figure = Figure(figsize=(width, 0.6 + height * lines))
    axes = figure.subplots(lines, columns, squeeze=False, sharex=sharex, sharey=sharey).flatten()
    for ax, name in zip(axes, names, strict=False):
        draw(ax, name)
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    # The lowest panel of each column has tick labels.
    for ax in axes[max(0, len(names) - columns) : len(names)]:
        ax.tick_params(labelbottom=True)
    return figure


PANELS_PER_ROW = 4


def side_by_side(
    names: Sequence[str], height_in: float, sharex: bool = False
) -> tuple[Figure, Sequence[Axes]]:
    """A figure that fills the page, with a panel per name on one y axis, in rows of that height."""
    columns = min(len(names), PANELS_PER_ROW)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH_IN, height_in * rows))
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=True).ravel()
    for unused in axes[len(names) :]:
        unused.remove()
    return figure, axes[: len(names)].tolist()
