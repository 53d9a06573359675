"""What a sweep varied on purpose: corrections one by one, doses on a grid, a search's trials."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from homoreg.study.analysis import analysis_of, primary_estimator
from homoreg.study.arms import over_seeds
from homoreg.study.tables import name_arms, order_protocols, sort_models, varied_settings

DOSES = ["regularizer.weight_decay", "regularizer.dropout"]
DOSE_METRICS = ["auc_5px", "log10_predicted_corner_error_median", "match_count_median"]
DOSE_METRICS += ["precision_3px_median"]
TRIAL = ["objective", "direction", "rank", "value", "run", "seed"]
ABLATION = ["precision_3px", "recall_3px", "auc_5px", "error", "log10_kappa", "kept_percent"]


def ablation_table(runs: pd.DataFrame, rows: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """What each correction of the study's protocol is worth alone.

    Args:
        runs: finished ones; those whose command line chose a ``correction`` are shown.
        rows: their evaluation.
        models: :func:`homoreg.study.tables.model_table` of ``rows``.

    Returns:
        A row per arm and correction: ``seeds``, ``pairs``, the columns that its runs call
        ``error_column`` and ``kappa_column``, and ``_mean``, ``_low`` and ``_high`` over seeds of
        :data:`ABLATION` (medians over pairs; ``error`` and ``log10_kappa`` over the rows that the
        run's own analysis keeps), and ``auc_5px_difference_*`` from ``correction=none``, paired by
        seed. Empty where no correction was varied.
    """
    varied = varied_settings(runs)
    if "correction" not in varied or not len(rows):
        return pd.DataFrame()
    chosen = runs.assign(correction=varied["correction"])
    chosen = chosen[chosen["correction"] != ""]
    chosen = chosen.assign(arm=name_arms(_without(chosen, ["correction"])))
    by_run = {run: part for run, part in rows.groupby("run") if run}
    records = [
        _judged(run, by_run[run["run"]], models)
        for _, run in chosen.iterrows()
        if run["run"] in by_run
    ]
    if not records:
        return pd.DataFrame()
    table = pd.DataFrame(records)
    baseline = table[table["correction"] == "none"].groupby(["arm", "seed"])["auc_5px"].first()
    paired = table[["arm", "seed"]].join(baseline.rename("baseline"), on=["arm", "seed"])
    table["auc_5px_difference"] = table["auc_5px"] - paired["baseline"]
    table.loc[table["correction"] == "none", "auc_5px_difference"] = np.nan
    keys = ["arm", "correction", "protocol", "estimator", "pairs", "error_column", "kappa_column"]
    table = over_seeds(table, keys, [*ABLATION, "auc_5px_difference"])
    # The uncorrected first, the wholly corrected last.
    table["place"] = table["correction"].map({"none": 0, "all": 2}).fillna(1)
    return sort_models(table, ["arm", "place", "correction"]).drop(columns="place")


def _judged(run: pd.Series, rows: pd.DataFrame, models: pd.DataFrame) -> dict[str, object]:
    """The numbers of one run of an ablation, by its own analysis."""
    analysis = analysis_of(run.to_frame().T)
    estimator = primary_estimator(rows, run["protocol"])
    own = rows[rows["estimator"] == estimator]
    kept = analysis.apply(own)
    [model] = models[(models["run"] == run["run"]) & (models["estimator"] == estimator)].to_dict(
        "records"
    )
    return {
        "run": run["run"],
        "seed": run["seed"],
        "arm": run["arm"],
        "correction": run["correction"],
        "protocol": run["protocol"],
        "estimator": estimator,
        "pairs": len(own),
        "error_column": analysis.error,
        "kappa_column": analysis.kappa,
        "precision_3px": model["precision_3px_median"],
        "recall_3px": model["recall_3px_median"],
        "auc_5px": model["auc_5px"],
        "error": kept[analysis.error].fillna(np.inf).median(),
        "log10_kappa": kept[f"log10_{analysis.kappa}"].fillna(np.inf).median(),
        "kept_percent": 100 * len(kept) / len(own),
    }


def dose_table(runs: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """Response to weight decay and dropout where a sweep set them on a grid; else empty.

    Returns:
        A row per protocol, estimator, further options (``arm``), ``dropout`` and ``weight_decay``,
        with ``seeds`` and the ``_mean``, ``_low`` and ``_high`` of :data:`DOSE_METRICS`.
    """
    parts = []
    runs = runs[runs["objective"] == ""]  # a search leaves no grid behind
    for protocol in order_protocols(runs["protocol"]):
        of_protocol = runs[runs["protocol"] == protocol]
        swept = [name for name in DOSES if name in varied_settings(of_protocol)]
        if swept:
            parts.append(of_protocol.assign(arm=name_arms(_without(of_protocol, DOSES))))
    if not parts or not len(models):
        return pd.DataFrame()
    doses = pd.concat(parts).rename(columns=lambda name: name.removeprefix("training."))
    doses = doses[["run", "arm", "weight_decay", "dropout"]]
    judged = models.drop(columns="arm").merge(doses, on="run")
    keys = ["protocol", "estimator", "arm", "dropout", "weight_decay", "pairs"]
    return sort_models(over_seeds(judged, keys, DOSE_METRICS), keys)


def trial_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The trials of searches, best first: a row per finished run that had an objective.

    Args:
        runs: with ``objective``, ``objective_value`` and ``objective_direction`` (``maximize`` or
            ``minimize``).

    Returns:
        Columns ``objective, direction, rank, value, run, seed`` and one for each option that the
        trials set differently, as numbers where they are numbers.
    """
    trials = runs[runs["objective"] != ""]
    parts = []
    for _, group in trials.groupby(["objective", "objective_direction"]):
        objective, direction = group[["objective", "objective_direction"]].iloc[0]
        options = varied_settings(group).apply(_numbers)
        table = group[["run", "seed"]].assign(value=group["objective_value"].astype(float))
        table = pd.concat([table, options], axis=1).sort_values(
            "value", ascending=direction == "minimize"
        )
        table.insert(0, "rank", range(1, len(table) + 1))
        table.insert(0, "direction", direction)
        table.insert(0, "objective", objective)
        parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def hyperparameters(trials: pd.DataFrame) -> list[str]:
    """The options of :func:`trial_table` that are numbers, which a scatter can show."""
    options = trials.drop(columns=TRIAL)
    return list(map(str, options.select_dtypes("number")))


def _numbers(values: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    return numbers if numbers.notna().all() else values


def _without(runs: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The same runs as if their command lines had not set these options."""
    prefixes = tuple(f"{name}=" for name in names)
    kept = [
        [override for override in overrides if not override.lstrip("+").startswith(prefixes)]
        for overrides in runs["overrides"]
    ]
    return runs.assign(overrides=pd.Series(kept, index=runs.index))
