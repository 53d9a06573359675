"""The original study's claims, and what seed-level tests say about each.

A claim is a conjunction of statements about a number per run (:func:`study_claims`). Each statement
and its opposite are tested; under one protocol and estimator all these tests are one Holm family. A
claim is supported where every statement holds, refuted where the opposite of one does, and
undecided otherwise; where estimators disagree it depends on the estimator.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from homoreg.aggregates import resampled_median
from homoreg.study.analysis import ANALYSES, Analysis
from homoreg.study.arms import ORIGINAL_ARMS
from homoreg.study.statistics import (
    ALPHA,
    MAX_SKEWNESS,
    OUTCOMES,
    SeedValues,
    by_seed,
    effect_size,
    fewest_seeds,
    holm,
    paired,
    photo_sample,
    protocol_groups,
    resampled_spearman,
    shared_pairs,
)

Kind = Literal["greater", "less", "equivalent"]

MEASURES = {
    "matches": "median match count",
    "kappa": "log₁₀ median κ",
    "kappa_spread": "interquartile range of log₁₀ κ",
    "predicted": "mean log₁₀ predicted error",
    "error": "log₁₀ error",
    "correlation": "Spearman's ρ of κ and error over pairs",
    "loss_ratio": "log of validation over training loss",
}
DEPENDS = "depends on the estimator"
VERDICTS = {
    "supported": "every statement holds, for these photos, this dose and this length of training",
    "refuted": "the opposite of at least one statement holds; the others may still hold",
    "undecided": "the data allow both, which is no evidence that there is no effect",
    DEPENDS: "the verdicts of the estimators differ, so that it says as much about them",
    "not informative": "an outcome is at its floor or ceiling or infinite in the arms, so that "
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

    kind: Kind
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
    """What the study said, the statements that mean it, and how not to misread the verdict."""

    text: str
    caveat: str
    statements: tuple[Statement, ...]


def study_claims(smallest_effect: float) -> dict[int, Claim]:
    """The claims; a trade needs effects of at least ``smallest_effect``, in log10 of the error."""

    above, below = partial(Statement, "greater"), partial(Statement, "less")
    steady = partial(Statement, "equivalent")
    return {
        1: Claim(
            "Dropout and hybrid keep more matches than none and l2",
            "More matches need not be more correct matches: see precision.",
            tuple(
                above("matches", arm, reference)
                for arm in ("dropout", "hybrid")
                for reference in ("none", "l2")
            ),
        ),
        2: Claim(
            "Regularization changes κ little; dropout is the most stable",
            "κ tells how well the points spread over the view. That of all of them also falls when "
            "more of them are wrong.",
            (
                *(steady("kappa", arm, "none", 0.1) for arm in ("l2", "dropout", "hybrid")),
                *(below("kappa_spread", "dropout", arm) for arm in ("none", "l2", "hybrid")),
            ),
        ),
        3: Claim(
            "None and l2 have the lowest alignment error, hybrid the highest",
            "An order of the arms at this dose, not of the regularizers at their best.",
            (
                *(
                    below("error", arm, reference)
                    for arm in ("none", "l2")
                    for reference in ("dropout", "hybrid")
                ),
                above("error", "hybrid", "dropout"),
            ),
        ),
        4: Claim(
            "κ and alignment error are not related",
            "A rank correlation over the pairs of a run with an estimate; failures have no κ.",
            tuple(steady("correlation", arm, None, 0.1) for arm in ORIGINAL_ARMS),
        ),
        5: Claim(
            "Regularization trades precision for stability",
            "Stability is the error that the covariance predicts from the residuals, which "
            "does not see an estimate that is precisely wrong.",
            tuple(
                statement
                for arm in ("dropout", "hybrid")
                for statement in (
                    below("predicted", arm, "none", smallest_effect),
                    above("error", arm, "none", smallest_effect),
                )
            ),
        ),
        6: Claim(
            "Regularization closes the gap between training and validation",
            "Both losses are in evaluation mode. A small ratio can be less overfitting or less "
            "learning: see the losses.",
            tuple(below("loss_ratio", arm, "none") for arm in ("l2", "dropout", "hybrid")),
        ),
    }


# A statement and its opposite are two tests.
TESTS = 2 * sum(len(claim.statements) for claim in study_claims(1.0).values())
MIN_SEEDS = fewest_seeds(TESTS, "greater")
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
            ``seed``, ``pair_id``, ``photo``, ``status``, ``match_count``,
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
    parts = []
    for (protocol, estimator), of_group in protocol_groups(rows, analyses):
        group, analysis = shared_pairs(of_group), analyses[protocol]
        own_training = training[training["protocol"] == protocol]
        measures, left_out, photos = run_measures(group, own_training, analysis)
        table = pd.DataFrame(
            [
                {"claim": number, "statement": statement.text, "margin": statement.margin}
                | _record(statement, measures[statement.measure], photos, analysis)
                for number, claim in study_claims(analysis.smallest_effect).items()
                for statement in claim.statements
            ]
        ).assign(protocol=protocol, estimator=estimator)
        adjusted = holm([*table["p"], *table["p_opposite"]])
        table["p_holm"], table["p_opposite_holm"] = np.split(adjusted, 2)
        table["says"] = np.select(
            [~table["informative"], table["p_holm"] <= ALPHA, table["p_opposite_holm"] <= ALPHA],
            ["not informative", "holds", "opposite holds"],
            "open",
        )
        table["note"] = table["note"].where(table["claim"] == 6, table["note"] + left_out)
        parts.append(table)
    statements = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    statements = statements.reindex(columns=STATEMENT_COLUMNS)
    claims = []
    for protocol in map(str, statements["protocol"].unique()):
        own = statements[statements["protocol"] == protocol]
        for number, claim in study_claims(analyses[protocol].smallest_effect).items():
            verdicts = {
                str(estimator): _verdict(set(part["says"]))
                for estimator, part in own[own["claim"] == number].groupby("estimator", sort=False)
            }
            agreed = set(verdicts.values())
            claims.append(
                {
                    **{"protocol": protocol, "claim": number, "text": claim.text},
                    "verdict": agreed.pop() if len(agreed) == 1 else DEPENDS,
                    "by_estimator": "; ".join(f"{name}: {v}" for name, v in verdicts.items()),
                    "caveat": claim.caveat,
                }
            )
    columns = ["protocol", "claim", "text", "verdict", "by_estimator", "caveat"]
    return pd.DataFrame(claims, columns=columns), statements


Runs = dict[tuple[str, int], np.ndarray]  # (1 + B,) values by arm and seed


def run_measures(
    rows: pd.DataFrame, training: pd.DataFrame, analysis: Analysis
) -> tuple[dict[str, Runs], str, int]:
    """The measures of each run on the pairs as they are and on samples of the photos.

    Args:
        rows: of one protocol and estimator.
        training: its losses.
        analysis: of the protocol.

    Returns:
        For each key of :data:`MEASURES` the runs that have it; a note on the rows that the analysis
        leaves out; the number of photos.
    """
    pairs = rows.drop_duplicates("pair_id")
    sample = photo_sample(pairs["photo"])
    place = pd.Series(range(len(pairs)), index=pairs["pair_id"])
    measures: dict[str, Runs] = {name: {} for name in MEASURES}
    kept = analysis.apply(rows)
    for key, of_run in kept.groupby(["arm", "seed"]):
        arm, seed = cast(tuple[str, int], key)
        counts = sample.counts[:, place[of_run["pair_id"]]]
        for name, values in _measures(of_run, counts, analysis).items():
            measures[name][arm, seed] = values
    for record in training.to_dict("records"):
        losses = float(record["final_val_loss"]), float(record["final_train_loss"])
        if np.isfinite(losses).all() and min(losses) > 0:
            ratio = np.full(len(sample.counts), np.log(losses[0] / losses[1]))
            measures["loss_ratio"][record["arm"], int(record["seed"])] = ratio
    dropped = len(rows) - len(kept)
    note = f"{dropped} of {len(rows)} rows left out" if dropped else ""
    return measures, note, sample.photos


def _measures(rows: pd.DataFrame, counts: np.ndarray, analysis: Analysis) -> dict[str, np.ndarray]:
    """The measures of one run, ``(1 + B,)`` each."""
    kappa, error = kappa_column(rows, analysis), rows[analysis.error].fillna(np.inf).to_numpy(float)
    values = rows[kappa].to_numpy(float)
    log_kappa = np.log10(np.where(np.isnan(values), np.inf, values))
    has = ~np.isnan(values)
    found = {
        "matches": resampled_median(rows["match_count"].to_numpy(float), counts),
        "kappa": resampled_median(log_kappa, counts),
        "kappa_spread": resampled_range(log_kappa[has], counts[:, has]),
        "correlation": resampled_spearman(values[has], error[has], counts[:, has]),
    }
    if analysis.error == "corner_error_px":
        outcome = OUTCOMES["log10_corner_error"]
        found["error"] = outcome.of(outcome.pair_values(rows).to_numpy(), counts)
    else:
        found["error"] = np.log10(resampled_median(error, counts))
    outcome = OUTCOMES["log10_predicted_corner_error"]
    found["predicted"] = outcome.of(outcome.pair_values(rows).to_numpy(), counts)
    return found


def kappa_column(rows: pd.DataFrame, analysis: Analysis) -> str:
    """The analysis's κ, of the correct points alone where the table has that."""
    of_correct = f"{analysis.kappa}_correct"
    return of_correct if of_correct in rows else analysis.kappa


