"""The claims page: what the study said, and what seed-level tests say about it.

A claim is a conjunction of statements about a number per run (:data:`CLAIMS`). Each statement is
tested, and so is its opposite; under one protocol all these tests are one Holm family. A claim is
supported where every statement holds, refuted where the opposite of one does, and undecided
otherwise. docs/statistics.md has the reasons.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from homoreg.aggregates import quartiles
from homoreg.study.analysis import ANALYSES, Analysis
from homoreg.study.statistics import (
    ALPHA,
    MOST_SEEDS,
    OUTCOMES,
    Alternative,
    Outcome,
    effect_size,
    equivalence_test,
    fewest_seeds,
    holm,
    outside_test,
    protocol_groups,
    run_correlation,
    seeds_needed,
    sign_flip_test,
    t_interval,
)

Kind = Literal["greater", "less", "equivalent"]

# A run's numbers that statements are about, and how a sentence calls them. Which columns κ and the
# error are taken from is the protocol's choice (Analysis).
MEASURES = {
    "matches": "median match count",
    "kappa": "log₁₀ median κ",
    "kappa_spread": "interquartile range of log₁₀ κ",
    "predicted": "log₁₀ median predicted error",
    "error": "log₁₀ median error",
    "correlation": "Spearman's ρ of κ and error over pairs",
    "loss_gap": "validation loss less training loss",
}


@dataclass(frozen=True)
class Statement:
    """One testable sentence.

    Attributes:
        measures: keys of :data:`MEASURES`. Of several, one is enough.
        arm: whose.
        kind: how the arm's number compares, averaged over seeds.
        reference: the arm to compare with, seed by seed; ``None`` compares with 0.
        margin: of an equivalence, ±.
    """

    measures: tuple[str, ...]
    arm: str
    kind: Kind
    reference: str | None = None
    margin: float = np.nan

    @property
    def text(self) -> str:
        """As a sentence."""
        measured = " or ".join(MEASURES[name] for name in self.measures)
        if self.kind == "equivalent":
            other = f"equivalent to that of {self.reference}" if self.reference else "0"
            return f"{measured} of {self.arm} is {other} within ±{self.margin:g}"
        comparative = "above" if self.kind == "greater" else "below"
        return f"{measured} of {self.arm} is {comparative} that of {self.reference}"


@dataclass(frozen=True)
class Claim:
    """What the study said, and the statements that together mean it."""

    text: str
    statements: tuple[Statement, ...]


def _above(measure: str, arm: str, reference: str) -> Statement:
    return Statement((measure,), arm, "greater", reference)


def _below(measure: str, arm: str, reference: str) -> Statement:
    return Statement((measure,), arm, "less", reference)


def _steady(measure: str, arm: str, reference: str | None, margin: float) -> Statement:
    return Statement((measure,), arm, "equivalent", reference, margin)


CLAIMS = {
    1: Claim(
        "Dropout and hybrid keep more matches than none and l2",
        (
            _above("matches", "dropout", "none"),
            _above("matches", "dropout", "l2"),
            _above("matches", "hybrid", "none"),
            _above("matches", "hybrid", "l2"),
        ),
    ),
    2: Claim(
        "Regularization changes κ little; dropout is the most stable",
        (
            _steady("kappa", "l2", "none", 0.1),
            _steady("kappa", "dropout", "none", 0.1),
            _steady("kappa", "hybrid", "none", 0.1),
            _below("kappa_spread", "dropout", "none"),
            _below("kappa_spread", "dropout", "l2"),
            _below("kappa_spread", "dropout", "hybrid"),
        ),
    ),
    3: Claim(
        "None and l2 have the lowest alignment error, hybrid the highest",
        (
            _below("error", "none", "dropout"),
            _below("error", "none", "hybrid"),
            _below("error", "l2", "dropout"),
            _below("error", "l2", "hybrid"),
            _above("error", "hybrid", "dropout"),
        ),
    ),
    4: Claim(
        "κ and alignment error are not related",
        (
            _steady("correlation", "none", None, 0.1),
            _steady("correlation", "l2", None, 0.1),
            _steady("correlation", "dropout", None, 0.1),
            _steady("correlation", "hybrid", None, 0.1),
        ),
    ),
    5: Claim(
        "Regularization trades precision for stability",
        (
            Statement(("kappa", "predicted"), "dropout", "less", "none"),
            _above("error", "dropout", "none"),
            Statement(("kappa", "predicted"), "hybrid", "less", "none"),
            _above("error", "hybrid", "none"),
        ),
    ),
    6: Claim(
        "Regularization closes the gap between training and validation",
        (
            _below("loss_gap", "l2", "none"),
            _below("loss_gap", "dropout", "none"),
            _below("loss_gap", "hybrid", "none"),
        ),
    ),
}
# A statement and its opposite are two tests.
TESTS = 2 * sum(len(claim.statements) for claim in CLAIMS.values())
MIN_SEEDS = fewest_seeds(TESTS, "greater")


def judge_claims(
    rows: pd.DataFrame, training: pd.DataFrame, analyses: Mapping[str, Analysis] = ANALYSES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decide every claim of the study under each protocol that has rows.

    Args:
        rows: the evaluation's, of one estimator and one benchmark, with ``protocol``, ``arm``,
            ``seed``, ``pair_id``, ``status``, ``match_count`` and the columns that the protocol's
            analysis names; ``predicted_corner_error_px`` under the corrected one.
        training: ``protocol``, ``arm``, ``seed``, ``final_train_loss`` and ``final_val_loss``, both
            in evaluation mode.
        analyses: by protocol.

    Returns:
        ``claims``: ``protocol, claim, text, verdict`` (``supported``, ``refuted``, ``undecided``)
        and ``would_take``, what a decision takes, empty where there is one.

        ``statements``: ``protocol, claim, statement, kind``; ``seeds`` that count; ``estimate``,
        the mean over seeds of the paired difference, with its 95 % t interval ``low`` to ``high``;
        ``effect_size`` (Hedges' g_z); ``p`` of the statement and ``p_opposite``, one-sided
        sign-flip tests; both after Holm over all of the protocol's tests; ``margin``; ``holds``,
        ``opposite_holds``; ``note`` with whatever was left out or counts as something else.

    Raises:
        HomoregError: two runs with the same arm and seed, or an unknown protocol.
        ValueError: several estimators.
    """
    claims: list[dict[str, Any]] = []
    statements = []
    for (protocol, _), group in protocol_groups(rows, analyses):
        if any(record["protocol"] == protocol for record in claims):
            raise ValueError("claims are about one estimator: pass the rows of one")
        of_protocol = training[training["protocol"] == protocol]
        runs = run_measures(group, of_protocol, analyses[protocol])
        table = pd.DataFrame(
            [
                {"protocol": protocol, "claim": number, "statement": statement.text}
                | _test(statement, runs, analyses[protocol])
                for number, claim in CLAIMS.items()
                for statement in claim.statements
            ]
        )
        adjusted = holm([*table["p"], *table["p_opposite"]])
        table["p_holm"], table["p_opposite_holm"] = np.split(adjusted, 2)
        table["holds"] = table["p_holm"] <= ALPHA
        table["opposite_holds"] = table["p_opposite_holm"] <= ALPHA
        for number, claim in CLAIMS.items():
            own = table[table["claim"] == number]
            verdict = _verdict(own)
            would_take = _would_take(own) if verdict == "undecided" else ""
            claims.append(
                {"protocol": protocol, "claim": number, "text": claim.text}
                | {"verdict": verdict, "would_take": would_take}
            )
        statements.append(table)
    columns = ["protocol", "claim", "text", "verdict", "would_take"]
    joined = pd.concat(statements, ignore_index=True) if statements else pd.DataFrame()
    return pd.DataFrame(claims, columns=columns), joined.reindex(columns=STATEMENT_COLUMNS)


