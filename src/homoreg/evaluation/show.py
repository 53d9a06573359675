"""A summary on the terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from homoreg.aggregates import AUC_THRESHOLDS_PX
from homoreg.evaluation.table import label

# How an entry of a summary fills a column, and columns by their headings.
Fill = Callable[[dict[str, Any]], str]
Columns = Mapping[str, Fill]


def at_thresholds(heading: str, key: str, form: str) -> dict[str, Fill]:
    """A column for each threshold in px that is shown."""

    def fill(threshold: int) -> Fill:
        return lambda entry: format(entry[key][f"{threshold}px"], form)

    return {f"{heading} {threshold}": fill(threshold) for threshold in AUC_THRESHOLDS_PX}


HOMOGRAPHIES: Columns = {
    **at_thresholds("AUC", "auc", ".1f"),
    "error px": lambda entry: f"{entry['median']['corner_error_px']:.3g}",
    "matches": lambda entry: f"{entry['median']['match_count']:.0f}",
    "prec": lambda entry: f"{entry['median']['precision_3px']:.3f}",
    "recall": lambda entry: f"{entry['median']['recall_3px']:.3f}",
    "failures": lambda entry: ", ".join(f"{n} {why}" for why, n in _failures(entry).items()),
}
MATCHES: Columns = {
    **at_thresholds("MMA", "mma", ".3f"),
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
    """Print the entries of ``summarize``, best AUC at 5 px first, and those of the recorders.

    Args:
        entries: one a descriptor and estimator.
        details: ``matching`` and ``reruns``, as they stand in ``summary.json``.
    """
    best_first = sorted(entries, key=lambda e: (e["estimator"], -e["auc"]["5px"]))
    homographies = "AUC (0–100) of the corner error at px, failures infinite; medians over pairs"
    _print(homographies, best_first, HOMOGRAPHIES)
    matches = "matches at 3 px: means over pairs; AP of all pairs' nearest neighbors"
    precise_first = sorted(details["matching"], key=lambda e: -e["mma"]["3px"])
    _print(matches, precise_first, MATCHES)
    if details["reruns"]:
        spread = "robust estimators' own spread: RMS px of a corner over seeds, by pair"
        _print(spread, details["reruns"], RERUNS)


def _print(title: str, entries: Sequence[dict[str, Any]], columns: Columns) -> None:
    """A line an entry, and beneath it one for each of its groups of pairs."""
    table = Table(title=title)
    estimators = any("estimator" in entry for entry in entries)
    for heading in ("descriptor", *(["by"] if estimators else []), "pairs"):
        table.add_column(heading, no_wrap=True)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        by = [entry["estimator"]] if estimators else []
        table.add_row(label(entry), *by, str(entry["pairs"]), *_filled(entry, columns))
        for name, part in entry.get("groups", {}).items():
            table.add_row(f"  {name}", *by, str(part["pairs"]), *_filled(part, columns))
    # Wide enough for every column also where the output is a file.
    console = Console()
    Console(width=max(console.width, 170)).print(table)


def _failures(entry: dict[str, Any]) -> dict[str, int]:
    return entry["failures"] | ({"folded": entry["folded"]} if entry["folded"] else {})


def _filled(entry: dict[str, Any], columns: Columns) -> list[str]:
    return [fill(entry) for fill in columns.values()]
