"""Arms: runs that differ in nothing but the seed. What names them and in which order they appear.

An arm is called by its regularizer and by whatever else distinguishes it from the other arms of its
protocol, as told by the runs' resolved configs. Any regularizer is an arm.
"""

from collections.abc import Iterable, Sequence

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
        map(str, table),
        key=lambda name: ("." in name, not name.startswith("regularizer."), name),
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
        runs: of one protocol.
        known: settings that are known besides the regularizer; they and what follows from them are
            left out.
    """
    table = settings_table(runs)
    groups = runs["training.regularizer"].to_list()
    for name in known:
        groups = list(zip(groups, table.get(name, [""] * len(runs)), strict=True))
    kept = []
    for name in map(str, table):
        finer = list(zip(groups, table[name], strict=True))
        if name not in known and len(set(finer)) > len(set(groups)):
            kept.append(name)
            groups = finer
    return table[kept]


def name_arms(runs: pd.DataFrame, known: Sequence[str] = ()) -> pd.Series:
    """The arm of each run of one protocol: its regularizer and its distinguishing settings."""
    settings = distinguishing_settings(runs, known).to_dict("records")
    arms = [
        " ".join([regularizer, *(f"{name}={value}" for name, value in setting.items() if value)])
        for regularizer, setting in zip(runs["training.regularizer"], settings, strict=True)
    ]
    return pd.Series(arms, index=runs.index, dtype=object)


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
    """Each protocol once, the notebook's first.

    >>> order_protocols(["corrected", "notebook", "corrected"])
    ['notebook', 'corrected']
    """
    return sorted(set(protocols), key=list(PROTOCOLS).index)


def sort_models(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A table's rows in the order of the protocols, the arms and the other keys."""
    ranks = {
        "protocol": {protocol: number for number, protocol in enumerate(PROTOCOLS)},
        "arm": {arm: number for number, arm in enumerate(order_arms(table["arm"]))},
    }
    return table.sort_values(
        keys, key=lambda column: column.map(ranks[column.name]) if column.name in ranks else column
    ).reset_index(drop=True)
