"""Where photographs come from, and which of them are chosen for training and for evaluation."""

import importlib.util
import os
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from homoreg.data.images import SUFFIXES, PhotoError
from homoreg.errors import HomoregError


class Selection(NamedTuple):
    """The photos' names of the two sides, which have no photo and no scene in common."""

    train: list[str]
    eval: list[str]


def select_photos(
    names: Iterable[str],
    seed: int,
    *,
    train: int | None = None,
    eval: int | None = None,
    scene: Callable[[str], str] = str,
) -> Selection:
    """Sort the names, shuffle them with Python's ``random``, take the first, then the next.

    This is the procedure of the study. Photos of one scene are moved up behind the first of them,
    and what is left of a scene that began on the training side joins it or is left out.

    Args:
        names: the pool; order and repetitions do not matter.
        seed: of the shuffle.
        train: photos for training; None takes what evaluation leaves.
        eval: photos for evaluation; None takes what training leaves, and both None split all
            photos 5 to 1.
        scene: the scene that a photo shows.

    Raises:
        HomoregError: there are not enough photos.

    >>> select_photos(["c", "a", "b", "d"], 42, train=2, eval=1)
    Selection(train=['c', 'b'], eval=['d'])
    """
    order = sorted(set(names))
    random.Random(seed).shuffle(order)
    scenes: dict[str, list[str]] = {}
    for name in order:
        scenes.setdefault(scene(name), []).append(name)
    order = [name for group in scenes.values() for name in group]

    wanted = max(1, round(len(order) / 6)) if train is None and eval is None else eval
    end = len(order) - (wanted or 0) if train is None else train
    if train is None:
        while 0 < end < len(order) and scene(order[end - 1]) == scene(order[end]):
            end += 1
    chosen = order[:end]
    split = scene(chosen[-1]) if chosen else None
    rest = [name for name in order[end:] if scene(name) != split]
    selection = Selection(chosen, rest[:wanted])
    if len(chosen) < (train or 0) or end <= 0 or len(selection.eval) < (wanted or 0):
        raise HomoregError("...")
    return selection
