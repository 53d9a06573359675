"""A summary on the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_summary(entries: Sequence[dict[str, Any]]) -> None:
    """Print a line for each descriptor and estimator of :func:`summarise`, best AUC at 5 px first."""
    table = Table(title=f"{entries[0]['pairs']} pairs; medians, failures counted as infinite errors")
    for heading in ("descriptor", "arm", "seed", "estimator"):
        table.add_column(heading, overflow="fold")
    columns = ("AUC@5px", "AUC@10px", "corner error px", "precision@3px", "recall@3px", "matches")
    for heading in (*columns, "failures %"):
        table.add_column(heading, justify="right")
    for entry in sorted(entries, key=lambda e: (e["estimator"], -e["auc"]["5px"])):
        median = entry["median"]
        table.add_row(
            entry["descriptor"],
            entry["regularizer"] or "",
            "" if entry["seed"] is None else str(entry["seed"]),
            entry["estimator"],
            f"{entry['auc']['5px']:.1f}",
            f"{entry['auc']['10px']:.1f}",
            f"{median['corner_error_px']:.2f}",
            f"{median['precision_3px']:.3f}",
            f"{median['recall_3px']:.3f}",
            f"{median['match_count']:.0f}",
            f"{100 * entry['failure_rate']:.1f}",
        )
    Console(width=None).print(table)
