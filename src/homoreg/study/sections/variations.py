"""What a sweep varied on purpose: corrections, doses, a search's trials."""

from functools import partial

from homoreg.study import seed_figures, variations
from homoreg.study.arms import PROTOCOLS
from homoreg.study.data import StudyData
from homoreg.study.document import Column, Figure, Part, Section, Table, number, view, with_interval


def ablation(study: StudyData) -> Section | None:
    table = variations.ablation_table(study.done, study.rows, study.models)
    if not len(table):
        return None
    parts: list[Part] = [
        Table(
            "ablation",
            "The effect of each correction of the notebook's protocol alone, by arm: medians over "
            "the pairs and AUC of the corner error at 5 px (0 to 100), as means over seeds with "
            "the 95 % t interval. Difference: AUC minus that of `correction=none`, paired by seed. "
            "Error and κ are in the columns that the run's own analysis reads, over the share of "
            "rows that it keeps; errors of different columns are not comparable. `all` is every "
            "correction together.",
            "ablation",
            view(table, ABLATION_COLUMNS, by=["arm"]),
        ),
        Figure(
            "ablation",
            "Medians of precision and recall at 3 px and AUC of the corner error at 5 px after "
            "each correction alone; bars: 95 % t intervals over n seeds; dotted: no correction.",
            "ablation",
            partial(seed_figures.ablation_plot, table),
        ),
    ]
    return Section("ablation", "The effect of each correction", parts, {"ablation": table})


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
    Column("kappa_mean", "κ", number(1)),
    Column("kept_percent_mean", "rows kept (%)", number(0)),
]


def dose(study: StudyData) -> Section | None:
    doses = variations.dose_table(study.done, study.models)
    if not len(doses):
        return None
    metrics = seed_figures.metric_labels(variations.DOSE_METRICS)
    primary = doses["protocol"].map({name: study.primary(name) for name in study.protocols})
    shown = doses[doses["estimator"] == primary]
    keys = ["protocol", "estimator", "arm", "option"]
    parts: list[Part] = []
    for place, (key, own) in enumerate(shown.groupby(keys, sort=False)):
        protocol, estimator, arm, option = map(str, key)
        parts.append(
            Figure(
                f"dose_{place + 1}" if place else "dose",
                f"{arm}, {estimator}, {PROTOCOLS[protocol]}: response to "
                f"{option.replace('_', ' ')}. Means over n seeds of each run's median over the "
                "pairs (of its AUC of the corner error), with 95 % t intervals.",
                "dose",
                partial(seed_figures.dose_curves, own, metrics),
            )
        )
    columns = [Column(name, name) for name in ("dose", "others", "seeds")]
    columns.append(Column("pairs", "n"))
    columns += [with_interval(name, label, number(2)) for name, label in metrics.items()]
    caption = "The same as numbers; other estimators are in `tables/dose.csv`."
    parts.append(Table("dose", caption, "dose", view(shown, columns, by=keys)))
    return Section("dose", "Dose and response", parts, {"dose": doses})


def trials(study: StudyData) -> Section | None:
    table = variations.trial_table(study.done)
    if not len(table):
        return None
    columns = [
        Column("rank", "rank"),
        *(Column(str(name), str(name)) for name in table if name not in variations.TRIAL),
        Column("value", "objective", number(4)),
        Column("run", "run"),
    ]
    parts: list[Part] = [
        Table(
            "trials",
            "The trials of each search, best first, by the objective of the search.",
            "trials",
            view(table, columns, by=["objective", "direction"]),
        )
    ]
    for objective, own in table.groupby("objective", sort=False):
        names = variations.hyperparameters(own.dropna(axis=1, how="all"))
        if names:
            parts.append(
                Figure(
                    "_".join(["trials", *str(objective).replace("/", " ").split()]),
                    f"{objective} of each trial against each option of the search; the star is the "
                    "best trial.",
                    "trials",
                    partial(seed_figures.trial_scatter, own, names),
                )
            )
    return Section("trials", "Hyperparameter search", parts, {"trials": table})
