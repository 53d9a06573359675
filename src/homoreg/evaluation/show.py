"""The summary of an evaluation on the terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from homoreg.aggregates import AUC_THRESHOLDS_PX
from homoreg.evaluation.table import label
from homoreg.metrics import METRICS

# Headings and what they show of an entry.
Columns = Mapping[str, Callable[[dict[str, Any]], str]]


def _at_thresholds(heading: str, key: str, form: str) -> Columns:
    return {
        f"{heading} {t}": lambda entry, t=t: format(entry[key][f"{t}px"], form)  # type: ignore[misc]
        for t in AUC_THRESHOLDS_PX
    }


def _median(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda entry: f"{entry['median'][name]:.{METRICS[name].decimals}f}"


def _failures(entry: dict[str, Any]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in entry["failures"].items())


HOMOGRAPHIES: Columns = {
    **_at_thresholds("AUC", "auc", ".1f"),
    "error px": lambda entry: f"{entry['median']['corner_error_px']:.3g}",
    "matches": _median("match_count"),
    "prec.": _median("precision_3px"),
    "recall": _median("recall_3px"),
    "failures": _failures,
}
MATCHES: Columns = {
    **_at_thresholds("MMA", "mma", ".3f"),
    "M. score": lambda entry: f"{entry['matching_score']:.3f}",
    "repeat.": lambda entry: f"{entry['repeatability']:.3f}",
    "AP": lambda entry: f"{entry['average_precision']:.3f}",
}
RERUNS: Columns = {
    "seeds": lambda entry: str(entry["seeds"]),
    "25 %": lambda entry: f"{entry['corner_spread_px']['quartile_1']:.3g}",
    "median": lambda entry: f"{entry['corner_spread_px']['median']:.3g}",
    "75 %": lambda entry: f"{entry['corner_spread_px']['quartile_3']:.3g}",
    "failed %": lambda entry: f"{100 * entry['failed_share']:.1f}",
}


def print_summary(
    entries: Sequence[dict[str, Any]], details: Mapping[str, Sequence[dict[str, Any]]]
) -> None:
    """Print the entries of ``summarize`` by estimator, best AUC at 5 px first, and the details.

    Args:
        entries: one for each descriptor and estimator.
        details: ``matching`` and ``reruns`` as in ``summary.json``.
    """
    _print(
        "AUC (0–100) of the corner error at px, failures infinite; medians over pairs",
        sorted(entries, key=lambda entry: (entry["estimator"], -entry["auc"]["5px"])),
        HOMOGRAPHIES,
    )
    _print(
        "Matches at 3 px: means over pairs; AP of all pairs' nearest neighbors",
        sorted(details["matching"], key=lambda entry: -entry["mma"]["3px"]),
        MATCHES,
    )
    if details["reruns"]:
        _print("Spread of a corner over sampling seeds, RMS px", details["reruns"], RERUNS)


def _print(title: str, entries: Sequence[dict[str, Any]], columns: Columns) -> None:
    """A line for each entry, and below it one for each of its groups of pairs."""
    table = Table(title=title)
    by = any("estimator" in entry for entry in entries)
    for heading in ("descriptor", *(["by"] if by else []), "pairs"):
        table.add_column(heading, no_wrap=True)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        parts = {label(entry): entry} | {f"  {n}": e for n, e in entry.get("groups", {}).items()}
        for name, part in parts.items():
            estimator = [entry["estimator"]] if by else []
            values = [show(part) for show in columns.values()]
            table.add_row(name, *estimator, str(part["pairs"]), *values)
    # Wide enough for every column also where the output is a file.
    Console(width=max(Console().width, 170)).print(table)