STATEMENT_COLUMNS = [
    *("protocol", "claim", "statement", "kind", "seeds", "estimate", "low", "high", "effect_size"),
    *("p", "p_opposite", "p_holm", "p_opposite_holm", "margin", "holds", "opposite_holds", "note"),
]


def run_measures(rows: pd.DataFrame, training: pd.DataFrame, analysis: Analysis) -> pd.DataFrame:
    """The measures of each run: a row per ``(arm, seed)``, a column per key of :data:`MEASURES`.

    Besides, ``pairs`` that were judged, ``left_out`` by the analysis, ``uncorrelated`` that have no
    κ, and ``correlation_of_all`` with these ranked last. NaN where a run has no such number: no
    pair left, no losses written.
    """
    kappa, error = log_median(analysis.kappa), log_median(analysis.error)
    records = {}
    for key, of_run in rows.groupby(["arm", "seed"]):
        kept = analysis.apply(of_run)
        log_kappa = kappa.pair_values(kept)
        q1, _, q3 = quartiles(log_kappa)
        rho, rho_of_all, n = run_correlation(kept, analysis.kappa, analysis.error)
        record = {
            "matches": OUTCOMES["match_count"].of(kept["match_count"].to_numpy(float)),
            "kappa": kappa.of(log_kappa.to_numpy()),
            "kappa_spread": q3 - q1,
            "error": error.of(error.pair_values(kept).to_numpy()),
            "correlation": rho,
            "correlation_of_all": rho_of_all,
            "pairs": len(of_run),
            "left_out": len(of_run) - len(kept),
            "uncorrelated": len(kept) - n,
        }
        if analysis.kappa == "kappa":
            predicted = OUTCOMES["log10_predicted_corner_error"]
            record["predicted"] = predicted.of(predicted.pair_values(kept).to_numpy())
        records[key] = record
    measured = pd.DataFrame.from_dict(records, orient="index")
    measured.index = pd.MultiIndex.from_tuples(measured.index, names=["arm", "seed"])
    losses = training.astype({"seed": int}).set_index(["arm", "seed"])
    gap = (losses["final_val_loss"] - losses["final_train_loss"]).astype(float)
    return measured.assign(loss_gap=gap.replace([np.inf, -np.inf], np.nan))


