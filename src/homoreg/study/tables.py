"""The tables of a study: data frames in, data frames out.

The input frames are those of :class:`homoreg.study.data.StudyData`: ``runs`` (a row per run),
``epochs`` (a row per run and epoch) and ``rows`` (a row per model, pair and estimator). Every table
keeps runs of different protocols apart, since they were trained and evaluated in different ways.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from homoreg.aggregates import AUC_THRESHOLDS_PX, failed, failure_counts, quartiles, summarize_rows
from homoreg.files import reading
from homoreg.metrics import METRICS
from homoreg.study.arms import sort_models
from homoreg.study.statistics import ALPHA, spearman

MODEL_KEYS = ["protocol", "estimator", "arm"]
# Columns of `model_table` that `arm_table` averages.
RUN_METRICS = [f"auc_{t}px" for t in AUC_THRESHOLDS_PX] + ["failed_percent"]
BEST_EPOCH_METRICS = [*RUN_METRICS, "precision_3px_median", "recall_3px_median"]
BEST_EPOCH_METRICS += ["match_count_median", "predicted_corner_error_px_median"]
LOSSES = ("val/loss", "train/loss_eval", "train/loss")
LOSS_COLUMNS = ("final_train_loss", "final_val_loss")
GAIN = "last_quarter_gain_percent"


# Rows


def read_epochs(path: str | Path) -> pd.DataFrame:
    """Read ``csv/metrics.csv``: a row per epoch, with the lines of an epoch merged.

    Where an epoch was logged twice, as after a resume, the later value counts.
    """
    with reading(path, "a table of epochs"):
        return pd.read_csv(path).groupby("epoch", as_index=False).last()


def gather_rows(tables: dict[str, pd.DataFrame], runs: pd.DataFrame) -> pd.DataFrame:
    """All runs' evaluation rows in one frame, with ``run``, ``protocol`` and ``arm``.

    What has a seed was trained and belongs to its run's arm; trained rows come first. Anything else
    is a baseline under its own name. A baseline that several runs of a protocol evaluated on the
    same pairs is kept once, with an empty ``run``. An estimate of infinite corner error folds the
    view: its status becomes ``folded``, which is a failure. A metric that a table of a protocol
    lacks, since it is older or not homoreg's, has no values in that protocol: nothing could be
    compared by it.

    Args:
        tables: evaluation tables by run.
        runs: with ``run``, ``protocol``, ``arm`` and ``manifest_hash``.
    """
    known = {record["run"]: record for record in runs.to_dict("records")}
    parts: dict[str, list[pd.DataFrame]] = {}
    for run, table in tables.items():
        trained = table["seed"].notna()
        parts.setdefault(known[run]["protocol"], []).append(
            table.assign(
                run=np.where(trained, run, ""),
                protocol=known[run]["protocol"],
                arm=np.where(trained, known[run]["arm"], table["descriptor"]),
                manifest_hash=known[run]["manifest_hash"],
            )
        )
    complete = [pd.concat(own, join="inner") for own in parts.values()]
    rows = pd.concat(complete, ignore_index=True)
    rows = rows.reindex(columns=[*rows, *(name for name in METRICS if name not in rows)])
    rows = rows.sort_values("seed", key=pd.isna, kind="stable").drop_duplicates(
        ["run", "protocol", "arm", "estimator", "benchmark", "manifest_hash", "pair_id"],
        ignore_index=True,
    )
    rows.loc[failed(rows) & (rows["status"] == "ok"), "status"] = "folded"
    return rows


def plotted(rows: pd.DataFrame, metric: str) -> tuple[pd.Series, str]:
    """A metric as figures show it, log10 where it spans orders of magnitude, and its label."""
    values, heading = rows[metric].astype(float), METRICS[metric].heading
    if not METRICS[metric].logarithmic:
        return values, heading
    with np.errstate(divide="ignore"):  # log10(0) = −∞ for a perfect estimate
        return pd.Series(np.log10(values)), f"log₁₀ {heading}"


def finite_points(rows: pd.DataFrame, x: str, y: str) -> np.ndarray:
    """``(n, 2)`` plotted values of two metrics, of the rows that have both."""
    points = np.stack([plotted(rows, x)[0], plotted(rows, y)[0]], axis=1)
    return points[np.isfinite(points).all(axis=1)]


# Models and arms


def model_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per protocol, estimator and model (a run, or a baseline).

    Columns: ``pairs``; ``<metric>_median``, ``_q1`` and ``_q3``, where a missing value counts as
    the registry says; ``failed_percent`` and ``<status>_percent``; ``auc_<threshold>px`` of the
    corner error, 0 to 100.
    """
    keys = ["protocol", "estimator", "arm", "seed", "run"]
    reasons = sorted(failure_counts(rows))
    # Without values a metric was not measured, unless no pair has an estimate.
    unknown = {
        protocol: [name for name in METRICS if name in own and own[name].isna().all()]
        for protocol, own in rows.groupby("protocol")
        if (own["status"] == "ok").any()
    }
    records = []
    for key, group in rows.groupby(keys, dropna=False, sort=False):
        group = group.drop(columns=unknown.get(group["protocol"].iloc[0], []))
        summary = summarize_rows(group)
        record: dict[str, Any] = dict(zip(keys, key, strict=True))
        record["pairs"] = summary["pairs"]
        record["failed_percent"] = 100 * summary["failure_rate"]
        for reason in reasons:
            record[f"{reason}_percent"] = 100 * summary["failures"].get(reason, 0) / len(group)
        record |= {f"auc_{threshold}": auc for threshold, auc in summary["auc"].items()}
        for name, median in summary["median"].items():
            q1, q3 = summary["quartile_1"][name], summary["quartile_3"][name]
            record |= {f"{name}_median": median, f"{name}_q1": q1, f"{name}_q3": q3}
        records.append(record)
    return sort_models(pd.DataFrame(records).astype({"seed": "Int64"}), keys)


