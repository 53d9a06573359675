"""Arms: runs that differ in nothing but the seed. What names them and in which order they appear.

An arm is named by its regularizer and by whatever else distinguishes it from the other arms with
that regularizer, according to the runs' resolved configs. Any regularizer is an arm.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

ORIGINAL_ARMS = ("none", "l2", "dropout", "hybrid")  # of the original study, whose claims they are
# How a run was trained and evaluated: the original study's way first.
PROTOCOLS = {"notebook": "the notebook's protocol", "corrected": "the corrected protocol"}


def settings_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The settings in which runs differ, as text: a column per setting, empty where unset.

    Choices of config groups come first, then the regularizer's options, then all others. Seeds are
    left out, and so is a setting that equals an earlier one in every run.
    """
    table = pd.DataFrame(list(runs["settings"]), index=runs.index, dtype=object)
    table = table.map(lambda value: "" if value is None or value != value else str(value))
    order = sorted(
        map(str, table), key=lambda name: ("." in name, not name.startswith("regularizer."), name)
    )
    table = table[[name for name in order if table[name].nunique() > 1]]
    seeds = runs["seed"].astype(str)
    seen = {tuple(seeds)}
    kept = []
    for name in map(str, table):
        values = tuple(table[name])
        if values not in seen:
            seen.add(values)
            kept.append(name)
    return table[kept]


def distinguishing_settings(runs: pd.DataFrame, known: Sequence[str] = ()) -> pd.DataFrame:
    """Of :func:`settings_table` those that do not follow from the ones before them.

    Args:
        runs: of one protocol and regularizer.
        known: settings that are known already; they and what follows from them are left out.
    """
    table = settings_table(runs)
    groups: list[Any] = list(zip(*(table[name] for name in known if name in table), strict=True))
    groups = groups or [()] * len(runs)
    kept = []
    for name in map(str, table):
        finer = list(zip(groups, table[name], strict=True))
        if name not in known and len(set(finer)) > len(set(groups)):
            kept.append(name)
            groups = finer
    return table[kept]


def name_arms(runs: pd.DataFrame, known: Sequence[str] = ()) -> pd.Series:
    """The arm of each run of one protocol: its regularizer and its distinguishing settings."""
    arms: dict[Any, str] = {}
    for regularizer, own in runs.groupby("training.regularizer", sort=False):
        described = describe_settings(distinguishing_settings(own, known))
        arms |= {
            run: f"{regularizer} {text}".strip()
            for run, text in zip(own.index, described, strict=True)
        }
    return pd.Series(arms, dtype=object).reindex(runs.index)


def describe_settings(settings: pd.DataFrame) -> list[str]:
    """Each row's settings that are set, as text.

    >>> describe_settings(pd.DataFrame({"regularizer.dropout": ["0.1"], "data.train_photos": [""]}))
    ['dropout=0.1']
    """
    return [
        " ".join(
            f"{str(name).removeprefix('regularizer.')}={value}"
            for name, value in zip(settings, row, strict=True)
            if value
        )
        for row in settings.to_numpy()
    ]


def order_arms(arms: Iterable[str]) -> list[str]:
    """Each arm once: those of the original study and their variants, then the others as they come.

    >>> order_arms(["spread_out", "hybrid", "l2", "l2 optimizer.lr=0.1", "none", "orb"])
    ['none', 'l2', 'l2 optimizer.lr=0.1', 'hybrid', 'spread_out', 'orb']
    """
    seen = list(dict.fromkeys(arms))
    ranks = {arm: rank for rank, arm in enumerate(ORIGINAL_ARMS)}
    original = [arm for arm in seen if arm.split(" ")[0] in ranks]
    others = [arm for arm in seen if arm not in original]
    return sorted(original, key=lambda arm: (ranks[arm.split(" ")[0]], arm)) + others


def order_protocols(protocols: Iterable[str]) -> list[str]:
    """Each protocol once, the notebook's first, those with another recipe after the default's.

    >>> order_protocols(["corrected_strong", "corrected", "notebook", "corrected"])
    ['notebook', 'corrected', 'corrected_strong']
    """
    places = {name: place for place, name in enumerate(PROTOCOLS)}
    return sorted(set(protocols), key=lambda name: (places[base_protocol(name)], name))


def protocol_of(protocol: str, recipe: str | None, study: str = "") -> str:
    """The key under which runs are kept apart: protocol, any recipe but the default, and study.

    >>> protocol_of("corrected", "cosine"), protocol_of("corrected", "strong", "mine")
    ('corrected', 'corrected_strong@mine')
    """
    key = f"{protocol}_{recipe}" if recipe and recipe != "cosine" else protocol
    return f"{key}@{study}" if study else key


def base_protocol(key: str) -> str:
    """The protocol of a key of :func:`protocol_of`.

    >>> base_protocol("corrected_strong@mine")
    'corrected'
    """
    return key.partition("@")[0].partition("_")[0]


def protocol_label(key: str) -> str:
    """A key of :func:`protocol_of` in words.

    >>> protocol_label("corrected"), protocol_label("corrected_strong@mine")
    ('the corrected protocol with recipe=cosine',
     'the corrected protocol with recipe=strong, study mine')
    """
    name, _, study = key.partition("@")
    protocol, _, recipe = name.partition("_")
    label = PROTOCOLS[protocol]
    if protocol == "corrected":
        label += f" with recipe={recipe or 'cosine'}"
    return label + (f", study {study}" if study else "")


def sort_models(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A table's rows in the order of the protocols, the arms and the other keys."""
    orders = {"protocol": order_protocols, "arm": order_arms}

    def rank(column: pd.Series) -> pd.Series:
        if column.name not in orders:
            return column
        return column.map(orders[str(column.name)](column).index)

    return table.sort_values(keys, key=rank).reset_index(drop=True)
