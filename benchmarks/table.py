"""The table of measurements, printed, as Markdown and as CSV."""

import os
import platform
from dataclasses import asdict, fields
from datetime import datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Row
from homoreg.files import atomic_path, write_text
from homoreg.runs.environment import git_revision

# Processor flags that matter for bfloat16, as Linux names them.
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
HEADS = ("measured", "median", "min – max", "unit", "ratio")


def machine() -> dict[str, str]:
    """Hardware and software that the numbers depend on."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "processor": fields.get("model name", platform.processor() or platform.machine()),
        "cores": str(os.cpu_count()),
        "flags": " ".join(flag for flag in FLAGS if flag in flags) or "none of " + " ".join(FLAGS),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "lightning": version("lightning"),
        "OpenCV": version("opencv-python"),
        "Python": platform.python_version(),
        "revision": git_revision() or "unknown",
        "load before": ", ".join(f"{load:.1f}" for load in os.getloadavg()),
        "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
    }


def write_table(table: list[Row], heading: dict[str, str], stem: Path) -> None:
    """Write ``stem.md``, to be pasted into a page, and ``stem.csv``."""
    with atomic_path(stem.with_suffix(".csv")) as temporary:
        frame = pd.DataFrame([asdict(row) for row in table], columns=[f.name for f in fields(Row)])
        frame.to_csv(temporary, index=False)
    write_text(stem.with_suffix(".md"), markdown(table, heading))


def markdown(table: list[Row], heading: dict[str, str]) -> str:
    """The machine, and one table for each comparison."""
    lines = [f"- {name}: {value}" for name, value in heading.items()]
    for comparison, rows in groupby(table, key=lambda row: row.comparison):
        lines += ["", f"### {comparison}", "", "| setting | " + " | ".join(HEADS) + " |"]
        lines += ["| --- | --- | --: | --: | --- | --- |"]
        lines += ["| " + " | ".join((row.setting, *cells(row))) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def print_table(table: list[Row], console: Console) -> None:
    """Print one table for each comparison and setting."""
    for (comparison, setting), rows in groupby(table, key=lambda r: (r.comparison, r.setting)):
        shown = Table(title=f"{comparison}: {setting}", title_justify="left")
        for place, head in enumerate(HEADS):
            shown.add_column(head, justify="right" if place in (1, 2) else "left")
        for row in rows:
            shown.add_row(*cells(row))
        console.print(shown)


def cells(row: Row) -> tuple[str, ...]:
    """The cells of a row."""
    ratio = "" if row.ratio is None else f"{three_digits(row.ratio)} {row.against}"
    spread = f"{three_digits(row.low)} – {three_digits(row.high)}" if row.repeats > 1 else ""
    return row.measured, three_digits(row.value), spread, row.unit, ratio


def three_digits(value: float) -> str:
    """A number with three significant digits, without an exponent.

    >>> three_digits(0.012345), three_digits(9.876), three_digits(12345.6)
    ('0.0123', '9.88', '12,300')
    """
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"
