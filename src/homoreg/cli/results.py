"""The summary that a training prints: arms compared with the control, and the next commands."""

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from homoreg.runs import RunFolder

WIDTH = 100  # columns of the table, also where the output is a file
CONTROL = "none"  # the regularizer that the others are compared with
# Headings, metrics of a run and their formats.
COLUMNS = {
    "AUC @5 px": ("auc_5px", "{:.1f}"),
    "prec.": ("precision_3px", "{:.2f}"),
    "recall": ("recall_3px", "{:.2f}"),
    "matches": ("match_count", "{:.0f}"),
    "failed": ("failure_rate", "{:.1%}"),
}
ERROR = "log10_corner_error"


def print_results(runs: Iterable[RunFolder], folder: Path) -> None:
    """Print a line for each arm of the finished runs, and the commands that come next.

    Args:
        runs: of one sweep, or a single one; what has no results is left out.
        folder: of the sweep, or of the run.
    """
    arms: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        record = run.record
        estimator = _primary(record)
        if estimator:
            arms.setdefault(_arm(run.name, record), []).append(
                {name: record["metrics"].get(f"{estimator}/{name}", np.nan) for name in NAMES}
                | {"estimator": estimator}
            )
    if not arms:
        return
    means = {
        arm: {name: float(np.mean([run[name] for run in own])) for name in NAMES}
        for arm, own in arms.items()
    }
    estimators = sorted({run["estimator"] for own in arms.values() for run in own})
    table = Table(
        title=f"{'/'.join(estimators)}, means over the seeds; error: geometric, failures 100 px",
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("arm", overflow="fold")
    for heading in ("seeds", "error (px)", f"× {CONTROL}", *COLUMNS):
        table.add_column(heading, justify="right", no_wrap=True)
    for arm in sorted(means, key=lambda arm: (_control(arm), arm != _control(arm), arm)):
        own = means[arm]
        control = means.get(_control(arm), {}).get(ERROR, np.nan)
        shown = [form.format(own[name]) for name, form in COLUMNS.values()]
        ratio = 10 ** (own[ERROR] - control)
        table.add_row(
            re.sub(r"(^|\+)(recipe|regularizer)-", r"\1", arm),  # strong+l2 fits on a line
            str(len(arms[arm])),
            f"{10 ** own[ERROR]:.2f}",
            "–" if np.isnan(ratio) else f"{ratio:.2f}",
            *shown,
        )
    console = Console(width=max(Console().width, WIDTH))
    console.print(table)
    where = shlex.quote(os.path.relpath(folder))
    for command in (f"report runs={where}", f"evaluate runs={where} descriptors=[rootsift]"):
        line = f"next: python -m homoreg.{command}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


NAMES = (ERROR, *(name for name, _ in COLUMNS.values()))


def _primary(record: dict[str, Any]) -> str:
    """The first of the analysis's estimators that a run was evaluated with; empty without one."""
    metrics = record.get("metrics") or {}
    preferred = (record.get("analysis") or {}).get("estimators", ())
    found = [name.partition("/")[0] for name in metrics if name.endswith("/auc_5px")]
    return next((name for name in [*preferred, *found] if name in found), "")


def _arm(name: str, record: dict[str, Any]) -> str:
    """The name of a sweep's job without its seed; where nothing else is in it, the regularizer.

    >>> _arm("recipe-strong+optimizer.lr-1e-3+seed-0", {"job": {}})
    'recipe-strong+optimizer.lr-1e-3'
    >>> _arm("seed-0", {"job": {}, "training": {"regularizer": "l2"}})
    'regularizer-l2'
    """
    arm = re.sub(r"\+?seed-\d+$", "", name)
    if "job" in record and arm not in ("", "job"):
        return arm
    return f"regularizer-{record['training']['regularizer']}"


def _control(arm: str) -> str:
    """The arm that an arm is compared with; empty where its name has no regularizer.

    >>> _control("recipe-strong+regularizer-l2+regularizer.weight_decay-1e-3")
    'recipe-strong+regularizer-none'
    """
    before, named, _ = arm.partition("regularizer-")
    return f"{before}{named}{CONTROL}" if named else ""
