"""Repeated measurements in turns, summarized by medians."""

import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """Settings of a call of ``python -m benchmarks``.

    Attributes:
        root: folder of the prepared pairs.
        scratch: temporary folder for anything else.
        quick: measure almost nothing, to test that everything works.
    """

    root: Path
    scratch: Path
    quick: bool

    def pick(self, full: T, quick: T) -> T:
        """``quick`` in a quick session, else ``full``."""
        return quick if self.quick else full

    def alone(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """:func:`alone`, but in this process in a quick session, which saves the imports."""
        return function(*args, **kwargs) if self.quick else alone(function, *args, **kwargs)


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        comparison: the module that measured it.
        setting: what the compared measurements have in common.
        measured: what was measured.
        value: median over the repeats.
        low, high: smallest and largest of the repeats.
        unit: of value, low and high.
        repeats: number of repeats.
        ratio: median over the repeats of the ratio that ``against`` describes, or None.
        against: meaning of the ratio, printed after it: ``× the plain loop``.
    """

    comparison: str
    setting: str
    measured: str
    value: float
    low: float
    high: float
    unit: str
    repeats: int
    ratio: float | None = None
    against: str = ""


@dataclass(frozen=True)
class Ratio:
    """A ratio to another measurement.

    Args:
        to: name of the other measurement.
        text: meaning of the ratio, printed after it.
        inverted: divide the other by this one, which turns times into a ratio of speeds.
    """

    to: str
    text: str
    inverted: bool = False


def in_turns(works: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call each function in turn, ``repeats`` times, and return their results.

    A slow moment of the machine then affects all of them.
    """
    measured: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            measured[name].append(work())
    return measured


def rows(
    comparison: str,
    setting: str,
    unit: str,
    measured: Mapping[str, list[float]],
    ratios: Mapping[str, Sequence[Ratio]] | None = None,
) -> list[Row]:
    """Rows for the results of :func:`in_turns`: one for each ratio, or one without a ratio.

    A ratio is the median over the turns of the ratio within a turn.
    """
    lines = []
    for name, values in measured.items():
        spread = (median(values), min(values), max(values))
        line = Row(comparison, setting, name, *spread, unit, len(values))
        asked = (ratios or {}).get(name, ())
        for ratio in asked:
            turns = zip(values, measured[ratio.to], strict=True)
            quotients = (theirs / own if ratio.inverted else own / theirs for own, theirs in turns)
            lines.append(replace(line, ratio=median(quotients), against=ratio.text))
        if not asked:
            lines.append(line)
    return lines


def seconds(work: Callable[[], Any], times: int = 1) -> float:
    """Mean wall-clock time of ``times`` calls."""
    started = now()
    for _ in range(times):
        work()
    return (now() - started) / times


def milliseconds(work: Callable[[], Any], times: int = 1) -> Callable[[], float]:
    """A function for :func:`in_turns` that returns the time of a call in ms."""
    return lambda: 1e3 * seconds(work, times)


def now() -> float:
    """Time in seconds, after pending GPU work has finished."""
    import torch  # the startup of the commands is measured without it

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def alone(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a module-level function in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(function, *args, **kwargs).result()