def resampled_range(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The interquartile range of many samples of the same values, without interpolation.

    Args:
        values: ``(P,)``.
        counts: ``(B, P)`` how often each value occurs in each sample.

    >>> resampled_range(np.array([1.0, 2.0, 3.0, 9.0]), np.array([[1, 1, 1, 1], [2, 2, 0, 0]]))
    array([2., 1.])
    """
    order = np.argsort(values)
    ordered = np.append(values[order], np.nan)
    reached = np.cumsum(counts[:, order], axis=1)
    total = reached[:, -1:] if values.size else np.zeros((len(counts), 1))
    low, high = (ordered[(reached < q * total).sum(1)] for q in (0.25, 0.75))
    return np.where(total[:, 0] > 0, high - low, np.nan)


def _record(statement: Statement, runs: Runs, photos: int, analysis: Analysis) -> dict[str, Any]:
    """A statement's numbers, before Holm."""
    names = [name for name in (statement.arm, statement.reference) if name]
    by_arm = {name: by_seed(runs, name) for name in names}
    ours = by_arm[statement.arm]
    zeros = {seed: np.zeros_like(values) for seed, values in ours.items()}
    theirs = by_arm[statement.reference] if statement.reference else zeros
    values = paired(ours, theirs, photos)
    finite = bool(np.isfinite(values.values).all()) and values.seeds.size > 0
    p, opposite = statement.test(values) if finite else (np.nan, np.nan)
    low, high = values.interval()
    notes = [f"{name} has no runs" for name, own in by_arm.items() if not own]
    alone = sorted(ours.keys() ^ theirs.keys())
    if alone and not notes:
        notes.append(f"left out, since an arm has no value: seed {', '.join(map(str, alone))}")
    if finite and abs(values.skewness) > MAX_SKEWNESS:
        notes.append(f"skewness {values.skewness:+.1f}: p may be too small")
    return {
        "kind": statement.kind,
        "seeds": values.seeds.size,
        "estimate": values.estimate,
        "low": low,
        "high": high,
        "effect_size": effect_size(values.seeds) if finite else np.nan,
        "skewness": values.skewness if finite else np.nan,
        "p": p,
        "p_opposite": opposite,
        "informative": _informative(statement, runs, analysis)
        and (finite or not values.seeds.size),
        "note": "; ".join(notes) + ("; " if notes else ""),
    }


def _informative(statement: Statement, runs: Runs, analysis: Analysis) -> bool:
    """Whether a bounded error is off its floor and ceiling in some arm."""
    bounded = statement.measure == "predicted" or (
        statement.measure == "error" and analysis.error == "corner_error_px"
    )
    if not bounded:
        return True
    means = pd.Series({key: values[0] for key, values in runs.items()}).groupby(level=0).mean()
    outcome = OUTCOMES["log10_corner_error"]  # the predicted error has the same range
    return not outcome.uninformative(means.to_numpy(), analysis.floor_percent)


def _verdict(says: set[str]) -> str:
    if "opposite holds" in says:
        return "refuted"
    if "not informative" in says:
        return "not informative"
    return "supported" if says == {"holds"} else "undecided"
