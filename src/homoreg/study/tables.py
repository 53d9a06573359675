"""The study's tables: plain frames in, plain frames out.

Three frames go round in this room:

- ``runs``, one row per run: ``run``, ``status``, ``protocol``, ``overrides`` (a list of text) and
  the run's record, flattened with dots (``training.epochs``, ``seconds.fit``, ``versions.torch``);
- ``epochs``, one row per run and epoch, with a ``protocol`` and an ``arm``;
- ``rows``, one row per model, pair and estimator, with a ``protocol`` and an ``arm``: the
  regularizer of a trained network, or a baseline's name.

Runs of two protocols were trained and judged in different ways: every table keeps them apart, also
where their arms have one name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from homoreg.aggregates import AUC_THRESHOLDS_PX, corner_error_auc, quartiles

ARMS = ("none", "l2", "dropout", "hybrid")
# How a run was trained and judged, and what that is called: the study's own way comes first.
PROTOCOLS = {"notebook": "the notebook's protocol", "corrected": "the corrected protocol"}
FAILURES = ("no_keypoints", "too_few_matches", "degenerate", "not_finite")


@dataclass(frozen=True)
class Metric:
    """A column of the evaluation and how it is shown.

    Attributes:
        label: its name in a heading, with the unit.
        decimals: how many are worth showing.
        failed: what a pair without a value counts as in medians and quartiles; ``None`` leaves the
            pair out, which is right only where a failed estimate still has a value.
    """

    label: str
    decimals: int
    failed: float | None = np.inf


METRICS = {
    "match_count": Metric("matches", 0, None),
    "precision_3px": Metric("precision at 3 px", 2, None),
    "recall_3px": Metric("recall at 3 px", 2, None),
    "corner_error_px": Metric("corner error (px)", 2),
    "predicted_corner_error_px": Metric("predicted corner error (px)", 2),
    "log10_predicted_corner_error": Metric("log₁₀ predicted corner error (px)", 2),
    "kappa": Metric("κ", 1),
    "log10_kappa": Metric("log₁₀ κ", 2),
    "log10_kappa_notebook": Metric("log₁₀ κ, the notebook's", 2),
    "rmse_gray": Metric("RMSE (gray levels)", 1),
    "rmse_notebook_gray": Metric("RMSE, the notebook's (gray levels)", 1),
    "ssim": Metric("SSIM", 3, -1.0),  # the least that SSIM can be
    "rmse_identity_gray": Metric("RMSE without warp (gray levels)", 1, None),
    "rmse_oracle_gray": Metric("RMSE under the true H (gray levels)", 1, None),
}

LOGARITHMS = {
    "log10_kappa": "kappa",
    "log10_kappa_notebook": "kappa_notebook",
    "log10_corner_error": "corner_error_px",
    "log10_corner_error_rms": "corner_error_rms_px",
    "log10_predicted_corner_error": "predicted_corner_error_px",
}


def read_epochs(path: str | Path) -> pd.DataFrame:
    """Read a ``csv/metrics.csv`` whose rows each hold a part of an epoch: one row per epoch.

    Where an epoch was logged twice, as after a resume, the later value stands.
    """
    return pd.read_csv(path).groupby("epoch", as_index=False).last()


def name_arms(runs: pd.DataFrame) -> pd.Series:
    """The arm of each run of one protocol: its regularizer, and what else tells it from the others.

    Runs that differ in the seed alone share an arm.
    """
    varied = varied_settings(runs).drop(columns="regularizer", errors="ignore")
    arms = [
        " ".join([regularizer, *(f"{name}={value}" for name, value in setting.items() if value)])
        for regularizer, setting in zip(
            runs["training.regularizer"], varied.to_dict("records"), strict=True
        )
    ]
    return pd.Series(arms, index=runs.index, dtype=object)


def varied_settings(runs: pd.DataFrame) -> pd.DataFrame:
    """What the command line set differently for these runs: a column per option, empty if unset.

    The seed is left out, and so are the names of the sweep and of a checkpoint.
    """
    settings = pd.DataFrame(
        [
            dict(override.lstrip("+").partition("=")[::2] for override in overrides)
            for overrides in runs["overrides"]
        ],
        index=runs.index,
        dtype=object,
    ).fillna("")
    names = sorted(set(map(str, settings)) - {"seed", "ckpt", "study"})
    return settings[[name for name in names if settings[name].nunique() > 1]]


def order_arms(arms: Iterable[str]) -> list[str]:
    """Each arm once: those of the study in its order, with their variants, then the baselines.

    >>> order_arms(["rootsift", "hybrid", "l2", "l2 seed=1", "orb", "none"])
    ['none', 'l2', 'l2 seed=1', 'hybrid', 'rootsift', 'orb']
    """
    seen = list(dict.fromkeys(arms))
    ranks = {arm: rank for rank, arm in enumerate(ARMS)}
    trained = [arm for arm in seen if arm.split(" ")[0] in ranks]
    baselines = [arm for arm in seen if arm not in trained]
    return sorted(trained, key=lambda arm: (ranks[arm.split(" ")[0]], arm)) + baselines


def gather_rows(tables: dict[str, pd.DataFrame], runs: pd.DataFrame) -> pd.DataFrame:
    """All runs' evaluation rows in one frame, with ``run``, ``protocol``, ``arm`` and logarithms.

    A baseline that several runs of a protocol evaluated on the same pairs is kept once and
    belongs to no run.

    Args:
        tables: a run's name to its evaluation table.
        runs: with the columns ``run``, ``protocol``, ``arm`` and ``manifest_hash``.
    """
    arms = dict(zip(runs["run"], runs["arm"], strict=True))
    protocols = dict(zip(runs["run"], runs["protocol"], strict=True))
    manifests = dict(zip(runs["run"], runs["manifest_hash"], strict=True))
    parts = []
    for run, table in tables.items():
        trained = table["regularizer"] != ""
        parts.append(
            table.assign(
                run=np.where(trained, run, ""),
                protocol=protocols[run],
                arm=np.where(trained, arms[run], table["descriptor"]),
                manifest_hash=manifests[run],
            )
        )
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.drop_duplicates(
        ["run", "protocol", "arm", "estimator", "benchmark", "manifest_hash", "pair_id"],
        ignore_index=True,
    )
    # log10(0) = -inf is what a perfect estimate has.
    with np.errstate(divide="ignore"):
        logarithms = {
            name: np.log10(rows[column].astype(float))
            for name, column in LOGARITHMS.items()
            if column in rows
        }
    return rows.assign(**logarithms)


def training_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The study's training table: a row per finished run, in the order of the arms and seeds."""
    training = runs.filter(regex=r"^training\.")
    table = pd.concat([runs[["protocol", "arm", "seed", "run"]], training], axis=1)
    table.columns = table.columns.str.removeprefix("training.")
    return sort_models(table.drop(columns="regularizer"), ["protocol", "arm", "seed", "run"])