def mean_interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Mean and 95 % t interval of numbers that are one per seed.

    One number has no interval (NaN), and neither has an infinite mean.

    >>> [round(float(bound), 3) for bound in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    >>> mean_interval([1.0, float("inf")])
    (inf, nan, nan)
    """
    numbers = np.asarray(list(values), float)
    mean = float(numbers.mean()) if numbers.size else np.nan
    if numbers.size < 2 or not np.isfinite(mean):
        return mean, np.nan, np.nan
    # As scipy.stats.t.interval with sem, which takes 1 ms a call.
    quantile = stats.t.ppf(1 - ALPHA / 2, numbers.size - 1)
    half = quantile * numbers.std(ddof=1) / np.sqrt(numbers.size)
    return mean, float(mean - half), float(mean + half)


def over_seeds(runs: pd.DataFrame, keys: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """One row per group of ``keys``: ``<number>_mean``, ``_low`` and ``_high`` over its runs.

    Args:
        runs: a row per run, or several with the same ``run``; it is empty for a baseline, which is
            not counted among the ``seeds``.
        keys: columns that define the groups.
        numbers: columns to average, as far as ``runs`` has them.
    """
    records = []
    for key, group in runs.groupby(list(keys), sort=False, dropna=False):
        record: dict[str, Any] = dict(zip(keys, key, strict=True))
        record["seeds"] = int((group["run"].unique() != "").sum())
        for number in numbers:
            if number in group:
                mean, low, high = mean_interval(group[number].dropna().astype(float))
                record |= {f"{number}_mean": mean, f"{number}_low": low, f"{number}_high": high}
        records.append(record)
    return pd.DataFrame(records)


def arm_table(models: pd.DataFrame) -> pd.DataFrame:
    """One row per protocol, estimator and arm: means over its runs; baselines as they are.

    Columns: ``seeds`` (0 for a baseline), ``pairs`` of each run, and ``_mean``, ``_low`` and
    ``_high`` over the seeds of each of :data:`RUN_METRICS` and of each metric's median.
    """
    numbers = [*RUN_METRICS, *(f"{name}_median" for name in METRICS)]
    return sort_models(over_seeds(models, [*MODEL_KEYS, "pairs"], numbers), MODEL_KEYS)


def best_epoch_table(
    models: pd.DataFrame, best_models: pd.DataFrame, runs: pd.DataFrame
) -> pd.DataFrame:
    """Arms after equal training and at their best epochs: two rows per arm and estimator.

    Args:
        models: :func:`model_table` of the runs at their last epoch.
        best_models: the same at the best epoch, chosen on validation pairs; runs that are not in it
            are left out.
        runs: with ``run``, ``training.epochs`` and ``best_after_epochs``.

    Returns:
        ``weights`` (``last epoch`` or ``best epoch``), ``seeds``, ``pairs``, and ``_mean``,
        ``_low`` and ``_high`` over the seeds of ``epochs`` and of :data:`BEST_EPOCH_METRICS`.
    """
    epochs = runs.set_index("run")[["training.epochs", "best_after_epochs"]].astype(float)
    parts = []
    for weights, evaluated, column in (
        ("last epoch", models, "training.epochs"),
        ("best epoch", best_models, "best_after_epochs"),
    ):
        own = evaluated[evaluated["run"].isin(best_models["run"])]
        parts.append(own.assign(weights=weights, epochs=own["run"].map(epochs[column])))
    keys = [*MODEL_KEYS, "weights", "pairs"]
    table = over_seeds(pd.concat(parts), keys, ["epochs", *BEST_EPOCH_METRICS])
    return sort_models(table, MODEL_KEYS)


# Training


def training_table(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per finished run: its losses and options, with those of its regularizer."""
    training = runs.filter(regex=r"^training\.")
    table = pd.concat([runs[["protocol", "arm", "seed", "run"]], training], axis=1)
    table.columns = table.columns.str.removeprefix("training.")
    return sort_models(table.drop(columns="regularizer"), ["protocol", "arm", "seed", "run"])


def last_quarter_gain_percent(epochs: Sequence[int], accuracy: Sequence[float]) -> float:
    """What the last quarter of a training added to an accuracy.

    Args:
        epochs: ``(n,)`` how many were over, ascending, the whole training last.
        accuracy: ``(n,)`` after each of them, in [0, 1].

    Returns:
        Percent of the accuracy after three quarters of the training, which is interpolated between
        epochs; NaN where it has fewer than four.

    >>> round(last_quarter_gain_percent([1, 2, 3, 4], [0.2, 0.4, 0.5, 0.6]), 6)
    20.0
    """
    if epochs[-1] < 4:
        return np.nan
    before = np.interp(0.75 * epochs[-1], epochs, accuracy)
    return float(100 * (accuracy[-1] / before - 1))


def last_quarter_gains(epochs: pd.DataFrame) -> pd.Series:
    """:func:`last_quarter_gain_percent` of each run's 1-NN accuracy on validation patches."""
    measured = epochs.dropna(subset="val/nn_accuracy").sort_values("epoch")
    gains = {
        str(run): last_quarter_gain_percent(
            (own["epoch"] + 1).tolist(), own["val/nn_accuracy"].tolist()
        )
        for run, own in measured.groupby("run")
    }
    return pd.Series(gains, dtype=float)


def training_options(training: pd.DataFrame) -> list[str]:
    """The columns of a training table that are options."""
    others = {"protocol", "arm", "seed", "run", "seeds", *LOSS_COLUMNS, GAIN}
    return [name for name in map(str, training) if name not in others]


def training_arms(training: pd.DataFrame) -> pd.DataFrame:
    """The training table with a row per arm: means over its runs, and all values of each option."""
    keys = ["protocol", "arm"]
    shared = training.groupby(keys, sort=False)[training_options(training)].agg(_all_values)
    return sort_models(
        over_seeds(training, keys, [*LOSS_COLUMNS, GAIN]).merge(shared, on=keys), keys
    )


def _all_values(values: pd.Series) -> str:
    return ", ".join(dict.fromkeys(map(str, values.dropna())))


def loss_table(epochs: pd.DataFrame) -> pd.DataFrame:
    """The loss curves: a row per protocol, arm, loss and epoch, with ``mean`` over seeds.

    ``low`` and ``high`` are the lowest and the highest seed.
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


# What was run


def protocol_table(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """What there is of each protocol: finished runs, arms, seeds, pairs and photos."""
    by_protocol = runs.groupby("protocol")
    table = by_protocol.agg(
        runs=("run", "size"), arms=("arm", "nunique"), seeds=("seed", "nunique")
    )
    if len(rows):
        evaluated = rows.groupby("protocol").agg(
            pairs=("pair_id", "nunique"),
            photos=("photo", "nunique"),
            benchmark=("benchmark", _all_values),
            estimators=("estimator", _all_values),
        )
        table = table.join(evaluated)
    return sort_models(table.reset_index(), ["protocol"])


def cost_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The cost of the finished runs: a row per arm with mean seconds by phase and total hours."""
    keys = ["protocol", "arm"]
    seconds = [name for name in map(str, runs) if name.startswith("seconds.")]
    table = over_seeds(runs, keys, [*seconds, "patch_pairs_per_second"])
    hours = runs.assign(hours=runs[seconds].sum(axis=1) / 3600)
    return sort_models(table.merge(hours.groupby(keys)["hours"].sum(), on=keys), keys)


# What figures show


def box_table(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """What box plots show: quartiles of an arm's pooled values, and how many rows have one."""
    records = []
    for key, group in rows.groupby(MODEL_KEYS, sort=False):
        for metric in metrics:
            values = plotted(group, metric)[0].to_numpy()
            finite = values[np.isfinite(values)]
            records.append((*key, metric, len(group), finite.size, *quartiles(finite)))
    columns = [*MODEL_KEYS, "metric", "rows", "n", "q1", "median", "q3"]
    return pd.DataFrame(records, columns=columns)


def regression(rows: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Least-squares lines of ``y`` on ``x``, as they are plotted, and rank correlations.

    The seeds of an arm are pooled. Rows in which either value is missing or infinite are left out.

    Returns:
        A row per protocol, estimator and arm with ``x, y, pairs, n, slope, intercept, spearman``;
        the last three are NaN below three points and where a value is constant.
    """
    records = []
    for key, of_arm in rows.groupby(MODEL_KEYS, sort=False):
        finite = finite_points(of_arm, x, y)
        line: dict[str, Any] = dict(zip(MODEL_KEYS, key, strict=True))
        line |= {"x": x, "y": y, "pairs": len(of_arm), "n": len(finite)}
        line |= {"slope": np.nan, "intercept": np.nan, "spearman": spearman(*finite.T)}
        if len(finite) >= 3 and (np.ptp(finite, axis=0) > 0).all():
            line["slope"], line["intercept"] = np.polyfit(finite[:, 0], finite[:, 1], 1).tolist()
        records.append(line)
    return sort_models(pd.DataFrame(records), MODEL_KEYS)
