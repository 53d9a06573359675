"""Every arm against `none`, seed by seed."""

from functools import partial

import pandas as pd

from homoreg.study import seed_figures
from homoreg.study.analysis import left_out
from homoreg.study.arms import protocol_label
from homoreg.study.comparisons import OUTCOMES
from homoreg.study.data import BASELINE, StudyData
from homoreg.study.document import (
    VERDICT,
    Column,
    Figure,
    Part,
    Section,
    Table,
    bullets,
    capitalized,
    escape,
    probability,
)
from homoreg.study.statistics import MAX_SKEWNESS, fewest_seeds, sign_flip_power

LABELS = {name: outcome.label for name, outcome in OUTCOMES.items()}
COLUMNS = [
    Column("arm", "arm"),
    Column("seeds", "seeds"),
    Column("mean_baseline", BASELINE, 3),
    Column("mean_arm", "arm's", 3),
    Column("difference", "difference", 3, ("low", "high")),
    Column("effect_size", "effect size", 2),
    Column("p_holm", "p, Holm", probability),
    Column("p_equivalence_holm", "p, equivalence", probability),
    VERDICT,
]
# The page shows these beside the hierarchy of outcomes; the others are in the CSV.
SHOWN = ["log10_predicted_corner_error", "log10_kappa", "match_count", "failure_rate"]
SHOWN += ["precision_3px", "recall_3px"]
NOTEBOOK = ["log10_kappa_notebook", "log10_rmse_notebook"]


def comparison(study: StudyData) -> Section | None:
    """Differences from the baseline; absent where no protocol has it and another arm beside it."""
    comparisons = study.comparisons
    if not len(comparisons):
        return None
    parts: list[Part] = [
        "The unit of inference is the training run. Arms share initial weights, data order, pairs "
        "and keypoints of their seed, and the runs of one seed are compared. Intervals are 95 %, "
        "over seeds (Student's t) and photos (bootstrap). p is the larger of that t-test's and of "
        "the exact sign-flip test over seeds, with Holm's correction over the arms of an outcome. "
        "Equivalence: two one-sided tests within the margin. Margins, outcomes and their order "
        "were fixed in the config beforehand: the first outcome decides, the others describe. An "
        "outcome that is near one end of its range in all arms, or infinite, is not informative."
    ]
    lines, tables, drawn = [], [], []
    for protocol in study.protocols:
        analysis, estimator = study.analyses[protocol], study.primary[protocol]
        names = [*analysis.outcomes, *SHOWN, *(NOTEBOOK if protocol == "notebook" else [])]
        own = comparisons.query("protocol == @protocol and estimator == @estimator")
        own = own[own["metric"].isin(names)]
        own = own.sort_values("metric", key=lambda of: of.map(names.index), kind="stable")
        if len(own):
            tables.append(own)
            lines += _remarks(study, protocol, own)
    table = pd.concat(tables)
    for protocol, suffix, label, own in study.drawn(table):
        rows, estimator = study.rows_of(protocol), study.primary[protocol]
        trained = rows[(rows["estimator"] == estimator) & (rows["run"] != "")]
        drawn.append(
            Figure(
                f"forest{suffix}",
                f"{label}{estimator}: difference of each arm from {BASELINE} with its 95 % "
                "interval over seeds and photos. Gray: within the margin of equivalence. "
                f"{left_out(study.analyses[protocol], trained)}",
                "comparisons",
                partial(seed_figures.difference_figure, own, "metric", LABELS, study.styles),
            )
        )
    shown = Table(
        "comparisons",
        f"Differences from {BASELINE} over paired seeds; p and p of equivalence after Holm's "
        "correction. Other estimators, margins, the seeds' skewness and each test by itself are in "
        "the CSV.",
        "comparisons",
        table.assign(outcome=table["metric"].map(LABELS)),
        COLUMNS,
        by=["protocol", "estimator", "outcome"],
    )
    parts += [bullets(lines), *drawn, shown]
    return Section("comparison", f"Against {BASELINE}", parts, {"comparisons": comparisons})


def _remarks(study: StudyData, protocol: str, own: pd.DataFrame) -> list[str]:
    """The outcomes in their order, the power for the family of arms, and skewed differences."""
    analysis, estimator = study.analyses[protocol], study.primary[protocol]
    label = capitalized(protocol_label(protocol))
    outcomes = "; ".join(f"{n}. {LABELS[name]}" for n, name in enumerate(analysis.outcomes, 1))
    others = ", ".join(name for name in analysis.estimators if name != estimator)
    rest = f"; then the first under {others}, if informative" if others else ""
    lines = [f"{label}: outcomes in the order fixed beforehand, {estimator}: {outcomes}{rest}."]
    arms, seeds = own["arm"].nunique(), int(own["seeds"].min())
    if seeds >= fewest_seeds(arms):
        power = sign_flip_power(1.0, seeds, tests=arms)
        lines.append(
            f"{label}: with {seeds} seeds and Holm over {arms} arms, a difference of one standard "
            f"deviation of the seeds' differences is found with probability {power:.2f}, and a "
            "smaller one less often; the photos lower this further."
        )
    skewed = own[own["skewness"].abs() > MAX_SKEWNESS]
    if len(skewed):
        short = skewed["metric"].map(LABELS).str.partition(" (")[0]
        which = ", ".join(map("{} in {}".format, skewed["arm"].map(escape), short))
        lines.append(
            f"{label}: the seeds' differences are skewed beyond ±{MAX_SKEWNESS:g}, so that p may "
            f"be too small, for {which}."
        )
    return lines
