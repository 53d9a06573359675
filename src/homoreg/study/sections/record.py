"""What was run: protocols, options, machines, versions, data, and how long it took."""

import pandas as pd

from homoreg.study import arms
from homoreg.study.document import (
    Column,
    Facts,
    Heading,
    Links,
    Part,
    Section,
    Table,
    as_text,
    number,
    view,
    with_interval,
)
from homoreg.study.gathered import Gathered


def what_was_run(study: Gathered) -> Section:
    protocols = arms.protocol_table(study.done, study.rows)
    costs = arms.cost_table(study.done)
    frames = {
        "runs": study.runs.assign(overrides=study.runs["overrides"].map(" ".join)),
        "protocols": protocols,
        "cost": costs,
    }
    parts: list[Part] = [
        Table(
            "protocols",
            "What there is: finished runs, arms (with their variants), seeds, and the pairs that "
            "they were judged on. The two protocols are never pooled.",
            "protocols",
            view(protocols, PROTOCOL_COLUMNS),
        ),
        Facts(_facts(study.done)),
    ]
    if study.many_runs:
        parts.append(
            Table(
                "cost",
                "What it took: mean wall-clock seconds of a run by phase, training speed in steady "
                "state, and hours of all the arm's runs together. Every run has its row, with its "
                "options, hashes and the way to its own tables, in "
                "`tables/runs.csv`.",
                "cost",
                view(study.readable(costs), _cost_columns(costs), by=["protocol"]),
            )
        )
    else:
        parts += [
            Table(
                "runs",
                "Every run that was found, with the options given on the command line, the first "
                "digits of its config's hash, the wall-clock seconds of each phase, and the "
                "training speed in steady state.",
                "runs",
                view(frames["runs"], _run_columns(study.runs)),
            ),
            Heading("The runs' own files"),
            Links(_links(study.runs)),
        ]
    if len(study.configs):
        frames["configs"] = study.configs
        columns = [Column("option", "option")]
        columns += [Column(name, name) for name in study.protocols]
        parts.append(
            Table(
                "configs",
                "Where the protocols' configs differ, each at its first run.",
                "configs",
                view(study.configs, columns),
            )
        )
    return Section("run", "What was run", parts, frames)


PROTOCOL_COLUMNS = [
    Column("protocol", "protocol"),
    Column("runs", "runs"),
    Column("arms", "arms"),
    Column("seeds", "seeds"),
    Column("pairs", "pairs"),
    Column("benchmark", "benchmark"),
    Column("estimators", "estimators"),
]


def _phases(table: pd.DataFrame, ending: str = "") -> list[str]:
    names = [name for name in map(str, table) if name.startswith("seconds.")]
    return [name.removesuffix(ending) for name in names if name.endswith(ending)]


def _cost_columns(costs: pd.DataFrame) -> list[Column]:
    seconds = [
        Column(f"{name}_mean", f"{name.removeprefix('seconds.')} (s)", number(0))
        for name in _phases(costs, "_mean")
    ]
    return [
        Column("arm", "arm"),
        Column("seeds", "runs"),
        *seconds,
        with_interval("patch_pairs_per_second", "patch pairs/s", number(0)),
        Column("hours", "all runs (h)", number(2)),
    ]


def _run_columns(runs: pd.DataFrame) -> list[Column]:
    seconds = [
        Column(name, f"{name.removeprefix('seconds.')} (s)", number(0)) for name in _phases(runs)
    ]
    return [
        Column("run", "run"),
        Column("status", "status"),
        Column("overrides", "overrides"),
        Column("config_hash", "config", lambda value: as_text(value)[:8]),
        *seconds,
        Column("patch_pairs_per_second", "patch pairs/s", number(0)),
    ]


def _facts(done: pd.DataFrame) -> list[tuple[str, str]]:
    """What all runs have in common, each value once."""
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
    facts = [
        (label, ", ".join(dict.fromkeys(map(as_text, done[column]))))
        for column, label in names.items()
        if column in done and done[column].notna().any()
    ]
    versions = [
        f"{column.removeprefix('versions.')} {'/'.join(dict.fromkeys(map(as_text, done[column])))}"
        for column in map(str, done.columns)
        if column.startswith("versions.")
    ]
    shared = set.intersection(*map(set, done["overrides"])) if len(done) else set()
    asked = [("options of all runs", " ".join(sorted(shared)))] if shared else []
    return [*facts, ("versions", ", ".join(versions)), *asked]


def _links(runs: pd.DataFrame) -> list[tuple[str, list[str]]]:
    keys = [key for key in ("evaluation_csv", "metrics_csv", "config_yaml") if key in runs]
    return [
        (record["run"], [record[key] for key in keys if record[key]])
        for record in runs.to_dict("records")
    ]
