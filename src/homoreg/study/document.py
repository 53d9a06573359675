"""What a report is made of, whichever way it is written: sections of text, tables and figures.

Texts are plain; what stands in `backticks` is typed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from homoreg.study.tables import PROTOCOLS

Format = Callable[[Any], str]
SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def number(decimals: int) -> Format:
    """A format with so many decimals; a power of ten where that would be unreadable.

    >>> [number(2)(value) for value in (3.14159, -1, 123456.7, float("inf"), float("nan"))]
    ['3.14', '−1.00', '1.2·10⁵', '∞', '–']
    """

    def format_number(value: Any) -> str:
        if pd.isna(value):
            return "–"
        if np.isinf(value):
            return "∞" if value > 0 else "−∞"
        if abs(value) >= 1e5 and decimals:
            mantissa, exponent = f"{value:.1e}".split("e")
            return f"{mantissa}·10{str(int(exponent)).translate(SUPERSCRIPT)}".replace("-", "−")
        return f"{value:.{decimals}f}".replace("-", "−")

    return format_number


def as_text(value: Any) -> str:
    """Anything as it is; floats in their shortest form, an absence as a dash."""
    if pd.isna(value) or value == "":
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def probability(value: Any) -> str:
    """A p value: three decimals, and small ones as a bound.

    >>> [probability(p) for p in (0.04321, 0.0002, float("nan"))]
    ['0.043', '< 0.001', '–']
    """
    return "< 0.001" if value < 0.001 else number(3)(value)


@dataclass(frozen=True)
class Cell:
    """One cell: what is read, and its kind: ``text``, ``range``, or a number."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class View:
    """A table as it is shown: ``groups`` of rows, each under its own heading (or none)."""

    headings: list[tuple[Cell, int]]  # and how many columns it spans
    groups: list[tuple[str, list[list[Cell]]]]


@dataclass(frozen=True)
class Column:
    """How a frame's column is shown; ``between`` are the two that bound its interval."""

    key: str
    heading: str
    show: Format = as_text
    between: tuple[str, str] | None = None


def with_interval(number_name: str, heading: str, show: Format) -> Column:
    """The mean over seeds of a number, with its interval."""
    return Column(
        f"{number_name}_mean", heading, show, (f"{number_name}_low", f"{number_name}_high")
    )


def view(table: pd.DataFrame, columns: Iterable[Column], by: Sequence[str] = ()) -> View:
    """Show the columns that a frame has, its rows grouped under headings.

    Args:
        by: columns whose values make the headings; one protocol alone needs none.
    """
    by = [key for key in by if key != "protocol" or table[key].nunique() > 1]
    columns = [column for column in columns if column.key in table]
    kinds = {c.key: "" if pd.api.types.is_numeric_dtype(table[c.key]) else "text" for c in columns}
    headings = [(Cell(c.heading, kinds[c.key]), 2 if c.between else 1) for c in columns]
    parts = table.groupby(by, sort=False) if by else [((), table)]
    groups = []
    for key, part in parts:
        rows = []
        for record in part.to_dict("records"):
            row = []
            for c in columns:
                row.append(Cell(c.show(record[c.key]), kinds[c.key]))
                if c.between:
                    low, high = (record[bound] for bound in c.between)
                    text = "" if pd.isna(low) else f"{c.show(low)} to {c.show(high)}"
                    row.append(Cell(text, "range"))
            rows.append(row)
        groups.append((", ".join(PROTOCOLS.get(str(name), str(name)) for name in key), rows))
    return View(headings, groups)


@dataclass(frozen=True)
class Table:
    """A table under its caption; ``csv`` names the frame that its numbers come from."""

    name: str
    caption: str
    csv: str
    view: View
    kind: str = "table"


@dataclass(frozen=True)
class Plate:
    """A figure, drawn when it is saved; ``csv`` names the frame that holds what it shows."""

    name: str
    caption: str
    csv: str
    draw: Callable[[], Figure]
    kind: str = "plate"


@dataclass(frozen=True)
class Picture:
    """An image file of a run."""

    name: str
    caption: str
    path: Path
    kind: str = "picture"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Facts:
    """Labels and what they say."""

    facts: list[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Links:
    """Files beside the report, by what they belong to."""

    links: list[tuple[str, list[str]]]
    kind: str = "links"


Part = Table | Plate | Picture | Text | Heading | Facts | Links


@dataclass(frozen=True)
class Section:
    """A part of the report, and the frames that its numbers come from, by the CSV's name."""

    id: str
    title: str
    parts: list[Part]
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
