"""The registry of metrics: what a row of an evaluation table holds and what each number means.

Everything that computes, summarizes, plots or documents a metric reads it here. A new metric is one
entry of :data:`METRICS` and the function in ``homoreg.evaluation.pair`` that fills its column, or
:func:`register` in a package of your own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from homoreg.errors import HomoregError

# Columns that say what a row is about, in the order of the table.
ID_COLUMNS = (
    "descriptor",
    "regularizer",
    "seed",
    "benchmark",
    "pair_id",
    "photo",
    "group",
    "estimator",
    "status",  # "ok", or why there is no estimate, such as "too_few_matches"
)
# Descriptors that learned nothing, or that know the truth.
CONTROLS = ("untrained", "raw_patches", "oracle")


@dataclass(frozen=True)
class Metric:
    """A numeric column of an evaluation table.

    Attributes:
        label: its name in headings and on axes, without the unit.
        description: one sentence for the documentation.
        unit: of its values; empty for a number without one.
        better: which values are better; empty where neither is.
        failure: what a missing value counts as in medians and quartiles, so that failing on the
            hard pairs cannot look good. None leaves the pair out: the value is a property of the
            pair, or it exists whether or not the estimate failed.
        decimals: how many are worth printing.
        summarized: whether ``summary.json`` has its median and quartiles.
        watched: whether its median over a few validation pairs is logged while a network trains,
            as ``val/<name>``; of a summarized metric, that over the benchmark is also among a run's
            final metrics.
        logarithmic: whether it spans orders of magnitude and is plotted and tested as log10.
        compute: of a metric of your own, see :func:`register`.
    """

    label: str
    description: str
    unit: str = ""
    better: Literal["lower", "higher", ""] = ""
    failure: float | None = math.inf
    decimals: int = 2
    summarized: bool = True
    watched: bool = False
    logarithmic: bool = False
    compute: Callable[..., float] | None = None

    @property
    def heading(self) -> str:
        """The label with its unit.

        >>> METRICS["corner_error_px"].heading
        'corner error (px)'
        """
        return f"{self.label} ({self.unit})" if self.unit else self.label


METRICS: dict[str, Metric] = {
    "keypoints_1": Metric(
        "keypoints, view 1",
        "Keypoints detected in view 1; unknown for a system with its own.",
        failure=None,
        decimals=0,
        summarized=False,
    ),
    "keypoints_2": Metric(
        "keypoints, view 2",
        "Keypoints detected in view 2; unknown for a system with its own.",
        failure=None,
        decimals=0,
        summarized=False,
    ),
    "repeatable": Metric(
        "repeatable keypoints",
        "Keypoints of view 1 with a keypoint of view 2 within 3 px of their true place.",
        failure=None,
        decimals=0,
        summarized=False,
    ),
    "match_count": Metric(
        "matches",
        "Matches that the matcher kept.",
        better="higher",
        failure=None,
        decimals=0,
        watched=True,
    ),
    "correct_3px": Metric(
        "correct matches",
        "Matches within 3 px of the true place in view 2.",
        better="higher",
        failure=None,
        decimals=0,
    ),
    "precision_1px": Metric(
        "precision at 1 px",
        "Share of the matches within 1 px of the true place; 0 without matches.",
        better="higher",
        failure=None,
    ),
    "precision_3px": Metric(
        "precision at 3 px",
        "Share of the matches within 3 px of the true place; 0 without matches.",
        better="higher",
        failure=None,
        watched=True,
    ),
    "precision_5px": Metric(
        "precision at 5 px",
        "Share of the matches within 5 px of the true place; 0 without matches.",
        better="higher",
        failure=None,
    ),
    "recall_3px": Metric(
        "recall at 3 px",
        "`correct_3px` over `repeatable`; undefined for a pair without repeatable keypoints.",
        better="higher",
        failure=None,
        watched=True,
    ),
    "precision_at_recall_10": Metric(
        "precision at recall 0.1",
        "Precision at 3 px of the nearest neighbors with the smallest ratios that reach a recall "
        "of 0.1, whatever ratio the matcher keeps; 0 where they do not reach it.",
        better="higher",
        failure=None,
    ),
    "corner_error_px": Metric(
        "corner error",
        "Mean distance of view 1's four corners under the estimate and under the true homography.",
        unit="px",
        better="lower",
        watched=True,
        logarithmic=True,
    ),
    "corner_error_rms_px": Metric(
        "RMS corner error",
        "Root of the mean squared distance of the same four corners.",
        unit="px",
        better="lower",
        logarithmic=True,
    ),
    "inliers": Metric(
        "inliers", "Matches that the final solve used.", better="higher", failure=0.0, decimals=0
    ),
    "kappa": Metric(
        "κ",
        "σ1/σ8 of the Hartley-normalized matrix of the inliers: how well the points determine "
        "the homography.",
        better="lower",
        decimals=1,
        watched=True,
        logarithmic=True,
    ),
    "kappa_correct": Metric(
        "κ, correct",
        "`kappa` of the inliers within 3 px of the true place alone; undefined where these are "
        "fewer than four or degenerate.",
        better="lower",
        decimals=1,
        logarithmic=True,
    ),
    "fit_gap": Metric(
        "fit gap",
        "σ8/σ9 of the matrix of all inliers: signal over residual.",
        better="higher",
        failure=0.0,
        logarithmic=True,
    ),
    "kappa_raw": Metric(
        "κ, raw",
        "σ1/σ8 of the inliers' matrix in raw pixels.",
        better="lower",
        decimals=0,
        logarithmic=True,
    ),
    "kappa_notebook": Metric(
        "κ, the notebook's",
        "Largest over smallest singular value of all matches' raw matrix: the study's.",
        decimals=0,
        logarithmic=True,
    ),
    "dop": Metric(
        "dilution of precision",
        "Expected RMS corner error for one pixel of noise.",
        unit="px/px",
        better="lower",
        logarithmic=True,
    ),
    "predicted_corner_error_px": Metric(
        "predicted corner error",
        "Expected RMS corner error from the inliers' residuals, for plain DLT by a sandwich "
        "covariance; compare `corner_error_rms_px`.",
        unit="px",
        better="lower",
        watched=True,
        logarithmic=True,
    ),
    "bound_90_px": Metric(
        "90 % bound",
        "Calibrated on validation pairs: 90 % of the estimates have a smaller RMS corner error.",
        unit="px",
        better="lower",
        failure=None,
        logarithmic=True,
    ),
    "hull_fraction": Metric(
        "hull fraction",
        "Area of the inliers' convex hull over that of view 1.",
        better="higher",
        failure=0.0,
    ),
    "rmse_gray": Metric(
        "RMSE",
        "Between view 1 and view 2 warped back by the estimate, where both are valid.",
        unit="gray levels",
        better="lower",
        decimals=1,
    ),
    "ssim": Metric(
        "SSIM",
        "Structural similarity of the same two views.",
        better="higher",
        failure=-1.0,
        decimals=3,
    ),
    "overlap_fraction": Metric(
        "overlap",
        "Share of view 1 on which the two views were compared.",
        better="higher",
        failure=0.0,
    ),
    "rmse_identity_gray": Metric(
        "RMSE without warp",
        "RMSE of the two views as they are.",
        unit="gray levels",
        better="lower",
        failure=None,
        decimals=1,
    ),
    "rmse_oracle_gray": Metric(
        "RMSE under the true homography",
        "RMSE of view 1 and view 2 warped back by the truth.",
        unit="gray levels",
        better="lower",
        failure=None,
        decimals=1,
    ),
    "rmse_notebook_gray": Metric(
        "RMSE, the notebook's",
        "The study's RMSE: the whole frame, with view 2 warped in the wrong direction.",
        unit="gray levels",
        better="lower",
        decimals=1,
    ),
    "describe_ms": Metric(
        "describing",
        "Cutting and describing the keypoints of both views.",
        unit="ms",
        better="lower",
        failure=None,
        decimals=1,
        summarized=False,
    ),
    "match_ms": Metric(
        "matching",
        "Matching the two sets of descriptors; all the time that a system takes.",
        unit="ms",
        better="lower",
        failure=None,
        decimals=1,
        summarized=False,
    ),
    "estimate_ms": Metric(
        "estimating",
        "Estimating the homography from the matches.",
        unit="ms",
        better="lower",
        failure=None,
        decimals=1,
        summarized=False,
    ),
}

COLUMNS = [*ID_COLUMNS, *METRICS]


def register(name: str, metric: Metric) -> None:
    """Add a metric of your own to the registry, from a module that ``extensions`` names.

    Args:
        name: of its column.
        metric: with a function ``compute(pair, matches, estimate)`` that returns its value, NaN
            where there is none. It gets a :class:`~homoreg.evaluation.pair.ViewPair`, a
            :class:`~homoreg.evaluation.pair.PairMatches` and a
            :class:`~homoreg.geometry.estimators.Estimate`, which may have failed.

    Raises:
        HomoregError: there is a column of this name, or no function.
    """
    if name in COLUMNS:
        raise HomoregError(f"metric {name}: there is a column of this name; choose another")
    if metric.compute is None:
        raise HomoregError(f"metric {name}: give a function compute(pair, matches, estimate)")
    METRICS[name] = metric
    COLUMNS.append(name)


def watched_metrics() -> dict[str, Metric]:
    """Those that are logged while a network trains."""
    return {name: metric for name, metric in METRICS.items() if metric.watched}


def markdown_table() -> str:
    """The metrics as the table of ``docs/evaluation.md``; a test compares them."""
    lines = [
        "| column | what it is | unit | better | a failure counts as |",
        "| --- | --- | --- | --- | --: |",
    ]
    for name, metric in METRICS.items():
        failure = "–" if metric.failure is None else f"{metric.failure:g}".replace("inf", "∞")
        lines.append(
            f"| `{name}` | {metric.description} | {metric.unit} | {metric.better} | {failure} |"
        )
    return "\n".join(lines) + "\n"