def log_median(column: str) -> Outcome:
    """The outcome that is the logarithm of a column's median."""
    return next(
        outcome for outcome in OUTCOMES.values() if outcome.column == column and outcome.log10
    )


def _test(statement: Statement, runs: pd.DataFrame, analysis: Analysis) -> dict[str, Any]:
    """A statement's record, before Holm."""
    tested = {
        measure: _test_measure(statement, measure, runs, analysis)
        for measure in statement.measures
        if measure in runs
    }
    shown, record = min(tested.items(), key=lambda item: np.nan_to_num(item[1]["p"], nan=1.0))
    if len(tested) == 1:
        return record
    # It holds where it does of one measure, hence the smallest p times their number (Bonferroni);
    # its opposite must hold of all of them, hence the largest p.
    halves = [
        f"{MEASURES[measure]}: {half['estimate']:+.3f}, p = {half['p']:.2g}"
        for measure, half in tested.items()
    ]
    alone = f"p counts twice for the choice; {'; '.join(halves)}; shown is the {MEASURES[shown]}"
    return record | {
        "p": min(1.0, len(tested) * record["p"]),
        "p_opposite": max(half["p_opposite"] for half in tested.values()),
        "note": "; ".join(filter(None, [alone, record["note"]])),
    }


def _test_measure(
    statement: Statement, measure: str, runs: pd.DataFrame, analysis: Analysis
) -> dict[str, Any]:
    ours, theirs = (_of_arm(runs, arm) for arm in (statement.arm, statement.reference))
    values = ours[measure]
    differences = values - theirs[measure] if statement.reference else values
    counted = differences.dropna().to_numpy(float)
    low, high = t_interval(counted)
    mean = float(counted.mean()) if counted.size else np.nan
    effect = effect_size(counted)
    if not counted.size:
        p = opposite = toward = np.nan
    elif statement.kind == "equivalent":
        p = float(equivalence_test(counted, statement.margin))
        opposite = float(outside_test(counted, statement.margin))
        # How far within the margin the mean is, in standard deviations.
        toward = effect_size(statement.margin - np.sign(mean or 1.0) * counted)
    else:
        holds: Alternative = "greater" if statement.kind == "greater" else "less"
        against: Alternative = "less" if statement.kind == "greater" else "greater"
        p, opposite = (float(sign_flip_test(counted, side)) for side in (holds, against))
        toward = effect if statement.kind == "greater" else -effect
    return {
        "kind": statement.kind,
        "seeds": counted.size,
        "estimate": mean,
        "low": low,
        "high": high,
        "effect_size": effect,
        "p": p,
        "p_opposite": opposite,
        "margin": statement.margin,
        "note": _note(statement, measure, differences, ours, theirs, analysis),
        "toward": toward,
    }


