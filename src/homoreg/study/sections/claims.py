"""Last of all: what the study claimed, under its own protocol and under the corrected one."""

import pandas as pd

from homoreg.study.arms import ORIGINAL_ARMS, PROTOCOLS
from homoreg.study.claims import judge_claims
from homoreg.study.data import StudyData
from homoreg.study.document import (
    Column,
    Part,
    Section,
    Table,
    number,
    probability,
    view,
)
from homoreg.study.tables import training_table

NOT_RUN = "not run"


def claims(study: StudyData) -> Section | None:
    """Absent where no protocol has all of the study's arms."""
    whole = [
        protocol
        for protocol in study.protocols
        if set(ORIGINAL_ARMS) <= set(study.rows_of(protocol).get("arm", []))
    ]
    if not whole:
        return None
    rows = pd.concat(
        [
            own[(own["estimator"] == study.primary(protocol)) & own["arm"].isin(ORIGINAL_ARMS)]
            for protocol in whole
            if len(own := study.rows_of(protocol))
        ]
    )
    verdicts, statements = judge_claims(rows, _losses(study.done, whole), study.analyses)
    parts: list[Part] = [
        (
            "Each claim is a conjunction of statements about paired differences between seeds. All "
            "statements of a protocol are one family, by Holm at 5 %. Supported: every statement "
            "holds. Refuted: the opposite of at least one holds. Undecided: anything else."
        )
    ]
    parts += [
        (
            f"{label[0].upper()}{label[1:]} has not been run here. `{_command(protocol)}` runs it, "
            "and `python -m homoreg.report runs=[multirun/notebook,multirun/study]` puts the two "
            "side by side."
        )
        for protocol, label in PROTOCOLS.items()
        if protocol not in whole
    ]
    parts.append(
        Table(
            "claims",
            "The study's claims, judged with "
            + ", ".join(f"{study.primary(name)} under {PROTOCOLS[name]}" for name in whole)
            + ". What it would take is said of the undecided.",
            "claims",
            view(_side_by_side(verdicts, "verdict"), _claim_columns(whole)),
        )
    )
    parts.append(
        Table(
            "statements",
            "Their statements: the estimate over seeds with its 95 % interval, Holm's p, and "
            "whether the statement holds, its opposite does, or neither. Effect sizes, margins, "
            "the p of the opposites and what was left out are in the CSV.",
            "statements",
            view(_statements(statements, verdicts), _statement_columns(whole), by=["claim"]),
        )
    )
    frames = {"claims": verdicts, "statements": statements}
    return Section("claims", "What the study claimed", parts, frames)


def _losses(done: pd.DataFrame, protocols: list[str]) -> pd.DataFrame:
    """What the claim on overfitting is judged by: both losses of each run, in evaluation mode."""
    training = training_table(
        done[done["protocol"].isin(protocols) & done["arm"].isin(ORIGINAL_ARMS)]
    )
    return training[["protocol", "arm", "seed", "final_train_loss", "final_val_loss"]]


def _command(protocol: str) -> str:
    """What fills the column of a protocol that was not run."""
    name = "notebook" if protocol == "notebook" else "study"
    return (
        f"python -m homoreg.train -m experiment={name} regularizer={','.join(ORIGINAL_ARMS)} "
        f"'seed=range(12)' study={name}"
    )


def _side_by_side(verdicts: pd.DataFrame, value: str) -> pd.DataFrame:
    """A row per claim; a column per protocol with its ``value`` and one with what it would take."""
    keys = ["claim", "text"]
    table = verdicts[keys].drop_duplicates().reset_index(drop=True)
    for protocol in PROTOCOLS:
        own = verdicts[verdicts["protocol"] == protocol].set_index("claim")
        table[protocol] = [own[value].get(claim, NOT_RUN) for claim in table["claim"]]
        table[f"{protocol}_takes"] = [own["would_take"].get(claim, "") for claim in table["claim"]]
    return table


def _claim_columns(whole: list[str]) -> list[Column]:
    columns = [Column("claim", "claim"), Column("text", "what it says")]
    columns += [Column(protocol, label) for protocol, label in PROTOCOLS.items()]
    return columns + [
        Column(f"{protocol}_takes", f"what it would take, {protocol}") for protocol in whole
    ]


def _statements(statements: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """A row per claim and statement, the protocols' numbers beside each other."""
    texts = verdicts.drop_duplicates("claim").set_index("claim")["text"]
    judged = statements.assign(
        says=[
            "holds" if row["holds"] else "opposite holds" if row["opposite_holds"] else "open"
            for row in statements.to_dict("records")
        ]
    )
    keys = ["claim", "statement"]
    table = judged[keys].drop_duplicates()
    for protocol, own in judged.groupby("protocol", sort=False):
        numbers = own.set_index(keys)[["seeds", "estimate", "low", "high", "p_holm", "says"]]
        table = table.join(numbers.add_prefix(f"{protocol}_"), on=keys)
    table = table.sort_values("claim", kind="stable")
    return table.assign(claim=table["claim"].map(lambda claim: f"{claim}. {texts[claim]}"))


def _statement_columns(whole: list[str]) -> list[Column]:
    columns = [Column("statement", "statement")]
    for protocol in whole:
        columns += [
            Column(f"{protocol}_seeds", f"seeds, {protocol}"),
            Column(
                f"{protocol}_estimate",
                f"estimate, {protocol}",
                number(3),
                (f"{protocol}_low", f"{protocol}_high"),
            ),
            Column(f"{protocol}_p_holm", f"p, Holm, {protocol}", probability),
            Column(f"{protocol}_says", protocol),
        ]
    return columns
