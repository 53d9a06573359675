"""Studies of the same arms side by side, on the pairs that they share."""

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
    counted,
    escape,
    probability,
)
from homoreg.study.sections.summary import says

COLUMNS = [
    Column("arm", "arm"),
    Column("seeds", "seeds"),
    Column("pairs", "n"),
    Column("mean_baseline", "first study", 3),
    Column("mean_arm", "second study", 3),
    Column("difference", "difference", 3, ("low", "high")),
    Column("p_holm", "p, Holm", probability),
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
        COLUMNS,
        by=["first", "second"],
    )
    parts: list[Part] = [intro, bullets(lines), *([part] if len(shown) else [])]
    frames = {"studies": table} if len(table) else {}
    return Section("studies", "Between studies", parts, frames, open=True)
