"""The parts of a report: sections of Markdown text, tables, figures and pictures."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import matplotlib.figure
import numpy as np
import pandas as pd

from homoreg.study.arms import PROTOCOLS, base_protocol, protocol_label

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
    """Any value as text: floats in their shortest form, a missing value as a dash."""
    if not isinstance(value, (list, dict)) and (pd.isna(value) or value == ""):
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def probability(value: Any) -> str:
    """A p-value with three decimals, a small one as a bound.

    >>> [probability(p) for p in (0.04321, 0.0002, float("nan"))]
    ['0.043', '< 0.001', '–']
    """
    return "< 0.001" if value < 0.001 else number(3)(value)


@dataclass(frozen=True)
class Column:
    """How a column of a frame is shown: a format or a number of decimals.

    ``between`` names the ends of its interval.
    """

    key: str
    heading: str
    show: Format | int = as_text
    between: tuple[str, str] | None = None

    def text(self, record: dict[str, Any]) -> str:
        """The cell of one row, with the interval in parentheses."""
        show = number(self.show) if isinstance(self.show, int) else self.show
        value = show(record[self.key])
        if self.between is None or pd.isna(record[self.between[0]]):
            return value
        low, high = (show(record[end]) for end in self.between)
        return f"{value} ({low} to {high})"


VERDICT = Column("verdict", "verdict", lambda verdict: verdict.removeprefix("open: "))
SEEDS = Column("seeds", "seeds", lambda seeds: str(seeds) if seeds else "–")  # 0 of a baseline


def with_interval(key: str, heading: str, decimals: int) -> Column:
    """The mean of a number over seeds, with its interval."""
    return Column(f"{key}_mean", heading, decimals, (f"{key}_low", f"{key}_high"))


@dataclass(frozen=True)
class Table:
    """The rows of a frame under a caption.

    Attributes:
        csv: the name of the frame with all the numbers.
        columns: in their order; one that the frame lacks is left out.
        by: leading columns whose repeated values are left blank; a protocol or estimator that is
            the same for all rows is left out.
    """

    name: str
    caption: str
    csv: str
    frame: pd.DataFrame
    columns: Sequence[Column]
    by: Sequence[str] = ()

    @cached_property
    def _shown(self) -> tuple[list[Column], list[Column]]:
        shared = [key for key in ("protocol", "estimator") if key in self.by]
        alike = {key for key in shared if self.frame[key].nunique() == 1}
        groups = [Column(key, key, _group_label) for key in self.by if key not in alike]
        return groups, [*groups, *(own for own in self.columns if own.key in self.frame)]

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The formatted cells, by heading."""
        groups, columns = self._shown
        records = cast(list[dict[str, Any]], self.frame.to_dict("records"))
        cells = pd.DataFrame(
            {column.heading: [column.text(record) for record in records] for column in columns}
        )
        for place in reversed(range(len(groups))):
            repeated = cells.iloc[:, : place + 1].eq(cells.iloc[:, : place + 1].shift()).all(axis=1)
            cells.iloc[:, place] = cells.iloc[:, place].mask(repeated, "")
        return cells

    @property
    def is_text(self) -> list[bool]:
        """Of each column; text is aligned left."""
        numeric = pd.api.types.is_numeric_dtype
        return [not numeric(self.frame[column.key]) for column in self._shown[1]]


def _group_label(value: Any) -> str:
    known = base_protocol(str(value)) in PROTOCOLS
    return protocol_label(str(value)) if known else str(value)


@dataclass(frozen=True)
class Figure:
    """A figure, drawn when it is saved; ``csv`` names the frame with its numbers."""

    name: str
    caption: str
    csv: str
    draw: Callable[[], matplotlib.figure.Figure]


@dataclass(frozen=True)
class Picture:
    """An image file of a run."""

    name: str
    caption: str
    path: Path


Part = str | Table | Figure | Picture  # text is Markdown


@dataclass(frozen=True)
class Section:
    """A part of the report, and the frames behind its numbers, by the name of their CSV.

    A section that is not ``open`` is folded on the page.
    """

    id: str
    title: str
    parts: list[Part]
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)
    open: bool = False


def escape(text: str) -> str:
    """Text without meaning to Markdown.

    >>> escape("a_b | <c>")
    'a\\\\_b \\\\| \\\\<c>'
    """
    return "".join(f"\\{character}" if character in r"\`*_<|[" else character for character in text)


def capitalized(text: str) -> str:
    """The text with its first letter in capitals."""
    return text[:1].upper() + text[1:]


def counted(count: int | str, noun: str) -> str:
    """
    >>> counted(1, "seed"), counted(7, "seed")
    ('1 seed', '7 seeds')
    """
    return f"{count} {noun}{'' if str(count) == '1' else 's'}"


def listed(words: Iterable[str]) -> str:
    """
    >>> listed(["dlt"]), listed(["dlt", "magsac", "ransac"])
    ('dlt', 'dlt, magsac and ransac')
    """
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def span(counts: Iterable[int]) -> str:
    """The least and the greatest of several counts.

    >>> span([7, 7]), span([7, 1])
    ('7', '1 to 7')
    """
    low, high = min(counts := list(counts)), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def bullets(lines: Iterable[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {line}" for line in lines)
