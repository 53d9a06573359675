"""Every arm against `none`, seed by seed."""

from functools import partial

import pandas as pd

from homoreg.study import seed_figures
from homoreg.study.analysis import left_out
from homoreg.study.data import StudyData
from homoreg.study.document import (
    Column,
    Figure,
    Part,
    Section,
    Table,
    number,
    probability,
    view,
)
from homoreg.study.statistics import OUTCOMES, compare_arms

BASELINE = "none"
LABELS = {name: outcome.label for name, outcome in OUTCOMES.items()}
COLUMNS = [
    Column("metric", "outcome", str),
    Column("arm", "arm"),
    Column("seeds", "seeds"),
    Column("pairs", "n"),
    Column("mean_baseline", BASELINE, number(3)),
    Column("mean_arm", "arm's", number(3)),
    Column("difference", "difference", number(3), ("low", "high")),
    Column("bootstrap_low", "bootstrap from", number(3)),
    Column("bootstrap_high", "to", number(3)),
    Column("effect_size", "effect size", number(2)),
    Column("p", "p", probability),
    Column("p_holm", "p, Holm", probability),
    Column("margin", "margin (±)", number(2)),
    Column("p_equivalence", "p, equivalence", probability),
    Column("verdict", "verdict"),
]


# Under the corrected protocol the page shows these; the notebook's own columns are in the CSV.
OF_BOTH = ["auc_5px", "log10_predicted_corner_error", "log10_kappa", "log10_corner_error"]
OF_BOTH += ["match_count", "failure_rate", "precision_3px", "recall_3px"]
OF_NOTEBOOK = ["log10_kappa_notebook", "log10_rmse_notebook"]


def comparison(study: StudyData) -> Section | None:
    """Differences from the baseline; absent where no protocol has it and another arm beside it."""
    rows = _comparable(study)
    if not len(rows):
        return None
    comparisons = compare_arms(rows, BASELINE, study.analyses)
    # Robust estimators are in the CSV.
    shown = comparisons[comparisons["estimator"] == comparisons["protocol"].map(study.primary)]
    own_columns = shown["metric"].isin(OF_NOTEBOOK) & (shown["protocol"] == "notebook")
    shown = shown[shown["metric"].isin(OF_BOTH) | own_columns]
    parts: list[Part] = [
        (
            "The unit of inference is the training run. Arms share initial weights, data order, "
            "pairs and keypoints of their seed, so that the differences of one seed's runs are "
            "compared. The first outcome is the primary one; the others describe. Intervals are "
            "95 % t intervals over seeds, and beside them those of a bootstrap that draws seeds "
            "and pairs, crossed. p: exact sign-flip test, two-sided; Holm's correction is over the "
            "arms. Equivalence: two one-sided tests within the margin, which was stated before any "
            "result was seen. With too few seeds no verdict is possible, whatever the interval."
        )
    ]
    for protocol, suffix, label, own in study.drawn(shown):
        estimator = study.primary(protocol)
        note = left_out(study.analyses[protocol], rows[_of(rows, protocol, estimator)])
        parts.append(
            Figure(
                f"forest{suffix}",
                f"{label}{estimator}: difference of each arm from {BASELINE}, mean and 95 % t "
                f"interval over n seeds. Gray: within the margin of equivalence. {note}",
                "comparisons",
                partial(seed_figures.forest_plot, own, LABELS, study.styles),
            )
        )
    parts.append(
        Table(
            "comparisons",
            f"Differences from {BASELINE} over paired seeds. Other estimators, and the interval of "
            "the inverted sign-flip test, are in the CSV.",
            "comparisons",
            view(_labeled(shown), COLUMNS, by=["protocol", "estimator"]),
        )
    )
    return Section("comparison", f"Against {BASELINE}", parts, {"comparisons": comparisons})


def _comparable(study: StudyData) -> pd.DataFrame:
    """Rows of the protocols' plain arms: corrections and searches have sections of their own."""
    if not len(study.rows):
        return study.rows
    runs = study.done[~study.varied_on_purpose]
    rows = study.rows[study.rows["run"].isin(runs["run"])]
    arms = rows.groupby("protocol")["arm"].agg(set)
    compared = [protocol for protocol, names in arms.items() if {BASELINE} < names]
    return rows[rows["protocol"].isin(compared)]


def _of(rows: pd.DataFrame, protocol: str, estimator: str) -> pd.Series:
    return (rows["protocol"] == protocol) & (rows["estimator"] == estimator)


def _labeled(shown: pd.DataFrame) -> pd.DataFrame:
    """The outcomes by their names, each once above its arms."""
    repeated = shown.duplicated(["protocol", "estimator", "metric"])
    return shown.assign(metric=shown["metric"].map(LABELS).mask(repeated, ""))
