"""The contrasts that the study was made for, stated in its config before the runs started."""

from dataclasses import replace

from homoreg.study.arms import protocol_label
from homoreg.study.comparisons import OUTCOMES
from homoreg.study.data import StudyData
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
from homoreg.study.sections.summary import says
from homoreg.study.statistics import ALPHA, fewest_seeds

COLUMNS = [
    Column("arm", "arm"),
    Column("against", "against"),
    Column("seeds", "seeds"),
    Column("difference", "difference, last epoch", 3, ("low", "high")),
    Column("p_holm", "p, Holm", probability),
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
                for row in own.to_dict("records")
            ]
            label = f"{capitalized(protocol_label(protocol))}:"
            parts += [label] * (len(study.protocols) > 1) + [bullets(lines)]
    parts.append(
        Table(
            "contrasts",
            "The same as numbers, after equal training (the last epoch) and with each run at its "
            "best epoch on validation patches. Other estimators, which are not part of the family, "
            "are in the CSV.",
            "contrasts",
            shown,
            COLUMNS,
            by=["protocol"],
        )
    )
    return Section("contrasts", "Stated beforehand", parts, {"contrasts": table}, open=True)
