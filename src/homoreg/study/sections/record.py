"""What was run: protocols, options, machines, versions, data, and the time it took."""

import pandas as pd

from homoreg.study import tables
from homoreg.study.data import StudyData
from homoreg.study.document import (
    Column,
    Part,
    Section,
    Table,
    as_text,
    bullets,
    escape,
    with_interval,
)

ENVIRONMENT = {
    "device": "device",
    "training.precision": "precision",
    "machine.processor": "processor",
    "machine.cores": "cores",
    "machine.threads": "threads",
    "machine.gpu": "GPU",
    "git_revision": "git revision",
    "manifest_hash": "manifest of the pairs",
}


def what_was_run(study: StudyData) -> Section:
    protocols = tables.protocol_table(study.done, study.rows)
    costs = tables.cost_table(study.done)
    phases = [
        Column(name, f"{name.removeprefix('seconds.').removesuffix('_mean')} (s)", 0)
        for name in map(str, costs.filter(regex=r"^seconds\..*_mean$"))
    ]
    names = ("protocol", "runs", "arms", "seeds", "pairs", "photos", "benchmark", "estimators")
    parts: list[Part] = [
        Table(
            "protocols",
            "Finished runs, arms (with their variants), seeds, and the pairs of the evaluation. "
            "Protocols are never pooled.",
            "protocols",
            protocols,
            [Column(name, name) for name in names],
        ),
        bullets(_environment(study.done)),
        Table(
            "cost",
            "Mean wall-clock seconds of a run by phase, training speed in steady state, and hours "
            "of all the arm's runs together. Each run, with its hashes, its machine and its files, "
            "has a row in `tables/runs.csv`.",
            "cost",
            study.readable(costs),
            [
                *(Column("arm", "arm"), Column("seeds", "runs"), *phases),
                with_interval("patch_pairs_per_second", "patch pairs/s", 0),
                Column("hours", "all runs (h)", 2),
            ],
            by=["protocol"],
        ),
    ]
    runs = study.runs.drop(columns=["settings", "analysis"])
    frames = {"runs": runs, "protocols": protocols, "cost": costs}
    if len(study.configs):
        frames["configs"] = study.configs
        columns = [Column(name, name) for name in ("option", *study.protocols)]
        caption = "Options in which the protocols differ, each at its first run."
        parts.append(Table("configs", caption, "configs", study.configs, columns))
    return Section("run", "What was run", parts, frames)


def _environment(done: pd.DataFrame) -> list[str]:
    """Machines, versions and data, each value once."""

    def values(column: str, separator: str) -> str:
        return escape(separator.join(done[column].map(as_text).unique()))

    known = [name for name in ENVIRONMENT if name in done and done[name].notna().any()]
    packages = map(str, done.filter(regex=r"^versions\."))
    versions = [f"{name.removeprefix('versions.')} {values(name, '/')}" for name in packages]
    lines = [f"{ENVIRONMENT[name]}: {values(name, ', ')}" for name in known]
    return [*lines, f"versions: {', '.join(versions)}"]
