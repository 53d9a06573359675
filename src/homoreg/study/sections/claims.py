"""What the original study claimed, under its own protocol and under the corrected one."""

import pandas as pd

from homoreg.study.arms import ORIGINAL_ARMS, PROTOCOLS, base_protocol, protocol_label, sort_models
from homoreg.study.claims import MIN_SEEDS, TESTS, VERDICTS, kappa_column
from homoreg.study.comparisons import OUTCOMES
from homoreg.study.data import BASELINE, StudyData
from homoreg.study.document import (
    VERDICT,
    Column,
    Part,
    Section,
    Table,
    bullets,
    capitalized,
    probability,
)
from homoreg.study.sections.comparisons import ARM, DIFFERENCE, P_HOLM, SEEDS
from homoreg.study.statistics import sign_flip_power

STATEMENT_COLUMNS = [
    Column("estimator", "estimator"),
    Column("seeds", "seeds"),
    Column("estimate", "estimate", 3, ("low", "high")),
    Column("p_holm", "p, Holm", probability),
    Column("says", "verdict"),
]
# What claim 1 counts, and what the counts are worth: all matches, and as many correct ones.
MATCHES = ["match_count", "precision_3px", "precision_at_recall_10"]
MATCH_COLUMNS = [
    *(ARM, SEEDS, Column("mean_baseline", BASELINE, 3), Column("mean_arm", "arm's", 3)),
    *(DIFFERENCE, P_HOLM, VERDICT),
]


def claims(study: StudyData) -> Section | None:
    """Absent where no protocol has all of the study's arms."""
    verdicts, statements = study.claims
    if not len(verdicts):
        return None
    whole = [name for name in study.protocols if name in set(verdicts["protocol"])]
    reached = [verdict for verdict in VERDICTS if verdict in set(verdicts["verdict"])]
    estimators = ", ".join(statements["estimator"].unique())
    # A row per claim with each protocol's verdict, and its estimators' where they differ.
    several = verdicts["by_estimator"].map(
        lambda by: len({one.partition(": ")[2] for one in by.split("; ")}) > 1
    )
    by_estimator = verdicts["verdict"] + " (" + verdicts["by_estimator"] + ")"
    shown = verdicts["verdict"].mask(several, by_estimator)
    table = verdicts.assign(shown=shown).pivot(
        index=["claim", "text", "caveat"], columns="protocol", values="shown"
    )
    parts: list[Part] = [
        "Each claim is a conjunction of statements about paired differences between seeds. Each "
        "statement and its opposite are tested, over seeds and photos, under every estimator "
        f"({estimators}); the {TESTS} tests of a protocol and estimator are one family (Holm, 5 %)."
        " A verdict without a remark is that of every estimator.",
        bullets(
            [
                *(f"**{verdict}**: {VERDICTS[verdict]}" for verdict in reached),
                *_notes(study, whole, statements),
            ]
        ),
        Table(
            "claims",
            "The study's claims. Whatever the verdict, the last column says what it does not mean.",
            "claims",
            table.reset_index(),
            [
                *(Column("claim", "claim"), Column("text", "what it says")),
                *(Column(protocol, protocol_label(protocol)) for protocol in whole),
                Column("caveat", "what the verdict does not mean"),
            ],
        ),
    ]
    if len(matches := _matches(study, whole)):
        parts.append(
            Table(
                "claim_1",
                "Claim 1 beside what its matches are worth. A ratio test at 0.8 keeps a different "
                "share of each descriptor's matches. At equal recall, each pair's nearest "
                "neighbors are taken from the smallest ratio on until a tenth of the repeatable "
                "keypoints is matched correctly; a pair that does not reach it counts as 0.",
                "comparisons",
                matches,
                MATCH_COLUMNS,
                by=["protocol", "outcome"],
            )
        )
    title = "What the original study claimed"
    return Section("claims", title, parts, {"claims": verdicts}, open=True)


def _matches(study: StudyData, protocols: list[str]) -> pd.DataFrame:
    """The original arms' matches against those of `none`; empty without a comparison."""
    table = study.comparisons
    if not len(table):
        return table
    table = table[table["estimator"] == table["protocol"].map(study.primary)]
    table = table[
        table["protocol"].isin(protocols)
        & table["metric"].isin(MATCHES)
        & table["arm"].isin(ORIGINAL_ARMS)
    ]
    labels = {name: OUTCOMES[name].label for name in MATCHES}
    places = table["metric"].map(MATCHES.index)
    table = table.assign(outcome=table["metric"].map(labels), place=places)
    return sort_models(table, ["protocol", "place", "arm"])


def claim_statements(study: StudyData) -> Section | None:
    """What the claims consist of, the estimators below each other."""
    verdicts, statements = study.claims
    if not len(verdicts):
        return None
    texts = verdicts.drop_duplicates("claim").set_index("claim")["text"]
    place = statements.groupby(["protocol", "estimator"], sort=False).cumcount()
    claim = statements["claim"].map("{}. ".format) + statements["claim"].map(texts)
    shown = statements.assign(place=place, **{"statement of": claim})
    part = Table(
        "statements",
        "The statements of the claims: the estimate over seeds with its 95 % interval over seeds "
        "and photos, Holm's p, and whether the statement holds, its opposite does, or neither. "
        "Effect sizes, skewness, margins, the p of the opposites and what was left out are in the "
        "CSV.",
        "statements",
        sort_models(shown, ["protocol", "place", "estimator"]),
        STATEMENT_COLUMNS,
        by=["protocol", "statement of", "statement"],
    )
    return Section("statements", "The claims' statements", [part], {"statements": statements})


def _notes(study: StudyData, whole: list[str], statements: pd.DataFrame) -> list[str]:
    """What limits the verdicts: seeds, power, what κ is of, a protocol that was not run."""
    notes = []
    for protocol in whole:
        label = capitalized(protocol_label(protocol))
        seeds = int(statements.loc[statements["protocol"] == protocol, "seeds"].min())
        text = f"{label}: {seeds} seeds, and a claim takes {MIN_SEEDS}."
        if seeds >= MIN_SEEDS:
            power = sign_flip_power(1.0, seeds, TESTS, "greater")
            text = (
                f"{label}: with {seeds} seeds a difference of one standard deviation is found with "
                f"probability {power:.2f} in this family."
            )
        kappa = kappa_column(study.rows_of(protocol), study.analyses[protocol])
        points = (
            "those of the solve's points that are within 3 px of their true place"
            if kappa.endswith("_correct")
            else "all matches that the solve used, right or wrong"
        )
        notes.append(f"{text} κ is `{kappa}`, of {points}.")
    for protocol in PROTOCOLS.keys() - set(map(base_protocol, study.protocols)):
        name = {"corrected": "study"}.get(protocol, protocol)
        notes.append(
            f"{capitalized(PROTOCOLS[protocol])} has not been run here: `python -m homoreg.train "
            f"-m experiment={name} study={name}` runs it."
        )
    return notes
