"""Arms seed by seed: studies side by side, contrasts stated beforehand, all against `none`."""

from dataclasses import replace
from functools import partial

import numpy as np
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
    counted,
    escape,
    probability,
)
from homoreg.study.sections.summary import says
from homoreg.study.statistics import ALPHA, MAX_SKEWNESS, fewest_seeds, sign_flip_power

ARM, SEEDS = Column("arm", "arm"), Column("seeds", "seeds")
DIFFERENCE = Column("difference", "difference", 3, ("low", "high"))
P_HOLM = Column("p_holm", "p, Holm", probability)
STUDY_COLUMNS = [
    ARM,
    SEEDS,
    Column("pairs", "n"),
    Column("mean_baseline", "first study", 3),
    Column("mean_arm", "second study", 3),
    DIFFERENCE,
    P_HOLM,
    VERDICT,
]


def studies(study: StudyData) -> Section | None:
    """Absent where the runs are of one study."""
    if not study.matched_studies:
        return None
    table = study.between_studies
    shown = table
    if len(table):
        shown = table[table["estimator"] == table["first"].map(study.primary)]
    lines = []
    for first, second in study.matched_studies:
        names = [escape(protocol_label(protocol)) for protocol in (first, second)]
        line = f"{capitalized(names[1])}, against {names[0]}: "
        own = shown.query("first == @first and second == @second") if len(shown) else shown
        if own.empty:
            line += "no pair, arm and estimator in common, so that nothing is compared."
        else:
            row, outcome = own.iloc[0], OUTCOMES[own["metric"].iloc[0]]
            line += (
                f"{counted(row['pairs'], 'pair')} of {counted(row['photos'], 'photo')} are shared, "
                f"of {row['pairs_first']} of the first and {row['pairs_second']} of the second "
                f"({row['estimator']}). "
            )
            line += " ".join(says(one, outcome, "the first") for one in own.to_dict("records"))
        lines.append(line)
    intro = (
        "These sweeps have arms and seeds in common, so that each is a study of its own, and all "
        "other sections report them separately. Here each arm of the second study is compared with "
        "the same arm of the first, by the primary outcome, on the pairs that both evaluated and "
        "over the seeds that both have. Options that differ are listed under [What was run](#run)."
    )
    part = Table(
        "studies",
        "The same as numbers: means over the paired seeds on the n shared pairs, and the "
        "difference, second minus first, with its 95 % interval over seeds and photos. Other "
        "estimators are in the CSV.",
        "studies",
        shown,
        STUDY_COLUMNS,
        by=["first", "second"],
    )
    parts: list[Part] = [intro, bullets(lines), *([part] if len(shown) else [])]
    frames = {"studies": table} if len(table) else {}
    return Section("studies", "Between studies", parts, frames, open=True)


CONTRAST_COLUMNS = [
    ARM,
    Column("against", "against"),
    SEEDS,
    replace(DIFFERENCE, heading="difference, last epoch"),
    P_HOLM,
    VERDICT,
    Column("best_difference", "difference, best epoch", 3, ("best_low", "best_high")),
    replace(VERDICT, key="best_verdict", heading="verdict, best epoch"),
]


