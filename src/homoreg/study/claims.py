"""The original study's claims, and what seed-level tests say about each.

A claim is a conjunction of statements about a number per run (:func:`study_claims`). Each statement
and its opposite are tested; under one protocol and estimator all these tests are one Holm family. A
claim is supported where every statement holds, refuted where the opposite of one does, and
undecided otherwise; where estimators under which it is informative disagree, it depends on the
estimator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from homoreg.study.analysis import ANALYSES, Analysis
from homoreg.study.arms import ORIGINAL_ARMS
from homoreg.study.comparisons import (
    OUTCOMES,
    Outcome,
    PairSample,
    Runs,
    arm_means,
    by_seed,
    paired,
    protocol_groups,
    run_samples,
    sample_pairs,
    shared_pairs,
)
from homoreg.study.statistics import (
    ALPHA,
    MAX_SKEWNESS,
    SeedValues,
    fewest_seeds,
    holm,
    resampled_range,
    resampled_spearman,
)

MEASURES = {
    "matches": "median match count",
    "kappa": "log₁₀ median κ",
    "kappa_spread": "interquartile range of log₁₀ κ",
    "predicted": "mean log₁₀ predicted error",
    "error": "log₁₀ error",
    "correlation": "Spearman's ρ of κ and error over pairs",
    "loss_ratio": "log of validation over training loss",
}
DEPENDS, NOT_INFORMATIVE = "depends on the estimator", "not informative"
VERDICTS = {
    "supported": "every statement holds, for these photos, this dose and this length of training",
    "refuted": "the opposite of at least one statement holds; the others may still hold",
    "undecided": "the data allow both, which is no evidence that there is no effect",
    DEPENDS: "the verdicts of the estimators differ, so that it says as much about them",
    NOT_INFORMATIVE: "an outcome is at its floor or ceiling or infinite in the arms, so that "
    "equal values mean nothing",
}


@dataclass(frozen=True)
class Statement:
    """One testable sentence.

    Attributes:
        kind: how the arm's number compares, averaged over seeds.
        measure: a key of :data:`MEASURES`.
        arm: whose.
        reference: the arm to compare with, seed by seed; ``None`` compares with 0.
        margin: of an equivalence, ±; of a difference, by how much at least.
    """

    kind: Literal["greater", "less", "equivalent"]
    measure: str
    arm: str
    reference: str | None = None
    margin: float = 0.0

    @property
    def text(self) -> str:
        """As a sentence."""
        measured = f"{MEASURES[self.measure]} of {self.arm}"
        if self.kind == "equivalent":
            other = f"equivalent to that of {self.reference}" if self.reference else "0"
            return f"{measured} is {other} within ±{self.margin:g}"
        comparative = "above" if self.kind == "greater" else "below"
        least = f" by more than {self.margin:g}" if self.margin else ""
        return f"{measured} is {comparative} that of {self.reference}{least}"

    def test(self, values: SeedValues) -> tuple[float, float]:
        """The p-values of the statement and of its opposite."""
        if self.kind == "equivalent":
            return values.within(self.margin), values.beyond(self.margin)
        if self.kind == "greater":
            return values.test("greater", self.margin), values.test("less", self.margin)
        return values.test("less", -self.margin), values.test("greater", -self.margin)


@dataclass(frozen=True)
class Claim:
    """What the study said, how not to misread the verdict, and the statements that mean it."""

    text: str
    caveat: str
    statements: list[Statement]


def study_claims(smallest_effect: float) -> dict[int, Claim]:
    """The claims; a trade needs effects of at least ``smallest_effect``, in log10 of the error."""
    above, below = partial(Statement, "greater"), partial(Statement, "less")
    steady = partial(Statement, "equivalent")
    dropping, regularized = ("dropout", "hybrid"), ("l2", "dropout", "hybrid")
    return {
        1: Claim(
            "Dropout and hybrid keep more matches than none and l2",
            "More matches need not be more correct matches: see precision.",
            [above("matches", arm, other) for arm in dropping for other in ("none", "l2")],
        ),
        2: Claim(
            "Regularization changes κ little; dropout is the most stable",
            "κ tells how well the points spread over the view. That of all of them also falls when "
            "more of them are wrong.",
            [steady("kappa", arm, "none", 0.1) for arm in regularized]
            + [below("kappa_spread", "dropout", arm) for arm in ("none", "l2", "hybrid")],
        ),
        3: Claim(
            "None and l2 have the lowest alignment error, hybrid the highest",
            "An order of the arms at this dose, not of the regularizers at their best.",
            [below("error", arm, other) for arm in ("none", "l2") for other in dropping]
            + [above("error", "hybrid", "dropout")],
        ),
        4: Claim(
            "κ and alignment error are not related",
            "A rank correlation over the pairs of a run with an estimate; failures have no κ.",
            [steady("correlation", arm, None, 0.1) for arm in ORIGINAL_ARMS],
        ),
        5: Claim(
            "Regularization trades precision for stability",
            "Stability is the error that the covariance predicts from the residuals, which "
            "does not see an estimate that is precisely wrong.",
            [
                compared(measure, arm, "none", smallest_effect)
                for arm in dropping
                for compared, measure in ((below, "predicted"), (above, "error"))
            ],
        ),
        6: Claim(
            "Regularization closes the gap between training and validation",
            "Both losses are in evaluation mode. A small ratio can be less overfitting or less "
            "learning: see the losses.",
            [below("loss_ratio", arm, "none") for arm in regularized],
        ),
    }


# A statement and its opposite are two tests.
TESTS = 2 * sum(len(claim.statements) for claim in study_claims(1.0).values())
MIN_SEEDS = fewest_seeds(TESTS, "greater")
CLAIM_COLUMNS = ["protocol", "claim", "text", "verdict", "by_estimator", "caveat"]
STATEMENT_COLUMNS = [
    *("protocol", "estimator", "claim", "statement", "kind", "seeds", "estimate", "low", "high"),
    *("effect_size", "skewness", "p", "p_opposite", "p_holm", "p_opposite_holm", "margin"),
    *("informative", "says", "note"),
]


def evaluate_claims(
    rows: pd.DataFrame, training: pd.DataFrame, analyses: Mapping[str, Analysis] = ANALYSES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The verdict on every claim under each protocol, by each estimator.

    The arms are compared on the pairs that all their runs evaluated.

    Args:
        rows: the evaluation's, of one benchmark, with ``protocol``, ``estimator``, ``arm``,
            ``seed``, ``pair_id``, ``photo``, ``status``, ``match_count``, ``corner_error_px``,
            ``predicted_corner_error_px`` and the columns that the protocol's analysis names.
        training: ``protocol``, ``arm``, ``seed``, ``final_train_loss`` and ``final_val_loss``, both
            in evaluation mode.
        analyses: by protocol.

    Returns:
        ``claims``: ``protocol, claim, text``, the ``verdict`` (a key of :data:`VERDICTS`), the
        verdicts ``by_estimator``, and the claim's ``caveat``.

        ``statements``: ``protocol, estimator, claim, statement, kind``; ``seeds`` that count;
        ``estimate``, the mean over seeds of the paired difference, with its 95 % interval over
        seeds and photos; ``effect_size`` (Hedges' g_z) and ``skewness`` of the seeds; ``p`` of the
        statement and ``p_opposite``, and both after Holm over all tests of the protocol and
        estimator; ``margin``; ``informative``; what it ``says`` (``holds``, ``opposite holds``,
        ``open``, ``not informative``); ``note`` with whatever was left out.

    Raises:
        HomoregError: two runs with the same arm and seed, or an unknown protocol.
    """
    parts = [
        _statements(shared_pairs(group), training[training["protocol"] == key[0]], analyses[key[0]])
        .assign(protocol=key[0], estimator=key[1])
        .reindex(columns=STATEMENT_COLUMNS)
        for key, group in protocol_groups(rows, analyses)
    ]
    empty = pd.DataFrame(columns=STATEMENT_COLUMNS)
    statements = pd.concat(parts, ignore_index=True) if parts else empty
    claims = []
    for key, own in statements.groupby(["protocol", "claim"], sort=False):
        protocol, number = cast(tuple[str, int], key)
        claim = study_claims(analyses[protocol].smallest_effect)[number]
        verdicts = own.groupby("estimator", sort=False)["says"].agg(_verdict)
        # An outcome that tells nothing under one estimator contradicts no other.
        telling = verdicts[verdicts != NOT_INFORMATIVE].unique()
        verdict = DEPENDS if len(telling) > 1 else [*telling, NOT_INFORMATIVE][0]
        by_estimator = "; ".join(f"{name}: {own}" for name, own in verdicts.items())
        claims.append((protocol, number, claim.text, verdict, by_estimator, claim.caveat))
    return pd.DataFrame(claims, columns=CLAIM_COLUMNS), statements


