"""Progress bars, and work in threads, for everything that takes more than a few seconds."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
R = TypeVar("R")


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


def in_threads(work: Callable[[T], R], jobs: Iterable[T], threads: int) -> Iterator[R]:
    """Yield the results in the order of the jobs; an error cancels the jobs that have not begun.

    Threads are enough where the work releases the interpreter's lock, as decoding images does.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(work, jobs)
    finally:
        pool.shutdown(cancel_futures=True)
