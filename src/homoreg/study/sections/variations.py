"""What a sweep varied on purpose: corrections and doses."""

from functools import partial

import numpy as np
import pandas as pd

from homoreg.study import seed_figures, variations
from homoreg.study.arms import protocol_label
from homoreg.study.comparisons import OUTCOMES
from homoreg.study.data import BASELINE, StudyData
from homoreg.study.document import Column, Figure, Part, Section, Table, number, with_interval


def ablation(study: StudyData) -> Section | None:
    table = variations.ablation_table(study.done, study.rows)
    if not len(table):
        return None
    part = Table(
        "ablation",
        "The effect of each correction of the notebook's protocol alone, by arm: medians over the "
        "pairs and AUC of the corner error at 5 px (0 to 100), as means over seeds with the 95 % "
        "interval over seeds and photos. Difference: AUC minus that of `correction=none`, paired "
        "by seed. Error and κ are in the columns that the run's own analysis reads, over the share "
        "of rows that it keeps; errors of different columns are not comparable. `all` is every "
        "correction together.",
        "ablation",
        table,
        ABLATION_COLUMNS,
        by=["arm"],
    )
    return Section("ablation", "The effect of each correction", [part], {"ablation": table})


ABLATION_COLUMNS = [
    Column("correction", "correction"),
    Column("seeds", "seeds"),
    Column("pairs", "n"),
    with_interval("precision_3px", "precision at 3 px", 2),
    with_interval("recall_3px", "recall at 3 px", 2),
    with_interval("auc_5px", "AUC 5 px", 1),
    Column("difference", "difference", 1, ("low", "high")),
    Column("error_column", "error read"),
    Column("error", "error", 2),
    Column("kappa_column", "κ read"),
    Column("kappa", "κ", 1),
    Column("kept_percent", "rows kept (%)", 0),
]


def dose(study: StudyData) -> Section | None:
    if not len(study.rows):
        return None
    arms = pd.concat([_with_levels(study, protocol) for protocol in study.evaluated])
    doses = variations.dose_table(study.done[~study.varied_on_purpose], arms)
    if not len(doses):
        return None
    parts: list[Part] = []
    best = []
    for protocol in map(str, doses["protocol"].unique()):
        of_protocol = doses[doses["protocol"] == protocol]
        estimator, primary = study.primary[protocol], study.analyses[protocol].outcomes[0]
        outcome, where = OUTCOMES[primary], f"{estimator}, {protocol_label(protocol)}"
        best.append(variations.winners(of_protocol, primary, outcome.better))
        none = arms[(arms["protocol"] == protocol) & (arms["estimator"] == estimator)]
        none = none[none["arm"] == BASELINE].filter(regex="_mean$")
        reference = {
            str(name).removesuffix("_mean"): float(values.iloc[0])
            for name, values in none.items()
            if len(values)
        }
        metrics: dict[str, str] = {primary: outcome.label.partition(",")[0]}
        metrics |= seed_figures.metric_labels(variations.DOSE_METRICS)
        columns = [Column(name, name) for name in ("option", "dose", "other settings", "seeds")]
        columns += [with_interval(name, label, 2) for name, label in metrics.items()]
        shown = best[-1][best[-1]["estimator"] == estimator]
        if len(shown):
            parts.append(
                Table(
                    f"winners_{protocol}",
                    f"The best dose of each regularizer, {where}: the best mean over the seeds of "
                    f"the config's first outcome ({metrics[primary]}, {outcome.better} is better). "
                    "This is a choice and not a test; the number of the chosen dose is too good by "
                    "the choice. Without regularization: "
                    f"{number(2)(reference.get(primary, np.nan))}.",
                    "winners",
                    shown,
                    columns,
                    by=["regularizer"],
                )
            )
        own = of_protocol[of_protocol["estimator"] == estimator]
        for key, part in own.groupby(["regularizer", "option"], sort=False):
            regularizer, option = map(str, key)
            parts.append(
                Figure(
                    f"dose_{protocol}_{regularizer}_{option}",
                    f"{regularizer}, {where}: response to {option.replace('_', ' ')}. Means over n "
                    f"seeds with 95 % intervals; dotted: {BASELINE}.",
                    "dose",
                    partial(seed_figures.dose_curves, part, metrics, reference),
                )
            )
    frames = {"dose": doses, "winners": pd.concat(best)}
    return Section("dose", "Dose and response", parts, frames, open=bool(study.crowded()))


def _with_levels(study: StudyData, protocol: str) -> pd.DataFrame:
    """The arms' numbers joined with their outcomes."""
    levels = study.levels[protocol]
    arms = study.arms[study.arms["protocol"] == protocol]
    keys = ["protocol", "estimator", "arm"]
    new = [name for name in map(str, levels) if name not in {*arms, "seeds", "photos"}]
    return arms.merge(levels[[*keys, *new]], on=keys)
