"""Every arm against `none`, seed by seed."""

from homoreg.study import seed_figures
from homoreg.study.document import (
    Column,
    Part,
    Plate,
    Section,
    Table,
    Text,
    number,
    probability,
    view,
)
from homoreg.study.gathered import Gathered
from homoreg.study.statistics import OUTCOMES, compare_arms

BASELINE = "none"
COLUMNS = [
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


def comparison(study: Gathered) -> Section | None:
    """Differences from the baseline; absent where a protocol has no such arm, or no other."""
    trained = study.rows[study.rows["run"] != ""] if len(study.rows) else study.rows
    protocols = [
        protocol
        for protocol in study.protocols
        if {BASELINE} < set(study.rows_of(protocol).get("arm", [])) & set(study.done["arm"])
    ]
    if not protocols:
        return None
    comparisons = compare_arms(trained[trained["protocol"].isin(protocols)], baseline=BASELINE)
    # Robust estimators are in the CSV.
    shown = comparisons[comparisons["estimator"] == comparisons["protocol"].map(study.primary)]
    parts: list[Part] = [
        Text(
            "The unit of inference is the training run. Arms share initial weights, data order, "
            "pairs and keypoints of their seed, so that the differences of one seed's runs are "
            "compared. The first outcome is the primary one; the others describe. Intervals are "
            "95 % t intervals over seeds, and beside them those of a bootstrap that draws seeds "
            "and pairs, crossed. p: exact sign-flip test, two-sided; Holm's correction is over the "
            "arms. Equivalence: two one-sided tests within the margin, which was stated before any "
            "result was seen. With too few seeds no verdict is possible, whatever the interval."
        )
    ]
    for _, suffix, label, own in study.drawn(shown):
        parts.append(
            Plate(
                f"forest{suffix}",
                f"{label}{own['estimator'].iloc[0]}: difference of each arm from {BASELINE}, mean "
                "and 95 % t interval over n seeds. Gray: within the margin of equivalence.",
                "comparisons",
                seed_figures.forest_plot(
                    own, {name: outcome.label for name, outcome in OUTCOMES.items()}, study.styles
                ),
            )
        )
    labelled = shown.assign(metric=shown["metric"].map(lambda name: OUTCOMES[name].label))
    parts.append(
        Table(
            "comparisons",
            f"Differences from {BASELINE} over paired seeds, {_estimators(study, protocols)}; "
            "other estimators are in `tables/comparisons.csv`.",
            "comparisons",
            view(labelled, COLUMNS, by=["protocol", "metric"]),
        )
    )
    return Section("comparison", f"Against {BASELINE}", parts, {"comparisons": comparisons})


def _estimators(study: Gathered, protocols: list[str]) -> str:
    return " and ".join(dict.fromkeys(study.primary(protocol) for protocol in protocols))
