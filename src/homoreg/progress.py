"""Progress bars for everything that takes more than a few seconds."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def progress(items: Iterable[T], title: str, total: int | None = None) -> Iterator[T]:
    """Yield ``items`` under a bar on the terminal (a log file gets the finished bar only)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, refresh_per_second=4) as bar:
        yield from bar.track(items, total=total, description=title)
