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


def what_was_run(study: StudyData) -> Section:
    protocols = tables.protocol_table(study.done, study.rows)
    costs = tables.cost_table(study.done)
    runs = study.runs.drop(columns=["settings", "analysis"])
    frames = {"runs": runs, "protocols": protocols, "cost": costs}
    parts: list[Part] = [
        Table(
            "protocols",
            "Finished runs, arms (with their variants), seeds, and the pairs of the evaluation. "
            "The two protocols are never pooled.",
            "protocols",
            protocols,
            PROTOCOL_COLUMNS,
        ),
        bullets(_environment(study.done)),
    ]
    if study.many_runs:
        parts.append(
            Table(
                "cost",
                "Mean wall-clock seconds of a run by phase, training speed in steady state, and "
                "hours of all the arm's runs together. Each run has a row in `tables/runs.csv`.",
                "cost",
                study.readable(costs),
                _cost_columns(costs),
                by=["protocol"],
            )
        )
    else:
        parts += [
            Table(
                "runs",
                "Every run that was found, the first digits of its training's hash, the wall-clock "
                "seconds of each phase, and the training speed in steady state.",
                "runs",
                runs,
                _run_columns(runs),
            ),
            "### Files of the runs",
            bullets(_links(runs)),
        ]
    if len(study.configs):
        frames["configs"] = study.configs
        columns = [Column(name, name) for name in ("option", *study.protocols)]
        caption = "Options in which the protocols differ, each at its first run."
        parts.append(Table("configs", caption, "configs", study.configs, columns))
    return Section("run", "What was run", parts, frames)


PROTOCOL_COLUMNS = [
    Column(name, name)
    for name in (
        *("protocol", "runs", "arms", "seeds", "pairs", "photos", "benchmark", "estimators"),
    )
]


def _phases(table: pd.DataFrame, ending: str = "") -> list[str]:
    names = [name for name in map(str, table) if name.startswith("seconds.")]
    return [name.removesuffix(ending) for name in names if name.endswith(ending)]


def _cost_columns(costs: pd.DataFrame) -> list[Column]:
    return [
        Column("arm", "arm"),
        Column("seeds", "runs"),
        *(
            Column(f"{name}_mean", f"{name.removeprefix('seconds.')} (s)", 0)
            for name in _phases(costs, "_mean")
        ),
        with_interval("patch_pairs_per_second", "patch pairs/s", 0),
        Column("hours", "all runs (h)", 2),
    ]


def _run_columns(runs: pd.DataFrame) -> list[Column]:
    return [
        Column("run", "run"),
        Column("status", "status"),
        Column("arm", "arm"),
        Column("training_hash", "training", lambda value: as_text(value)[:8]),
        *(Column(name, f"{name.removeprefix('seconds.')} (s)", 0) for name in _phases(runs)),
        Column("patch_pairs_per_second", "patch pairs/s", 0),
    ]


def _environment(done: pd.DataFrame) -> list[str]:
    """Machines, versions and data, each value once."""
    names = {
        "device": "device",
        "training.precision": "precision",
        "machine.processor": "processor",
        "machine.cores": "cores",
        "machine.threads": "threads",
        "machine.gpu": "GPU",
        "git_revision": "git revision",
        "manifest_hash": "manifest of the pairs",
    }
    lines = [
        f"{label}: {escape(', '.join(dict.fromkeys(map(as_text, done[column]))))}"
        for column, label in names.items()
        if column in done and done[column].notna().any()
    ]
    versions = [
        f"{column.removeprefix('versions.')} {'/'.join(dict.fromkeys(map(as_text, done[column])))}"
        for column in map(str, done)
        if column.startswith("versions.")
    ]
    return [*lines, f"versions: {escape(', '.join(versions))}"]


def _links(runs: pd.DataFrame) -> list[str]:
    lines = []
    for record in runs.to_dict("records"):
        files = [record[key] for key in ("evaluation_csv", "metrics_csv", "config_yaml")]
        links = [f"[{'/'.join(file.split('/')[-2:])}](<{file}>)" for file in files if file]
        lines.append(f"{escape(record['run'])}: {', '.join(links) or 'none'}")
    return lines
