"""What a sweep varied on purpose: corrections, doses, a search's trials."""

from functools import partial

import pandas as pd

from homoreg.study import seed_figures, variations
from homoreg.study.document import (
    Column,
    Part,
    Plate,
    Section,
    Table,
    as_text,
    number,
    view,
    with_interval,
)
from homoreg.study.gathered import Gathered
from homoreg.study.tables import PROTOCOLS


def ablation(study: Gathered) -> Section | None:
    table = variations.ablation_table(study.done, study.rows, study.models)
    if not len(table):
        return None
    parts: list[Part] = [
        Table(
            "ablation",
            "What each correction of the notebook's protocol is worth alone, by arm: medians over "
            "the pairs (AUC of the corner error at 5 px, 0 to 100), as means over seeds with the "
            "95 % t interval. Difference: AUC less that of `correction=none`, paired by seed. "
            "Error and log₁₀ κ are in the columns that the run's own analysis reads, of the share "
            "of rows that it keeps; errors of different columns do not compare. `all` is every "
            "correction together.",
            "ablation",
            view(table, ABLATION_COLUMNS, by=["arm"]),
        ),
        Plate(
            "ablation",
            "Medians of precision and recall at 3 px and AUC of the corner error at 5 px after "
            "each correction alone; bars: 95 % t intervals over n seeds; dotted: no correction.",
            "ablation",
            partial(seed_figures.ablation_plot, table),
        ),
    ]
    return Section("ablation", "What each correction is worth", parts, {"ablation": table})


ABLATION_COLUMNS = [
    Column("correction", "correction"),
    Column("seeds", "seeds"),
    Column("pairs", "n"),
    with_interval("precision_3px", "precision at 3 px", number(2)),
    with_interval("recall_3px", "recall at 3 px", number(2)),
    with_interval("auc_5px", "AUC 5 px", number(1)),
    with_interval("auc_5px_difference", "difference", number(1)),
    Column("error_column", "error read"),
    Column("error_mean", "error", number(2)),
    Column("kappa_column", "κ read"),
    Column("log10_kappa_mean", "log₁₀ κ", number(2)),
    Column("kept_percent_mean", "rows kept (%)", number(0)),
]


def dose(study: Gathered) -> Section | None:
    doses = variations.dose_table(study.done, study.models)
    if not len(doses):
        return None
    metrics = seed_figures.metric_labels(variations.DOSE_METRICS)
    columns = [
        Column("dropout", "dropout"),
        Column("weight_decay", "weight decay"),
        Column("seeds", "seeds"),
        Column("pairs", "n"),
    ]
    columns += [with_interval(name, label, number(2)) for name, label in metrics.items()]
    primary = [
        (protocol, estimator)
        for protocol in study.protocols
        if (estimator := study.primary(protocol))
    ]
    shown = pd.concat([doses[_where(doses, *chosen)] for chosen in primary])
    parts: list[Part] = []
    for place, (_, own) in enumerate(shown.groupby(["protocol", "estimator", "arm"], sort=False)):
        protocol, estimator, arm = own[["protocol", "estimator", "arm"]].iloc[0]
        parts.append(
            Plate(
                f"dose_{place + 1}" if place else "dose",
                f"{arm}, {estimator}, {PROTOCOLS[protocol]}: response to weight decay (λ in the "
                "optimizer, per step), a line per dropout rate. Means over n seeds of each run's "
                "median over the pairs (of its AUC of the corner error), with 95 % t intervals.",
                "dose",
                partial(seed_figures.dose_curves, own, metrics),
            )
        )
    parts.append(
        Table(
            "dose",
            "The same as numbers; other estimators are in `tables/dose.csv`.",
            "dose",
            view(shown, columns, by=["protocol", "estimator", "arm"]),
        )
    )
    return Section("dose", "Dose and response", parts, {"dose": doses})


def _where(doses: pd.DataFrame, protocol: str, estimator: str) -> pd.Series:
    return (doses["protocol"] == protocol) & (doses["estimator"] == estimator)


def trials(study: Gathered) -> Section | None:
    table = variations.trial_table(study.done)
    if not len(table):
        return None
    options = [name for name in table if name not in variations.TRIAL]
    columns = [
        Column("rank", "rank"),
        *(Column(str(name), str(name), as_text) for name in options),
        Column("value", "objective", number(4)),
        Column("run", "run"),
    ]
    parts: list[Part] = [
        Table(
            "trials",
            "The trials of each search, best first, by the objective that it went for.",
            "trials",
            view(table, columns, by=["objective", "direction"]),
        )
    ]
    for objective, own in table.groupby("objective", sort=False):
        names = variations.hyperparameters(own)
        if names:
            parts.append(
                Plate(
                    "_".join(["trials", *str(objective).replace("/", " ").split()]),
                    f"{objective} of each trial against each option that the search chose; the "
                    "star is the best trial.",
                    "trials",
                    partial(seed_figures.trial_scatter, own, names),
                )
            )
    return Section("trials", "Hyperparameter search", parts, {"trials": table})
