"""The report: one page, the same as Markdown, and every table and figure as a file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from homoreg.study.arms import order_arms, protocol_label
from homoreg.study.data import MANY_ARMS, StudyData
from homoreg.study.document import Part, Section, Table
from homoreg.study.render import write_sections
from homoreg.study.sections.accuracy import accuracy, stability
from homoreg.study.sections.best_epoch import best_epoch
from homoreg.study.sections.claims import claim_statements, claims
from homoreg.study.sections.comparison import comparison
from homoreg.study.sections.contrasts import contrasts
from homoreg.study.sections.original import original_figures
from homoreg.study.sections.pairs import pictures
from homoreg.study.sections.record import what_was_run
from homoreg.study.sections.shift import shift_response
from homoreg.study.sections.studies import studies
from homoreg.study.sections.summary import summary
from homoreg.study.sections.training import training
from homoreg.study.sections.uncertainty import uncertainty
from homoreg.study.sections.variations import ablation, dose, trials

Make = Callable[[StudyData], Section | None]
# In the order of the page; a section without anything to show is absent.
SECTIONS: list[Make] = [
    summary,
    studies,
    contrasts,
    claims,
    comparison,
    claim_statements,
    accuracy,
    stability,
    uncertainty,
    best_epoch,
    training,
    shift_response,
    original_figures,
    ablation,
    dose,
    trials,
    pictures,
    what_was_run,
]


def register_section(make: Make) -> Make:
    """Add a section of your own before the pictures; from a module that ``extensions`` names."""
    SECTIONS.insert(SECTIONS.index(pictures), make)
    return make


def write_report(folder: Path, study: StudyData) -> Path:
    """Write the whole report into ``folder``; returns the page's path.

    ``index.html`` needs nothing but itself; ``report.md``, ``tables/*.csv``, ``tables/*.tex`` and
    ``figures/`` hold the same. Files of an earlier report are replaced.
    """
    sections = [
        replace(section, parts=[part for part in section.parts if _filled(part)])
        for make in SECTIONS
        if (section := make(study)) is not None
    ]
    return write_sections(folder, study.title, _lead(study), notes(study), sections)


def _filled(part: Part) -> bool:
    return not isinstance(part, Table) or len(part.frame) > 0


def _lead(study: StudyData) -> str:
    done = study.done
    arms = ", ".join(order_arms(done["arm"])) if done["arm"].nunique() <= MANY_ARMS else ""
    lead = f"{len(done)} finished run{'s' * (len(done) != 1)}"
    lead += f": {arms}" if arms else f" of {done['arm'].nunique()} arms"
    seeds = done["seed"].nunique()
    lead += f", {seeds} seeds." if seeds > 1 else "."
    if len(study.rows):
        rows = study.rows
        lead += (
            f" Evaluated on {rows['pair_id'].nunique()} pairs of the benchmark "
            f"{', '.join(rows['benchmark'].unique())}, with "
            f"{' and '.join(rows['estimator'].unique())}."
        )
    return lead


def notes(study: StudyData) -> list[str]:
    """What a reader must know before comparing anything."""
    runs, done, rows = study.runs, study.done, study.rows
    notes = [
        f"{run} is {status}, not done, and left out of the tables."
        for run, status in zip(runs["run"], runs["status"], strict=True)
        if status != "done"
    ]
    notes += [
        f"{run} has no table of the benchmark; homoreg.evaluate makes one."
        for run in done.loc[done["evaluation_csv"] == "", "run"]
    ]
    if (done.groupby("protocol")["manifest_hash"].nunique() > 1).any():
        notes.append(
            "The runs of one protocol come from different manifests: their numbers do not compare."
        )
    if len(rows):
        evaluated = rows.groupby(["protocol", "estimator", "arm", "run"])["pair_id"].agg(frozenset)
        if (evaluated.groupby("protocol").nunique() > 1).any():
            notes.append(
                "Not all models were evaluated on the same pairs: compare no AUC between those."
            )
    notes += [
        f"There are too many arms of {protocol_label(protocol)} for figures by arm (more than "
        f"{MANY_ARMS}): the tables have them."
        for protocol in study.crowded()
    ]
    return notes