def _statements(rows: pd.DataFrame, training: pd.DataFrame, analysis: Analysis) -> pd.DataFrame:
    """The statements of all claims under one protocol and estimator, on shared pairs."""
    sample, kept = sample_pairs(rows), analysis.apply(rows)
    outcomes = _outcomes(rows, analysis)
    runs = {name: run_samples(outcome, kept, sample) for name, outcome in outcomes.items()}
    runs["correlation"] = _correlations(kept, sample, analysis)
    runs["loss_ratio"] = _loss_ratios(training, len(sample.counts))
    at_an_end = [
        name
        for name, outcome in outcomes.items()
        if outcome.range
        and outcome.uninformative(list(arm_means(runs[name]).values()), analysis.floor_percent)
    ]
    table = pd.DataFrame(
        [
            {"claim": number, "statement": statement.text, "kind": statement.kind}
            | _test(statement, runs[statement.measure], sample.photos)
            | {"margin": statement.margin, "measure": statement.measure}
            for number, claim in study_claims(analysis.smallest_effect).items()
            for statement in claim.statements
        ]
    )
    table["informative"] &= ~table["measure"].isin(at_an_end)
    adjusted = holm([*table["p"], *table["p_opposite"]])
    table["p_holm"], table["p_opposite_holm"] = np.split(adjusted, 2)
    table["says"] = np.select(
        [~table["informative"], table["p_holm"] <= ALPHA, table["p_opposite_holm"] <= ALPHA],
        [NOT_INFORMATIVE, "holds", "opposite holds"],
        "open",
    )
    if len(kept) < len(rows):
        left_out = f"{len(rows) - len(kept)} of {len(rows)} rows left out"
        table["note"] = table["note"].where(table["claim"] == 6, table["note"] + left_out)
    return table