def model_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per protocol, estimator and model (an arm's run, or a baseline).

    Columns: ``pairs``; ``<metric>_median``, ``_q1`` and ``_q3`` of :data:`METRICS`, where a failed
    pair counts as the metric's worst value; ``failed_percent`` and, by status,
    ``<status>_percent``; ``auc_<threshold>px`` of the corner error, 0 to 100.
    """
    keys = ["protocol", "estimator", "arm", "seed", "run"]
    records = []
    for key, group in rows.groupby(keys, dropna=False, sort=False):
        record: dict[str, Any] = dict(zip(keys, key, strict=True))
        record["pairs"] = len(group)
        record["failed_percent"] = 100 * float((group["status"] != "ok").mean())
        for status in FAILURES:
            record[f"{status}_percent"] = 100 * float((group["status"] == status).mean())
        areas = corner_error_auc(group["corner_error_px"], AUC_THRESHOLDS_PX)
        record.update({f"auc_{t}px": auc for t, auc in zip(AUC_THRESHOLDS_PX, areas, strict=True)})
        for name, metric in METRICS.items():
            if name not in group:
                continue
            values = group[name]
            values = values.dropna() if metric.failed is None else values.fillna(metric.failed)
            q1, median, q3 = quartiles(values)
            record |= {f"{name}_median": median, f"{name}_q1": q1, f"{name}_q3": q3}
        records.append(record)
    return sort_models(pd.DataFrame(records).astype({"seed": "Int64"}), keys)


def sort_models(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A table's rows in the order of the protocols, the arms and the other keys."""
    ranks = {
        "protocol": {protocol: number for number, protocol in enumerate(PROTOCOLS)},
        "arm": {arm: number for number, arm in enumerate(order_arms(table["arm"]))},
    }
    return table.sort_values(
        keys, key=lambda column: column.map(ranks[column.name]) if column.name in ranks else column
    ).reset_index(drop=True)


def order_protocols(protocols: Iterable[str]) -> list[str]:
    """Each protocol once, the notebook's first.

    >>> order_protocols(["corrected", "notebook", "corrected"])
    ['notebook', 'corrected']
    """
    return sorted(set(protocols), key=list(PROTOCOLS).index)


def finite_points(rows: pd.DataFrame, x: str, y: str) -> np.ndarray:
    """``(n, 2)`` values of two columns, of the rows that have both."""
    points = rows[[x, y]].to_numpy(float)
    return points[np.isfinite(points).all(axis=1)]


def regression(rows: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Least-squares lines of ``y`` on ``x`` and rank correlations.

    The seeds of an arm are pooled. Pairs where either value is missing or infinite have no place
    on a line: ``n`` of ``pairs`` have one.

    Returns:
        A row per protocol, estimator and arm with ``x, y, pairs, n, slope, intercept, spearman``
        (the last three are NaN where fewer than three points or a constant leave them undefined).
    """
    keys = ["protocol", "estimator", "arm"]
    records = []
    for key, of_arm in rows.groupby(keys, sort=False):
        finite = finite_points(of_arm, x, y)
        line: dict[str, Any] = dict(zip(keys, key, strict=True))
        line |= {"x": x, "y": y, "pairs": len(of_arm), "n": len(finite)}
        line |= {"slope": np.nan, "intercept": np.nan, "spearman": np.nan}
        if len(finite) >= 3 and (np.ptp(finite, axis=0) > 0).all():
            line["slope"], line["intercept"] = np.polyfit(finite[:, 0], finite[:, 1], 1).tolist()
            line["spearman"] = float(stats.spearmanr(finite).statistic)
        records.append(line)
    return sort_models(pd.DataFrame(records), keys)
