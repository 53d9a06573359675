"""How far the corners are from the truth, how certain that is, and the same at the best epoch."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from homoreg.aggregates import AUC_THRESHOLDS_PX
from homoreg.metrics import METRICS
from homoreg.study import figures as draw
from homoreg.study.conditioning import BOUND, bound_coverage
from homoreg.study.data import StudyData
from homoreg.study.document import SEEDS, Column, Figure, Part, Section, Table, with_interval
from homoreg.study.tables import best_epoch_table, model_table, regression

ACCURACY = ["match_count", "precision_3px", "recall_3px", "corner_error_px"]
STABILITY = ["predicted_corner_error_px", "kappa", "kappa_correct"]


def accuracy(study: StudyData) -> Section | None:
    if not len(study.rows):
        return None
    rates = [Column(f"auc_{t}px_mean", f"AUC {t} px", 1) for t in AUC_THRESHOLDS_PX]
    rates.append(Column("failed_percent_mean", "failed (%)", 1))
    parts: list[Part] = [
        "The corner error is the mean distance in pixels of view 1's corners under the estimated "
        "and the true homography. A failed estimate has an infinite error, and an estimate that "
        "folds the view counts as failed. No pair is left out: in medians and quartiles a failed "
        "estimate counts as the worst value. Nothing is tested here; a difference between two rows "
        "may be due to a seed.",
        _by_arm(
            study,
            "accuracy",
            "AUC of the corner error (0 to 100, higher is better), failed estimates, and medians "
            "over n pairs. AUC depends on n: compare rows of the same pairs only. A pair without "
            "matches has precision 0.",
            rates,
            ACCURACY,
        ),
    ]
    parts += [
        Figure(
            f"recall{suffix}",
            f"{label}Share of pairs with a corner error below a threshold (px); AUC is the area "
            "under this curve, up to linear interpolation. Seeds of an arm are pooled; n counts "
            "pairs times seeds.",
            "evaluation",
            partial(draw.recall_curves, rows, study.styles),
        )
        for _, suffix, label, rows in study.drawn(study.rows)
    ]
    frames = {"evaluation": study.rows, "models": study.models, "arms": study.arms}
    return Section("accuracy", "Accuracy", parts, frames)


def stability(study: StudyData) -> Section | None:
    """κ, the predicted error, and how both go with the true error."""
    if not len(study.rows):
        return None
    parts: list[Part] = [
        _by_arm(
            study,
            "stability",
            "How well the matches determine the homography: κ = σ₁/σ₈ of the normalized system of "
            "the final solve (1 is best), and the RMS corner error that its covariance predicts. "
            "κ is of the points that the solve used, right or wrong, unless it says correct. "
            "Medians over n pairs.",
            [],
            STABILITY,
        )
    ]
    lines = []
    for protocol, suffix, label, rows in study.drawn(study.rows):
        estimator = study.primary[protocol]
        own = rows[rows["estimator"] == estimator]
        for name, (x, y) in draw.RELATIONS.items():
            line = regression(own, x, y)
            drawn = line[line["n"] >= draw.FEWEST_POINTS]
            if len(drawn):
                lines.append(line)
                caption = label + draw.scatter_caption(x, y, estimator)
                figure = partial(draw.scatter, own, drawn, x, y, study.styles)
                parts.append(Figure(f"{name}{suffix}", caption, "regression", figure))
    frames = {"regression": pd.concat(lines)} if lines else {}
    return Section("stability", "Stability", parts, frames)


def uncertainty(study: StudyData) -> Section | None:
    """Absent where no table has bounds."""
    if BOUND not in study.rows or study.rows[BOUND].isna().all():
        return None
    table = pd.concat(
        [
            bound_coverage(study.rows_of(protocol)).assign(protocol=protocol)
            for protocol in study.evaluated
        ],
        ignore_index=True,
    )
    columns = [
        Column("arm", "model"),
        SEEDS,
        Column("n", "estimates"),
        with_interval("covered", "within the bound", 3),
    ]
    part = Table(
        "coverage",
        "Share of the pairs with an estimate whose RMS corner error is at most the stated 90 % "
        "bound, with a 95 % interval over seeds and photos. It holds for planar warps of "
        "photographs like these.",
        "coverage",
        study.readable(table),
        columns,
        by=["protocol", "estimator"],
    )
    return Section("uncertainty", "Does the bound hold?", [part], {"coverage": table})


BEST_EPOCH_COLUMNS = [
    Column("weights", "weights"),
    Column("seeds", "seeds"),
    Column("pairs", "n"),
    Column("epochs_mean", "epochs", 1),
    Column("auc_5px_mean", "AUC 5 px", 1),
    Column("precision_3px_median_mean", "precision at 3 px", 2),
    Column("recall_3px_median_mean", "recall at 3 px", 2),
    Column("match_count_median_mean", "matches", 0),
]


def best_epoch(study: StudyData) -> Section | None:
    if not len(study.best_rows):
        return None
    of_runs = model_table(study.best_rows)
    table = best_epoch_table(study.models, of_runs, study.done)
    part = Table(
        "best_epoch",
        "The last epoch is equal training; the best epoch of a run is the one that "
        "`callbacks.best_checkpoint` chose on validation pairs, by one rule for all arms. Means "
        "over seeds of each run's median over the pairs or of its AUC of the corner error (0 to "
        "100). Epochs: how long the weights were trained. Each run: `tables/models.csv` and, at "
        "its best epoch, `tables/best_epoch_runs.csv`.",
        "best_epoch",
        study.readable(table),
        BEST_EPOCH_COLUMNS,
        by=["protocol", "estimator", "arm"],
    )
    frames = {"best_epoch": table, "best_epoch_runs": of_runs}
    return Section("best_epoch", "Each arm at its best epoch", [part], frames)


def _by_arm(
    study: StudyData, name: str, caption: str, columns: Sequence[Column], metrics: Sequence[str]
) -> Table:
    """A row per protocol, estimator and arm with its rates and the medians of metrics."""
    columns = [
        *(Column("arm", "model"), SEEDS, Column("pairs", "n"), *columns),
        *(
            Column(f"{key}_median_mean", METRICS[key].heading, METRICS[key].decimals)
            for key in metrics
        ),
    ]
    caption += (
        " Means over the seeds of an arm of each run's number; an arm with a run whose median is "
        "infinite has an infinite mean. Intervals, which are over seeds and photos, are in the "
        "summary and with the comparisons. Each run, with quartiles and the reasons of failures: "
        "`tables/models.csv`."
    )
    by = ["protocol", "estimator"]
    return Table(name, caption, "arms", study.readable(study.arms), columns, by)
