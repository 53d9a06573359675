"""What the original study claimed, under its own protocol and under the corrected one."""

import pandas as pd

from homoreg.study.arms import PROTOCOLS, base_protocol, order_protocols, protocol_label
from homoreg.study.claims import DEPENDS, MIN_SEEDS, TESTS, VERDICTS, kappa_column
from homoreg.study.data import StudyData
from homoreg.study.document import Column, Part, Section, Table, bullets, capitalized, probability
from homoreg.study.statistics import fewest_seeds, sign_flip_power


def claims(study: StudyData) -> Section | None:
    """Absent where no protocol has all of the study's arms."""
    verdicts, statements = study.claims
    if not len(verdicts):
        return None
    whole = [name for name in study.protocols if name in set(verdicts["protocol"])]
    reached = [verdict for verdict in VERDICTS if verdict in set(verdicts["verdict"])]
    estimators = ", ".join(statements["estimator"].unique())
    parts: list[Part] = [
        "Each claim is a conjunction of statements about paired differences between seeds. Each "
        f"statement and its opposite are tested, over seeds and photos, under every estimator "
        f"({estimators}); the {TESTS} tests of a protocol and estimator are one family, by Holm at "
        "5 %. A verdict without a remark is that of every estimator.",
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
            _side_by_side(verdicts, whole),
            _claim_columns(whole),
        ),
    ]
    title = "What the original study claimed"
    return Section("claims", title, parts, {"claims": verdicts}, open=True)


def claim_statements(study: StudyData) -> Section | None:
    """What the claims consist of."""
    verdicts, statements = study.claims
    if not len(verdicts):
        return None
    part = Table(
        "statements",
        "The statements of the claims: the estimate over seeds with its 95 % interval over seeds "
        "and photos, Holm's p, and whether the statement holds, its opposite does, or neither. "
        "Effect sizes, skewness, margins, the p of the opposites and what was left out are in the "
        "CSV.",
        "statements",
        _statements(statements, verdicts),
        STATEMENT_COLUMNS,
        by=STATEMENT_KEYS,
    )
    return Section("statements", "The claims' statements", [part], {"statements": statements})


def _notes(study: StudyData, whole: list[str], statements: pd.DataFrame) -> list[str]:
    """What limits the verdicts: seeds, power, what κ is of, a protocol that was not run."""
    notes = []
    fewest = statements.groupby("protocol")["seeds"].min()
    for protocol in whole:
        seeds, label = int(fewest[protocol]), protocol_label(protocol)
        if seeds >= MIN_SEEDS:  # else the summary says what it takes
            power = sign_flip_power(1.0, seeds, TESTS, "greater")
            notes.append(
                f"{label}: with {seeds} seeds a difference of one standard "
                f"deviation is found with probability {power:.2f} in this family."
            )
        elif seeds >= fewest_seeds(3):
            notes.append(
                f"{protocol_label(protocol)}: below {MIN_SEEDS} seeds no claim can be tested."
            )
        kappa = kappa_column(study.rows_of(protocol), study.analyses[protocol])
        points = (
            "those of the solve's points that are within 3 px of their true place"
            if kappa.endswith("_correct")
            else "all matches that the solve used, right or wrong; the tables have none of the "
            "correct ones alone"
        )
        notes.append(f"{label}: κ is `{kappa}`, of {points}.")
    for protocol, label in PROTOCOLS.items():
        if protocol not in map(base_protocol, whole):
            name = "notebook" if protocol == "notebook" else "study"
            notes.append(
                f"{capitalized(label)} has not been run here: `python -m homoreg.train -m "
                f"experiment={name} study={name}` runs it, and `python -m homoreg.report "
                "runs=[multirun/notebook,multirun/study]` shows both."
            )
    return notes


def _side_by_side(verdicts: pd.DataFrame, whole: list[str]) -> pd.DataFrame:
    """A row per claim with each protocol's verdict and those of its estimators."""
    table = verdicts[["claim", "text", "caveat"]].drop_duplicates().reset_index(drop=True)
    for protocol in whole:
        own = verdicts[verdicts["protocol"] == protocol].set_index("claim")
        texts = {
            claim: f"{row['verdict']} ({row['by_estimator']})"
            if row["verdict"] == DEPENDS
            else row["verdict"]
            for claim, row in own.iterrows()
        }
        table[protocol] = table["claim"].map(texts)
    return table


def _claim_columns(whole: list[str]) -> list[Column]:
    columns = [Column("claim", "claim"), Column("text", "what it says")]
    for protocol in whole:
        columns.append(Column(protocol, protocol_label(protocol)))
    return [*columns, Column("caveat", "what the verdict does not mean")]


STATEMENT_KEYS = ["protocol", "statement of", "statement"]
STATEMENT_COLUMNS = [
    Column("estimator", "estimator"),
    Column("seeds", "seeds"),
    Column("estimate", "estimate", 3, ("low", "high")),
    Column("p_holm", "p, Holm", probability),
    Column("says", "verdict"),
]


def _statements(statements: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """The estimators' numbers below each other, by claim and statement."""
    texts = verdicts.drop_duplicates("claim").set_index("claim")["text"]
    table = statements.assign(
        **{"statement of": [f"{claim}. {texts[claim]}" for claim in statements["claim"]]},
        place=statements.groupby(["protocol", "estimator"], sort=False).cumcount(),
    )
    order = order_protocols(table["protocol"])
    return table.sort_values(
        ["protocol", "place"],
        key=lambda column: column.map(order.index) if column.name == "protocol" else column,
        kind="stable",
    )
