"""The summary of an evaluation on the terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from homoreg.aggregates import AUC_THRESHOLDS_PX
from homoreg.evaluation.table import label
from homoreg.metrics import CONTROLS, METRICS

WIDTH = 100  # columns that a table may take at least, also where the output is a file
# Headings and what they show of an entry.
Columns = Mapping[str, Callable[[dict[str, Any]], str]]


def _at(key: str, form: str, positions: Sequence[str], unit: str = "") -> Columns:
    """A column for each threshold of an entry's ``key``."""
    return {
        f"@{place}": lambda entry, place=place: format(entry[key][f"{place}{unit}"], form)  # type: ignore[misc]
        for place in positions
    }


def _median(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda entry: f"{entry['median'][name]:.{METRICS[name].decimals}f}"


THRESHOLDS = [str(threshold) for threshold in AUC_THRESHOLDS_PX]
HOMOGRAPHIES: Columns = {
    **_at("auc", ".1f", THRESHOLDS, "px"),
    "error": lambda entry: f"{entry['median']['corner_error_px']:.3g}",
    "matches": _median("match_count"),
    "prec.": _median("precision_3px"),
    "recall": _median("recall_3px"),
    "failed": lambda entry: f"{100 * entry['failure_rate']:.1f} %",
}
MATCHES: Columns = {
    **_at("mma", ".3f", THRESHOLDS, "px"),
    "M. score": lambda entry: f"{entry['matching_score']:.3f}",
    "repeat.": lambda entry: f"{entry['repeatability']:.3f}",
    "AP": lambda entry: f"{entry['average_precision']:.3f}",
    "P at R .1": lambda entry: f"{entry['precision_at_recall']['0.1']:.3f}",
    "P at R .3": lambda entry: f"{entry['precision_at_recall']['0.3']:.3f}",
}
RERUNS: Columns = {
    "seeds": lambda entry: str(entry["seeds"]),
    "25 %": lambda entry: f"{entry['corner_spread_px']['quartile_1']:.3g}",
    "median": lambda entry: f"{entry['corner_spread_px']['median']:.3g}",
    "75 %": lambda entry: f"{entry['corner_spread_px']['quartile_3']:.3g}",
    "failed": lambda entry: f"{100 * entry['failed_share']:.1f} %",
}


def print_summary(
    entries: Sequence[dict[str, Any]], details: Mapping[str, Sequence[dict[str, Any]]]
) -> None:
    """Print the entries of ``summarize``, robust estimators and best AUC first, and the details.

    Args:
        entries: one for each descriptor and estimator.
        details: ``matching`` and ``reruns`` as in ``summary.json``.
    """
    estimators = list(dict.fromkeys(entry["estimator"] for entry in entries))
    estimators.sort(key=lambda name: name.startswith("dlt"))
    _print(
        "Corner error: AUC (0–100) @px, median px; matches at 3 px: medians; failures count",
        sorted(entries, key=lambda e: (estimators.index(e["estimator"]), -e["auc"]["5px"])),
        HOMOGRAPHIES,
    )
    _print(
        "Matches: MMA @px of mutual neighbors or a system's matches; precision P at a recall R, 0 "
        "if not reached",
        sorted(details["matching"], key=lambda entry: -entry["mma"]["3px"]),
        MATCHES,
    )
    if details["reruns"]:
        _print("Spread of a corner over sampling seeds, RMS px", details["reruns"], RERUNS)


def _print(title: str, entries: Sequence[dict[str, Any]], columns: Columns) -> None:
    """A line for each entry, and below it one for each of its groups of pairs."""
    pairs = max((entry["pairs"] for entry in entries), default=0)
    controls = any(entry["descriptor"] in CONTROLS for entry in entries)
    table = Table(
        title=f"{title}; {pairs} pairs",
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption="* control" if controls else None,
    )
    table.add_column("descriptor", overflow="fold", max_width=30)
    by = any("estimator" in entry for entry in entries)
    if by:
        table.add_column("estimator", no_wrap=True)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    previous = None
    for entry in entries:
        estimator = [entry["estimator"]] if by else []
        if previous not in (None, estimator):
            table.add_section()
        previous = estimator
        name = label(entry) + (" *" if entry["descriptor"] in CONTROLS else "")
        groups = {f"  {n} ({e['pairs']})": e for n, e in entry.get("groups", {}).items()}
        for line, part in {name: entry, **groups}.items():
            # A system has no recall, since its keypoints are not known.
            cells = (show(part).replace("nan", "–") for show in columns.values())
            table.add_row(line, *estimator, *cells)
    Console(width=max(Console().width, WIDTH)).print(table)
