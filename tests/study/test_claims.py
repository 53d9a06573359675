"""The claims on simulated studies in which each is true, false, or cannot be told."""

import numpy as np
import pandas as pd
import pytest
from benchmarks import null_rates
from benchmarks.simulated_study import study

from homoreg.study.arms import ORIGINAL_ARMS
from homoreg.study.claims import (
    DEPENDS,
    MIN_SEEDS,
    STATEMENT_COLUMNS,
    TESTS,
    VERDICTS,
    evaluate_claims,
    study_claims,
)
from homoreg.study.statistics import holm

SEEDS = 12


def losses(
    gap: dict[str, float] | None = None, seeds: int = SEEDS, protocol: str = "corrected"
) -> pd.DataFrame:
    """Training tables whose validation loss exceeds the training loss by 0.02, or as named."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                "protocol": protocol,
                "arm": arm,
                "seed": seed,
                "final_train_loss": 0.06,
                "final_val_loss": 0.06 + (gap or {}).get(arm, 0.02) + rng.normal(0, 0.001),
            }
            for arm in ORIGINAL_ARMS
            for seed in range(seeds)
        ]
    )


TRUE = {
    "matches": {"dropout": 1.5, "hybrid": 1.5},
    "kappa_spread": {"dropout": 0.3},
    "error": {"dropout": 2.0, "hybrid": 4.0},
    "predicted": {"dropout": 0.2, "hybrid": 0.1},
}
FALSE = {
    "matches": {"dropout": 0.5, "hybrid": 0.5},
    "kappa": {"l2": 2.0, "dropout": 2.0, "hybrid": 2.0},
    "kappa_spread": {"dropout": 3.0},
    "error": {"dropout": 0.5, "hybrid": 0.5},
    "related": 1.0,
}
CLOSED = dict.fromkeys(("l2", "dropout", "hybrid"), 0.01)
OPENED = dict.fromkeys(("l2", "dropout", "hybrid"), 0.04)


def test_every_claim_is_supported_where_it_is_true():
    rows = study(seeds=SEEDS, pairs=2400, **TRUE)
    claims, statements = evaluate_claims(rows, losses(CLOSED))
    assert set(claims["verdict"]) == {"supported"}, claims
    assert set(statements["says"]) == {"holds"}


@pytest.mark.parametrize("protocol", ["notebook", "corrected"])
def test_every_claim_is_refuted_where_it_is_false(protocol: str):
    rows = study(seeds=SEEDS, pairs=100, protocol=protocol, **FALSE)
    claims, statements = evaluate_claims(rows, losses(OPENED, protocol=protocol))
    assert set(claims["verdict"]) == {"refuted"}, claims
    assert "opposite holds" in set(statements["says"])


def test_arms_that_do_not_differ_leave_differences_undecided():
    claims, statements = evaluate_claims(study(seeds=SEEDS, pairs=60), losses())
    by_claim = claims.set_index("claim")["verdict"]
    assert set(by_claim[[1, 3, 6]]) == {"undecided"}
    steady = statements[(statements["kind"] == "equivalent") & (statements["claim"] == 2)]
    assert set(steady["says"]) == {"holds"}


def test_estimators_that_disagree_are_both_shown():
    rows = study(seeds=SEEDS, pairs=60, **FALSE)
    other = study(seeds=SEEDS, pairs=60, **TRUE).assign(estimator="magsac")
    claims, statements = evaluate_claims(pd.concat([rows, other]), losses(CLOSED))
    first, *_, last = claims.to_dict("records")
    assert first["verdict"] == DEPENDS
    assert first["by_estimator"] == "dlt: refuted; magsac: supported"
    assert last["verdict"] == "supported"  # losses have no estimator
    for _, own in statements.groupby("estimator"):
        expected = holm([*own["p"], *own["p_opposite"]])
        assert [*own["p_holm"], *own["p_opposite_holm"]] == pytest.approx(expected.tolist())


def test_an_estimator_at_its_ceiling_contradicts_no_other():
    rows = study(seeds=SEEDS, pairs=60, **FALSE)
    other = study(seeds=SEEDS, pairs=60, error=dict.fromkeys(ORIGINAL_ARMS, 1000.0))
    both = pd.concat([rows, other.assign(estimator="magsac")])
    claims = evaluate_claims(both, losses())[0].set_index("claim")
    assert claims.loc[3, "by_estimator"] == "dlt: refuted; magsac: not informative"
    assert claims.loc[3, "verdict"] == "refuted"
    assert claims.loc[1, "verdict"] == DEPENDS  # undecided is a verdict


def test_few_seeds_decide_nothing():
    rows = study(seeds=MIN_SEEDS - 1, pairs=60, **TRUE)
    claims, statements = evaluate_claims(rows, losses(seeds=MIN_SEEDS - 1))
    assert set(claims["verdict"]) == {"undecided"}
    assert statements["low"].notna().all()


def test_one_family_of_statements_and_opposites():
    claims = study_claims(0.02)
    assert [len(claim.statements) for claim in claims.values()] == [4, 6, 5, 4, 4, 3]
    assert (TESTS, MIN_SEEDS) == (52, 11)
    table, statements = evaluate_claims(study(seeds=2), losses(seeds=2))
    assert list(statements.columns) == STATEMENT_COLUMNS
    assert table["caveat"].str.len().min() > 20
    assert set(table["verdict"]) <= set(VERDICTS)


def test_errors_at_their_ceiling_are_not_informative():
    rows = study(seeds=SEEDS, pairs=60, error=dict.fromkeys(ORIGINAL_ARMS, 1000.0))
    claims, statements = evaluate_claims(rows, losses())
    by_claim = claims.set_index("claim")["verdict"]
    assert set(by_claim[[3, 5]]) == {"not informative"}
    assert set(statements.loc[statements["claim"] == 3, "says"]) == {"not informative"}


def test_infinite_medians_are_not_informative():
    rows = study(seeds=SEEDS, pairs=40, failed={"dropout": 0.6, "hybrid": 0.7})
    _, statements = evaluate_claims(rows, losses())
    own = statements.set_index(["claim", "statement"])
    kappa = own.loc[(2, "log₁₀ median κ of dropout is equivalent to that of none within ±0.1")]
    assert kappa["says"] == "not informative"
    error = statements[(statements["claim"] == 3) & statements["statement"].str.contains("none")]
    assert set(error["says"]) == {"holds"}  # failures count as 100 px


def test_a_trade_takes_an_effect_that_counts():
    small = study(
        seeds=SEEDS,
        pairs=100,
        error=dict.fromkeys(("dropout", "hybrid"), 0.98),
        predicted=dict.fromkeys(("dropout", "hybrid"), 0.9),
    )
    claims, statements = evaluate_claims(small, losses())
    own = statements[statements["claim"] == 5]
    assert (own["margin"] == 0.02).all()
    assert claims.set_index("claim")["verdict"][5] == "refuted"  # shown to be smaller than that


def test_the_notebooks_filter_is_in_the_note():
    rows = study(seeds=SEEDS, pairs=40, failed={"dropout": 0.5}, protocol="notebook")
    _, statements = evaluate_claims(rows, losses(protocol="notebook"))
    assert "240 of 1920 rows left out" in statements.iloc[0]["note"]


def test_seeds_without_a_partner_are_named():
    rows = study(seeds=SEEDS)
    rows = rows[(rows["arm"] != "dropout") | (rows["seed"] != 3)]
    first = evaluate_claims(rows, losses())[1].iloc[0]
    assert first["seeds"] == SEEDS - 1
    assert "left out, since an arm has no value: seed 3" in first["note"]


def test_missing_runs_and_losses_leave_claims_undecided():
    rows = study(seeds=SEEDS, pairs=60, **TRUE)
    claims, statements = evaluate_claims(rows[rows["arm"] != "hybrid"], losses().iloc[:0])
    assert "supported" not in set(claims["verdict"])
    assert statements["note"].str.contains("hybrid has no runs").any()
    assert (statements[statements["claim"] == 6]["seeds"] == 0).all()


@pytest.mark.slow
def test_a_null_study_is_misread_in_one_of_twenty():
    rate = null_rates.all_claims(40)
    assert rate.holds, rate