def _outcomes(rows: pd.DataFrame, analysis: Analysis) -> dict[str, Outcome]:
    """The measures that are an outcome of a run."""
    kappa = replace(OUTCOMES["log10_kappa"], column=kappa_column(rows, analysis))
    error = {
        "corner_error_px": "log10_corner_error",
        "rmse_gray": "log10_rmse",
        "rmse_notebook_gray": "log10_rmse_notebook",
    }[analysis.error]
    return {
        "matches": OUTCOMES["match_count"],
        "kappa": kappa,
        "kappa_spread": replace(kappa, statistic=_finite_range),
        "predicted": OUTCOMES["log10_predicted_corner_error"],
        "error": OUTCOMES[error],
    }


def kappa_column(rows: pd.DataFrame, analysis: Analysis) -> str:
    """The analysis's κ, of the correct points alone where the table has that."""
    of_correct = f"{analysis.kappa}_correct"
    return of_correct if of_correct in rows else analysis.kappa


def _finite_range(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values)  # a failure, which has no κ, counts as infinite
    return resampled_range(values[finite], counts[:, finite])


def _correlations(rows: pd.DataFrame, sample: PairSample, analysis: Analysis) -> Runs:
    """Spearman's ρ of κ and error over the pairs of each run that have a κ."""
    kappa = kappa_column(rows, analysis)
    rows = rows[rows[kappa].notna()]
    error = rows[analysis.error].fillna(np.inf)
    found: Runs = {}
    for key, own in rows.groupby(["arm", "seed"]):
        places = sample.pairs.get_indexer(pd.Index(own["pair_id"]))
        counts = np.take(sample.counts, places, axis=1)
        x, y = own[kappa].to_numpy(float), error[own.index].to_numpy(float)
        found[cast(tuple[str, int], key)] = resampled_spearman(x, y, counts)
    return found


def _loss_ratios(training: pd.DataFrame, size: int) -> Runs:
    """The log of validation over training loss of each run, which no sample of photos changes."""
    losses = training[["final_train_loss", "final_val_loss"]].astype(float)
    usable = losses.gt(0).all(axis=1) & losses.lt(np.inf).all(axis=1)
    ratios = np.log(losses["final_val_loss"] / losses["final_train_loss"])
    named = zip(training["arm"], training["seed"], ratios, usable, strict=True)
    return {(arm, int(seed)): np.full(size, ratio) for arm, seed, ratio, use in named if use}


def _test(statement: Statement, runs: Runs, photos: int) -> dict[str, Any]:
    """A statement's numbers, before Holm."""
    ours = by_seed(runs, statement.arm)
    theirs = {seed: np.zeros_like(values) for seed, values in ours.items()}
    if statement.reference:
        theirs = by_seed(runs, statement.reference)
    values = paired(ours, theirs, photos)
    notes = [
        f"{name} has no runs"
        for name, own in ((statement.arm, ours), (statement.reference, theirs))
        if name and not own
    ]
    alone = sorted(ours.keys() ^ theirs.keys())
    if alone and not notes:
        notes.append(f"left out, since an arm has no value: seed {', '.join(map(str, alone))}")
    if abs(values.skewness) > MAX_SKEWNESS:
        notes.append(f"skewness {values.skewness:+.1f}: p may be too small")
    low, high = values.interval()
    p, opposite = statement.test(values)
    return {
        **{"seeds": values.seeds.size, "estimate": values.estimate, "low": low, "high": high},
        **{"effect_size": values.effect_size, "skewness": values.skewness},
        **{"p": p, "p_opposite": opposite, "informative": bool(np.isfinite(values.values).all())},
        "note": "; ".join(notes) + ("; " if notes else ""),
    }


def _verdict(statements: pd.Series) -> str:
    says = set(statements)
    if "opposite holds" in says:
        return "refuted"
    if NOT_INFORMATIVE in says:
        return NOT_INFORMATIVE
    return "supported" if says == {"holds"} else "undecided"
