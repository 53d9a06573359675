"""Progress bars for everything that takes more than a few seconds."""

import os
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
    # Of the processes that share a training, the first one shows how it goes.
    follows = os.environ.get("LOCAL_RANK", "0") != "0"
    with Progress(*columns, refresh_per_second=4, disable=follows) as bar:
        yield from bar.track(items, total=total, description=title)
