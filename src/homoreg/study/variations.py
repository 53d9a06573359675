"""What a sweep varies on purpose: corrections, doses of a regularizer, the trials of a search."""

import numpy as np
import pandas as pd

from homoreg.study.analysis import analysis_of, primary_estimator
from homoreg.study.arms import (
    distinguishing_settings,
    name_arms,
    order_protocols,
    settings_table,
    sort_models,
)
from homoreg.study.tables import over_seeds

DOSE_METRICS = ["auc_5px", "predicted_corner_error_px_median", "match_count_median"]
DOSE_METRICS += ["precision_3px_median"]
TRIAL = ["objective", "direction", "rank", "value", "run", "seed"]
ABLATION = ["precision_3px", "recall_3px", "auc_5px", "error", "kappa", "kept_percent"]


def ablation_table(runs: pd.DataFrame, rows: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """The effect of each correction of the notebook's protocol alone.

    Args:
        runs: finished ones; those that chose a ``correction`` are shown.
        rows: their evaluation.
        models: :func:`homoreg.study.tables.model_table` of ``rows``.

    Returns:
        A row per arm and correction: ``seeds``, ``pairs``, the columns that its runs read as
        ``error_column`` and ``kappa_column``, and ``_mean``, ``_low`` and ``_high`` over seeds of
        :data:`ABLATION` (medians over pairs; ``error`` and ``kappa`` over the rows that the run's
        own analysis keeps), and ``auc_5px_difference_*`` from ``correction=none``, paired by seed.
        Empty where no correction was varied.
    """
    correction = runs["settings"].map(lambda settings: settings.get("correction") or "")
    if correction.nunique() < 2 or not len(rows):
        return pd.DataFrame()
    chosen = runs.assign(correction=correction)[correction != ""]
    chosen = chosen.assign(arm=name_arms(chosen, ["correction"]))
    by_run = {run: part for run, part in rows.groupby("run") if run}
    records = [
        _run_record(run, by_run[run["run"]], models)
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
    # The uncorrected protocol first, the fully corrected one last.
    table["place"] = table["correction"].map({"none": 0, "all": 2}).fillna(1)
    return sort_models(table, ["arm", "place", "correction"]).drop(columns="place")


def _run_record(run: pd.Series, rows: pd.DataFrame, models: pd.DataFrame) -> dict[str, object]:
    """The numbers of one run of an ablation, by its own analysis."""
    analysis = analysis_of(run.to_frame().T)
    estimator = primary_estimator(rows, analysis)
    own = rows[rows["estimator"] == estimator]
    kept = analysis.apply(own)
    [model] = models[(models["run"] == run["run"]) & (models["estimator"] == estimator)].to_dict(
        "records"
    )
    return {
        **{key: run[key] for key in ("run", "seed", "arm", "correction", "protocol")},
        "estimator": estimator,
        "pairs": len(own),
        "error_column": analysis.error,
        "kappa_column": analysis.kappa,
        "precision_3px": model["precision_3px_median"],
        "recall_3px": model["recall_3px_median"],
        "auc_5px": model["auc_5px"],
        "error": kept[analysis.error].fillna(np.inf).median(),
        "kappa": kept[analysis.kappa].fillna(np.inf).median(),
        "kept_percent": 100 * len(kept) / len(own),
    }


def dose_table(runs: pd.DataFrame, models: pd.DataFrame) -> pd.DataFrame:
    """Response to a regularizer's options where a sweep varied them; else empty.

    Returns:
        A row per protocol, estimator, ``arm`` (what else distinguishes the runs) and dose: the
        ``option`` and its ``dose``, the other varied options as text in ``others``, ``seeds``, and
        ``_mean``, ``_low`` and ``_high`` of :data:`DOSE_METRICS`.
    """
    parts = []
    runs = runs[runs["objective"] == ""]  # a search leaves no grid behind
    for protocol in order_protocols(runs["protocol"]):
        own = runs[runs["protocol"] == protocol]
        settings = distinguishing_settings(own)
        options = [name for name in map(str, settings) if name.startswith("regularizer.")]
        doses = settings[options].apply(pd.to_numeric, errors="coerce")
        options = [name for name in options if doses[name].notna().all()]
        if options:
            *others, option = options
            parts.append(
                own[["run"]].assign(
                    arm=name_arms(own, options),
                    option=option.removeprefix("regularizer."),
                    dose=doses[option],
                    others=[
                        ", ".join(
                            f"{str(name).removeprefix('regularizer.')} {value:g}"
                            for name, value in row.items()
                        )
                        for row in doses[others].to_dict("records")
                    ],
                )
            )
    if not parts or not len(models):
        return pd.DataFrame()
    evaluated = models.drop(columns="arm").merge(pd.concat(parts), on="run")
    keys = ["protocol", "estimator", "arm", "option", "others", "dose", "pairs"]
    return sort_models(over_seeds(evaluated, keys, DOSE_METRICS), keys)


def trial_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The trials of searches, best first: a row per finished run that had an objective.

    Args:
        runs: with ``objective``, ``objective_value`` and ``objective_direction`` (``maximize`` or
            ``minimize``).

    Returns:
        Columns :data:`TRIAL` and one for each setting in which the trials differ, as numbers where
        they are numbers.
    """
    trials = runs[runs["objective"] != ""]
    parts = []
    for _, group in trials.groupby(["objective", "objective_direction"]):
        objective, direction = group[["objective", "objective_direction"]].iloc[0]
        table = group[["run", "seed"]].assign(value=group["objective_value"].astype(float))
        table = pd.concat([table, settings_table(group).apply(_numbers)], axis=1)
        table = table.sort_values("value", ascending=direction == "minimize")
        table.insert(0, "rank", range(1, len(table) + 1))
        table.insert(0, "direction", direction)
        table.insert(0, "objective", objective)
        parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def hyperparameters(trials: pd.DataFrame) -> list[str]:
    """The settings of :func:`trial_table` that are numbers, which a scatter can show."""
    return list(map(str, trials.drop(columns=TRIAL).select_dtypes("number")))


def _numbers(values: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    return numbers if numbers.notna().all() else values