def _of_arm(runs: pd.DataFrame, arm: str | None) -> pd.DataFrame:
    """One arm's runs by seed."""
    return runs[runs.index.get_level_values("arm") == arm].droplevel("arm")


def _note(
    statement: Statement,
    measure: str,
    differences: pd.Series,
    ours: pd.DataFrame,
    theirs: pd.DataFrame,
    analysis: Analysis,
) -> str:
    """What was left out, and what counts as something else."""
    notes = []
    named = [(statement.arm, ours)]
    if statement.reference:
        named.append((statement.reference, theirs))
    notes += [f"{arm} has no runs" for arm, runs in named if runs.empty]
    missing = differences.index[differences.isna()]
    if len(missing) and not notes:
        seeds = ", ".join(str(seed) for seed in missing)
        notes.append(f"left out, since an arm has no value: seed {seeds}")
    for arm, runs in named:
        if measure in ("kappa", "predicted", "error"):
            column = {"kappa": analysis.kappa, "error": analysis.error}
            outcome = log_median(column.get(measure, "predicted_corner_error_px"))
            failed = int((runs[measure] >= outcome.ceiling).sum())
            if failed:
                notes.append(
                    f"{arm}'s median is infinite or beyond {outcome.limits[1]:g} at {failed} of "
                    f"{len(runs)} seeds and counts as that"
                )
        if measure == "correlation" and runs["uncorrelated"].sum():
            notes.append(
                f"{int(runs['uncorrelated'].sum())} of {int(runs['pairs'].sum())} rows have no κ; "
                f"ranked last in both, they make it {runs['correlation_of_all'].mean():+.2f}"
            )
        if measure != "loss_gap" and runs["left_out"].sum():
            pairs = int(runs["pairs"].sum())
            notes.append(f"{arm}: {int(runs['left_out'].sum())} of {pairs} rows left out")
    return "; ".join(notes)


def _verdict(statements: pd.DataFrame) -> str:
    if statements["opposite_holds"].any():
        return "refuted"
    return "supported" if statements["holds"].all() else "undecided"


def _would_take(statements: pd.DataFrame) -> str:
    """How many seeds would decide a claim, if the differences are what they were seen to be."""
    open_ones = statements[~statements["holds"]]
    if (open_ones["seeds"] == 0).any():
        return "runs of every arm, since a statement has none that pair"
    seeds = int(open_ones["seeds"].min())
    parts = []
    if seeds < MIN_SEEDS:
        parts.append(f"at least {MIN_SEEDS} seeds, below which nothing survives Holm")
    against = open_ones[open_ones["toward"] < 0]
    # One opposite refutes; to support, every statement must hold.
    aim, decisive = ("refute", against) if len(against) else ("support", open_ones)
    needed = [seeds_needed(toward, TESTS, "greater") for toward in decisive["toward"].abs()]
    known = [number for number in needed if number is not None]
    if aim == "refute" and known:
        number: int | None = min(known)
    else:
        number = max(known) if needed and len(known) == len(needed) else None
    if number is None:
        parts.append(f"more than {MOST_SEEDS} seeds, if the differences stay as small")
    else:
        number = max(number, seeds + 1)
        parts.append(f"about {number} seeds to {aim} it (80 % power, effects as seen)")
    return "; ".join(parts)
