"""How everything here is measured: in turns, several times over, and given as medians."""

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
    """What a call of ``python -m benchmarks`` was asked for.

    Attributes:
        root: folder of the prepared pairs.
        scratch: folder for whatever else a comparison writes; deleted at the end.
        quick: measure next to nothing, to see that everything works.
    """

    root: Path
    scratch: Path
    quick: bool

    def pick(self, full: T, quick: T) -> T:
        """One of two sizes of the same measurement."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        comparison: the module that measured it.
        setting: what is the same for all that it is held against.
        measured: what was measured.
        value: median over the repeats.
        low, high: smallest and largest of the repeats.
        unit: of these three.
        repeats: how often it was measured.
        ratio: median over the repeats of the ratio to what ``against`` names; None without.
        against: what the ratio is, read after the number: ``× the plain loop's speed``.
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
    """What a measurement is held against.

    Args:
        to: name of the other measurement.
        text: what the ratio is, read after the number.
        inverted: the other over this one, which makes a speed of two times.
    """

    to: str
    text: str
    inverted: bool = False


def in_turns(works: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call each work in turn, ``repeats`` times over, and keep what they return.

    A machine that is slow for a while is slow for all of them.
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
    """The table's lines of what :func:`in_turns` measured: one for each ratio, or one without.

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
    """Wall-clock time of a call, as a mean over ``times`` of them."""
    started = now()
    for _ in range(times):
        work()
    return (now() - started) / times


def milliseconds(work: Callable[[], Any], times: int = 1) -> Callable[[], float]:
    """A work for :func:`in_turns` that returns the time of a call in ms."""
    return lambda: 1e3 * seconds(work, times)


def now() -> float:
    """The clock, read when a GPU has done what it was given."""
    import torch  # the start-up of the commands is measured without it

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def alone(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a module's function in a new process, which shares no memory and no warm cache."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(function, *args, **kwargs).result()