def contrasts(study: StudyData) -> Section | None:
    """Absent where none were stated."""
    table = study.contrasts
    if not len(table):
        return None
    shown = table[table["estimator"] == table["protocol"].map(study.primary)]
    tests = len(shown)
    parts: list[Part] = [
        f"These comparisons were stated in the config before the runs started. Their {tests} tests "
        f"are one family (Holm, {100 * ALPHA:g} %), for which a comparison takes at least "
        f"{fewest_seeds(tests)} seeds. In parentheses: the 95 % interval over seeds and photos."
    ]
    for protocol in study.protocols:
        own = shown[shown["protocol"] == protocol]
        if len(own):
            outcome = OUTCOMES[own["metric"].iloc[0]]
            lines = [
                f"{row['question']} {says(row, outcome, row['against'])}"
                + f" Not as stated: {escape(row['not_as_stated'])}." * bool(row["not_as_stated"])
                for row in own.to_dict("records")
            ]
            label = f"{capitalized(protocol_label(protocol))}:"
            parts += [label] * (len(study.protocols) > 1) + [bullets(lines)]
    marks = np.where(shown["not_as_stated"] == "", "", ", not as stated")
    parts.append(
        Table(
            "contrasts",
            "The same as numbers, after equal training (the last epoch) and with each run at its "
            "best epoch on validation patches. Other estimators, which are not part of the family, "
            "are in the CSV.",
            "contrasts",
            shown.assign(verdict=shown["verdict"] + marks),
            CONTRAST_COLUMNS,
            by=["protocol"],
        )
    )
    return Section("contrasts", "Stated beforehand", parts, {"contrasts": table}, open=True)


LABELS = {name: outcome.label for name, outcome in OUTCOMES.items()}
ARM_COLUMNS = [
    ARM,
    SEEDS,
    Column("mean_baseline", BASELINE, 3),
    Column("mean_arm", "arm's", 3),
    DIFFERENCE,
    Column("effect_size", "effect size", 2),
    P_HOLM,
    Column("p_equivalence_holm", "p, equivalence", probability),
    VERDICT,
]
# The page shows these in addition to the hierarchy of outcomes; the others are in the CSV.
SHOWN = ["log10_predicted_corner_error", "log10_kappa", "match_count", "failure_rate"]
SHOWN += ["precision_3px", "recall_3px"]
NOTEBOOK = ["log10_kappa_notebook", "log10_rmse_notebook"]


def comparison(study: StudyData) -> Section | None:
    """Differences from the baseline; absent unless a protocol has it and another arm."""
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
        "outcome that is near one end of its range in both arms, or infinite, is not informative."
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
    informative = table.groupby(["protocol", "metric"])["verdict"].transform(
        lambda verdicts: (verdicts != "not informative").any()
    )
    for protocol, suffix, label, own in study.drawn(table[informative]):
        rows, estimator = study.rows_of(protocol), study.primary[protocol]
        trained = rows[(rows["estimator"] == estimator) & (rows["run"] != "")]
        drawn.append(
            Figure(
                f"forest{suffix}",
                f"{label}{estimator}: difference of each arm from {BASELINE} with its 95 % "
                "interval over seeds and photos. Gray: within the margin of equivalence. Outcomes "
                "that are not informative in any arm have no panel. "
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
        ARM_COLUMNS,
        by=["protocol", "estimator", "outcome"],
    )
    parts += [bullets(lines), *drawn, shown]
    return Section("comparison", f"Against {BASELINE}", parts, {"comparisons": comparisons})


def _remarks(study: StudyData, protocol: str, own: pd.DataFrame) -> list[str]:
    """The outcomes in their order, the power for the family of arms, and skewed differences."""
    analysis, estimator = study.analyses[protocol], study.primary[protocol]
    label = capitalized(protocol_label(protocol))
    outcomes = "; ".join(f"{n}. {LABELS[name]}" for n, name in enumerate(analysis.outcomes, 1))
    evaluated = set(study.rows_of(protocol)["estimator"]) - {estimator}
    others = ", ".join(name for name in analysis.estimators if name in evaluated)
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
    skewed = own[(own["skewness"].abs() > MAX_SKEWNESS) & (own["seeds"] >= fewest_seeds(arms))]
    if len(skewed):
        short = skewed["metric"].map(LABELS).str.partition(" (")[0]
        which = ", ".join(map("{} in {}".format, skewed["arm"].map(escape), short))
        lines.append(
            f"{label}: the seeds' differences are skewed beyond ±{MAX_SKEWNESS:g}, so that p may "
            f"be too small, for {which}."
        )
    return lines
