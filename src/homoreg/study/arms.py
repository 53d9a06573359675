"""Many seeds → one row per arm: means over an arm's runs, with what the seeds leave open."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from homoreg.study.statistics import t_interval
from homoreg.study.tables import METRICS, sort_models

# The numbers of a run that are averaged: columns of `model_table`.
OF_A_RUN = ["auc_1px", "auc_3px", "auc_5px", "auc_10px", "failed_percent"]
OF_A_RUN += [f"{metric}_median" for metric in METRICS]
LOSSES = ("val/loss", "train/loss_eval", "train/loss")


def mean_interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Mean and 95 % t interval of numbers that are one per seed.

    One number has no interval (NaN), and neither has an infinite mean.

    >>> [round(float(bound), 3) for bound in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    >>> mean_interval([1.0, float("inf")])
    (inf, nan, nan)
    """
    numbers = np.asarray(list(values), float)
    if not numbers.size:
        return np.nan, np.nan, np.nan
    mean = float(numbers.mean())
    return mean, *(t_interval(numbers) if np.isfinite(mean) else (np.nan, np.nan))


def over_seeds(
    runs: pd.DataFrame, keys: Sequence[str], numbers: Sequence[str], unit: str = "run"
) -> pd.DataFrame:
    """One row per group of ``keys``: ``<number>_mean``, ``_low`` and ``_high`` over its runs.

    Args:
        runs: a row per run and whatever else ``keys`` tells apart.
        keys: columns that tell the groups apart.
        numbers: columns to average; those that ``runs`` lacks are left out.
        unit: the column whose different values are counted as ``seeds``; empty ones do not
            count.
    """
    records = []
    for key, group in runs.groupby(list(keys), sort=False, dropna=False):
        record: dict[str, Any] = dict(zip(keys, key, strict=True))
        record["seeds"] = int((group[unit].unique() != "").sum())
        for number in numbers:
            if number in group:
                mean, low, high = mean_interval(group[number].dropna().astype(float))
                record |= {f"{number}_mean": mean, f"{number}_low": low, f"{number}_high": high}
        records.append(record)
    return pd.DataFrame(records)


def arm_table(models: pd.DataFrame) -> pd.DataFrame:
    """One row per protocol, estimator and arm: means over its runs, baselines as they are.

    Columns: ``seeds`` (0 for a baseline), ``pairs`` of each run, and for each number of
    :data:`OF_A_RUN` its ``_mean``, ``_low`` and ``_high`` over the seeds.
    """
    keys = ["protocol", "estimator", "arm"]
    table = over_seeds(models, [*keys, "pairs"], OF_A_RUN)
    return sort_models(table, keys)


def best_epoch_table(
    models: pd.DataFrame, best_models: pd.DataFrame, runs: pd.DataFrame
) -> pd.DataFrame:
    """Arms at equal training and at their best epochs: two rows per protocol, estimator and arm.

    Args:
        models: :func:`homoreg.study.tables.model_table` of the runs at their last epoch.
        best_models: the same at their best epoch, chosen on validation pairs; runs that are not in
            it are left out.
        runs: with ``run``, ``training.epochs`` and ``best_after_epochs``.

    Returns:
        Columns ``weights`` (``last epoch`` or ``best epoch``), ``seeds``, ``pairs``, and ``_mean``,
        ``_low`` and ``_high`` over the seeds of ``epochs``, which lie behind those weights, and of
        :data:`OF_A_RUN`.
    """
    epochs = runs.set_index("run")[["training.epochs", "best_after_epochs"]].astype(float)
    parts = []
    for weights, judged, column in (
        ("last epoch", models, "training.epochs"),
        ("best epoch", best_models, "best_after_epochs"),
    ):
        judged = judged[judged["run"].isin(best_models["run"])]
        judged = judged.assign(weights=weights, epochs=judged["run"].map(epochs[column]))
        parts.append(judged)
    keys = ["protocol", "estimator", "arm", "weights", "pairs"]
    table = over_seeds(pd.concat(parts), keys, ["epochs", *OF_A_RUN])
    return sort_models(table, ["protocol", "estimator", "arm"])


def training_arms(training: pd.DataFrame) -> pd.DataFrame:
    """The training table with a row per arm: mean losses, and the options that its runs share.

    An option that differs between the runs of an arm has all its values, separated by commas.
    """
    keys = ["protocol", "arm"]
    losses = ["final_train_loss", "final_val_loss"]
    options = [name for name in training if name not in (*keys, *losses, "seed", "run")]
    shared = training.groupby(keys, sort=False)[options].agg(_all_values)
    return sort_models(over_seeds(training, keys, losses).merge(shared, on=keys), keys)


def _all_values(values: pd.Series) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def cost_table(runs: pd.DataFrame) -> pd.DataFrame:
    """What the finished runs took: a row per arm with mean seconds by phase, and hours in all."""
    keys = ["protocol", "arm"]
    seconds = [name for name in map(str, runs) if name.startswith("seconds.")]
    table = over_seeds(runs, keys, [*seconds, "patch_pairs_per_second"])
    hours = runs.assign(hours=runs[seconds].sum(axis=1) / 3600)
    return sort_models(table.merge(hours.groupby(keys)["hours"].sum(), on=keys), keys)


def protocol_table(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """What there is of each protocol: finished runs, arms, seeds, and what they were judged on."""
    records = []
    for protocol, group in runs.groupby("protocol", sort=False):
        record: dict[str, Any] = {"protocol": protocol, "runs": len(group)}
        record |= {"arms": group["arm"].nunique(), "seeds": group["seed"].nunique()}
        if len(rows):
            judged = rows[rows["protocol"] == protocol]
            record["pairs"] = judged["pair_id"].nunique()
            record["benchmark"] = ", ".join(judged["benchmark"].unique())
            record["estimators"] = ", ".join(judged["estimator"].unique())
        records.append(record)
    return sort_models(pd.DataFrame(records).assign(arm=""), ["protocol"]).drop(columns="arm")


def loss_table(epochs: pd.DataFrame) -> pd.DataFrame:
    """The loss curves: a row per protocol, arm, loss and epoch, with ``mean, low, high`` of seeds.

    Here ``low`` and ``high`` are the lowest and the highest seed.
    """
    keys = ["protocol", "arm", "epoch"]
    parts = []
    for loss in LOSSES:
        if loss in epochs:
            by_epoch = epochs.dropna(subset=loss).groupby(keys, sort=False)[loss]
            curve = by_epoch.agg(seeds="count", mean="mean", low="min", high="max").reset_index()
            parts.append(curve.assign(loss=loss))
    table = pd.concat(parts, ignore_index=True)
    return sort_models(table, ["protocol", "arm", "loss", "epoch"])


def shift_table(shifts: pd.DataFrame) -> pd.DataFrame:
    """Shift response: a row per protocol, arm and shift, with the cosine's mean over seeds.

    Args:
        shifts: a row per run and shift with ``protocol, arm, run, shift_px, mean, unrelated``.
    """
    keys = ["protocol", "arm", "shift_px"]
    return sort_models(over_seeds(shifts, keys, ["mean", "unrelated"]), keys)
