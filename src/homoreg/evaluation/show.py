"""A summary on the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

# Heading and how an entry of a summary fills the column.
COLUMNS = {
    "AUC 5px": lambda entry: f"{entry['auc']['5px']:.1f}",
    "AUC 10px": lambda entry: f"{entry['auc']['10px']:.1f}",
    "error px": lambda entry: f"{entry['median']['corner_error_px']:.3g}",
    "prec 3px": lambda entry: f"{entry['median']['precision_3px']:.3f}",
    "recall 3px": lambda entry: f"{entry['median']['recall_3px']:.3f}",
    "matches": lambda entry: f"{entry['median']['match_count']:.0f}",
    "fail %": lambda entry: f"{100 * entry['failure_rate']:.1f}",
}


def print_summary(entries: Sequence[dict[str, Any]]) -> None:
    """Print a line for each descriptor and estimator of ``summarise``, best AUC at 5 px first."""
    table = Table(title="medians over pairs; AUC 0–100 of the corner error, failures infinite")
    for heading in ("descriptor", "by", "pairs"):
        table.add_column(heading, no_wrap=True)
    for heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in sorted(entries, key=lambda e: (e["estimator"], -e["auc"]["5px"])):
        table.add_row(
            label(entry),
            entry["estimator"],
            str(entry["pairs"]),
            *(fill(entry) for fill in COLUMNS.values()),
        )
    # Wide enough for every column also where the output is a file.
    Console(width=max(Console().width, 120)).print(table)


def label(entry: dict[str, Any]) -> str:
    """``cnn l2 0`` for a trained arm and its seed, the name alone for a peer."""
    seed = "" if entry["seed"] is None else str(entry["seed"])
    return " ".join(part for part in (entry["descriptor"], entry["regularizer"], seed) if part)
