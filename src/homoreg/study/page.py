"""The report: one page, the same as Markdown, and every table and figure as a file."""

from collections.abc import Callable
from pathlib import Path

from homoreg.study.arms import order_arms, protocol_label
from homoreg.study.comparisons import identify_pairs
from homoreg.study.data import MANY_ARMS, StudyData
from homoreg.study.document import Section, counted, escape, listed, span
from homoreg.study.render import write_sections
from homoreg.study.sections.accuracy import accuracy, best_epoch, stability, uncertainty
from homoreg.study.sections.claims import claim_statements, claims
from homoreg.study.sections.comparisons import comparison, contrasts, studies
from homoreg.study.sections.original import original_figures
from homoreg.study.sections.pairs import pictures
from homoreg.study.sections.record import what_was_run
from homoreg.study.sections.summary import summary
from homoreg.study.sections.training import training
from homoreg.study.sections.variations import ablation, dose

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
    original_figures,
    ablation,
    dose,
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
    sections = [section for make in SECTIONS if (section := make(study)) is not None]
    sections.sort(key=lambda section: not section.open)
    return write_sections(folder, study.title, lead(study), notes(study), sections)


def lead(study: StudyData) -> str:
    """What was tested, at how many seeds and on what."""
    done, rows = study.done, study.rows
    text = f"{counted(len(done), 'finished run')} of {counted(done['arm'].nunique(), 'arm')}"
    if done["arm"].nunique() <= MANY_ARMS:
        seeds = done.groupby(["arm", "protocol"])["seed"].nunique().groupby("arm").agg(span)
        by_seeds: dict[str, list[str]] = {}
        for arm in order_arms(done["arm"]):
            by_seeds.setdefault(seeds[arm], []).append(escape(arm))
        groups = [
            f"{', '.join(arms)} ({counted(count, 'seed')})" for count, arms in by_seeds.items()
        ]
        text += f": {'; '.join(groups)}"
    text += (
        f", under {listed(map(protocol_label, study.protocols))}. An arm is a "
        "regularizer with its options; the arms of a seed are trained alike."
    )
    if len(rows):
        pairs = rows.groupby("protocol")["pair_id"].nunique()
        text += (
            " They are compared by the homographies estimated from their matches, with "
            f"{listed(rows['estimator'].unique())}, on {counted(span(pairs), 'pair')} of the "
            f"benchmark {', '.join(rows['benchmark'].unique())}."
        )
    return text


def notes(study: StudyData) -> list[str]:
    """What a reader must know before comparing anything."""
    runs, done = study.runs, study.done
    notes = [
        f"{run} is {status} and left out of the tables."
        for run, status in zip(runs["run"], runs["status"], strict=True)
        if status != "done"
    ]
    notes += [
        f"{run} has no table of the benchmark; homoreg.evaluate makes one."
        for run in done.loc[done["evaluation_csv"] == "", "run"]
    ]
    notes += dict.fromkeys(
        f"The arm {escape(arm)} has {escape(changed)} of its file in conf/regularizer."
        for (_, arm), changed in study.changed.items()
    )
    if len(study.rows):
        pairs = identify_pairs(study.rows).groupby(["protocol", "estimator", "arm", "run"])
        evaluated = pairs["pair_id"].agg(frozenset)
        if (evaluated.groupby("protocol").nunique() > 1).any():
            notes.append(
                "Not all models were evaluated on the same pairs. Arms are compared on the pairs "
                "that all runs of both evaluated; the numbers of a single arm are of its own pairs."
            )
    notes += [
        f"There are too many arms of {protocol_label(protocol)} for figures by arm (more than "
        f"{MANY_ARMS}): the tables have them."
        for protocol in study.crowded()
    ]
    return notes
