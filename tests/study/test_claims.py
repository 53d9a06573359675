"""The claims on simulated studies in which each is true, false, or cannot be told."""

import numpy as np
import pandas as pd
import pytest
from tests.study.simulated import study

from homoreg.study.arms import ORIGINAL_ARMS as ARMS
from homoreg.study.claims import CLAIMS, MIN_SEEDS, STATEMENT_COLUMNS, TESTS, judge_claims
from homoreg.study.statistics import holm

SEEDS = 12


def losses(gap: dict[str, float] | None = None, seeds: int = SEEDS, **who: str) -> pd.DataFrame:
    """Training tables whose validation loss exceeds the training loss by 0.02, or as named."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                "protocol": who.get("protocol", "corrected"),
                "arm": arm,
                "seed": seed,
                "final_train_loss": 0.06,
                "final_val_loss": 0.06 + (gap or {}).get(arm, 0.02) + rng.normal(0, 0.001),
            }
            for arm in ARMS
            for seed in range(seeds)
        ]
    )


def verdicts(rows: pd.DataFrame, training: pd.DataFrame) -> dict[int, str]:
    claims, _ = judge_claims(rows, training)
    return dict(zip(claims["claim"], claims["verdict"], strict=True))


TRUE = {
    "matches": {"dropout": 1.5, "hybrid": 1.5},
    "kappa": {"dropout": 0.89, "hybrid": 0.89},
    "kappa_spread": {"dropout": 0.3},
    "error": {"dropout": 2.0, "hybrid": 4.0},
}
FALSE = {
    "matches": {"dropout": 0.5, "hybrid": 0.5},
    "kappa": {"l2": 2.0, "dropout": 2.0, "hybrid": 2.0},
    "kappa_spread": {"dropout": 3.0},
    "error": {"dropout": 0.5, "hybrid": 0.5},
    "related": 1.0,
}


@pytest.mark.parametrize("protocol", ["notebook", "corrected"])
def test_every_claim_is_supported_where_it_is_true(protocol: str):
    rows = study(seeds=SEEDS, pairs=600, protocol=protocol, **TRUE)
    gap = {"l2": 0.01, "dropout": 0.01, "hybrid": 0.01}
    claims, statements = judge_claims(rows, losses(gap, protocol=protocol))
    assert set(claims["verdict"]) == {"supported"}, claims
    assert set(claims["would_take"]) == {""}
    assert statements["holds"].all()
    assert not statements["opposite_holds"].any()


@pytest.mark.parametrize("protocol", ["notebook", "corrected"])
def test_every_claim_is_refuted_where_it_is_false(protocol: str):
    rows = study(seeds=SEEDS, pairs=60, protocol=protocol, **FALSE)
    gap = {"l2": 0.04, "dropout": 0.04, "hybrid": 0.04}
    claims, statements = judge_claims(rows, losses(gap, protocol=protocol))
    assert set(claims["verdict"]) == {"refuted"}, claims
    assert not (statements["holds"] & statements["opposite_holds"]).any()


def test_arms_that_do_not_differ_leave_differences_undecided():
    claims, statements = judge_claims(study(seeds=SEEDS, pairs=60), losses())
    by_claim = claims.set_index("claim")
    assert set(by_claim.loc[[1, 3, 6], "verdict"]) == {"undecided"}
    assert by_claim.loc[[1, 3, 6], "would_take"].str.contains("seeds").all()
    steady = statements[(statements["kind"] == "equivalent") & (statements["claim"] == 2)]
    assert steady["holds"].all()


def test_few_seeds_decide_nothing_and_say_how_many_it_takes():
    rows = study(seeds=7, pairs=60, **TRUE)
    claims, statements = judge_claims(rows, losses(seeds=7))
    assert set(claims["verdict"]) == {"undecided"}
    assert claims["would_take"].str.contains(f"at least {MIN_SEEDS} seeds").all()
    assert statements["low"].notna().all()


def test_one_family_of_statements_and_opposites():
    assert [len(claim.statements) for claim in CLAIMS.values()] == [4, 6, 5, 4, 4, 3]
    assert (TESTS, MIN_SEEDS) == (52, 11)
    rows = pd.concat([study(seeds=4, protocol=protocol) for protocol in ("notebook", "corrected")])
    training = pd.concat(
        [losses(seeds=4, protocol=protocol) for protocol in ("notebook", "corrected")]
    )
    claims, statements = judge_claims(rows, training)
    assert list(statements.columns) == STATEMENT_COLUMNS
    assert len(claims) == 12
    for _, own in statements.groupby("protocol"):
        expected = holm([*own["p"], *own["p_opposite"]])
        assert [*own["p_holm"], *own["p_opposite_holm"]] == pytest.approx(expected.tolist())


def test_infinite_medians_count_as_the_ceiling_and_are_noted():
    rows = study(seeds=SEEDS, pairs=40, failed={"dropout": 0.6, "hybrid": 0.7})
    _, statements = judge_claims(rows, losses())
    error = statements[(statements["claim"] == 3) & statements["statement"].str.contains("none")]
    assert error["holds"].all()
    assert np.isfinite(error["estimate"]).all()
    assert error["note"].str.contains("beyond 10000 at 12 of 12 seeds").all()
    both = statements[statements["statement"].str.contains("error of hybrid is above that of drop")]
    assert both.iloc[0][["estimate", "p", "p_opposite"]].tolist() == [0, 1, 1]
    related = statements[(statements["claim"] == 4) & statements["statement"].str.contains("hyb")]
    assert "rows have no κ" in related.iloc[0]["note"]


def test_the_notebooks_filter_is_in_the_note():
    rows = study(seeds=SEEDS, pairs=40, failed={"dropout": 0.5}, protocol="notebook")
    _, statements = judge_claims(rows, losses(protocol="notebook"))
    note = statements.iloc[0]["note"]
    assert "dropout: 240 of 480 rows left out" in note


def test_a_trade_for_either_measure_counts():
    rows = study(
        seeds=SEEDS,
        pairs=60,
        error={"dropout": 3.0, "hybrid": 3.0},
        kappa={"dropout": 1.5, "hybrid": 1.5},
        predicted={"dropout": 0.1, "hybrid": 0.1},
    )
    claims, statements = judge_claims(rows, losses())
    assert claims.set_index("claim").loc[5, "verdict"] == "supported"
    first = statements[statements["claim"] == 5].iloc[0]
    assert first["p"] == 2 / 2**SEEDS  # the smaller p, twice
    assert "p counts twice for the choice" in first["note"]
    neither = study(
        seeds=SEEDS, pairs=60, error={"dropout": 3.0}, kappa={"dropout": 1.5, "hybrid": 1.5}
    )
    assert verdicts(neither, losses())[5] == "refuted"


def test_seeds_without_a_partner_are_named():
    rows = study(seeds=SEEDS)
    rows = rows[(rows["arm"] != "dropout") | (rows["seed"] != 3)]
    _, statements = judge_claims(rows, losses())
    first = statements.iloc[0]
    assert first["seeds"] == SEEDS - 1
    assert "left out, since an arm has no value: seed 3" in first["note"]


def test_a_missing_arm_leaves_claims_undecided():
    rows = study(seeds=SEEDS, pairs=60, **TRUE)
    claims, statements = judge_claims(rows[rows["arm"] != "hybrid"], losses())
    assert not claims["verdict"].isin(["supported"])[:5].any()
    assert "runs of every arm" in claims.iloc[0]["would_take"]
    assert statements["note"].str.contains("hybrid has no runs").any()
    assert (statements["seeds"] == 0).any()


def test_a_protocol_without_losses_cannot_judge_the_gap():
    claims, statements = judge_claims(study(seeds=SEEDS), losses().iloc[:0])
    assert claims.iloc[5]["verdict"] == "undecided"
    assert (statements[statements["claim"] == 6]["seeds"] == 0).all()


def test_several_estimators_are_refused():
    rows = study(seeds=1)
    with pytest.raises(ValueError, match="one estimator"):
        judge_claims(pd.concat([rows, rows.assign(estimator="magsac")]), losses())


@pytest.mark.slow
def test_a_null_study_is_misread_in_one_of_twenty():
    wrong = []
    for key in range(40):
        _, statements = judge_claims(study(seeds=SEEDS, pairs=20, key=key), losses())
        directed = statements[statements["kind"] != "equivalent"]
        wrong.append((directed["holds"] | directed["opposite_holds"]).any())
    assert np.mean(wrong) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(wrong))
