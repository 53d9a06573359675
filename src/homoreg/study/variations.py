"""What a sweep varies on purpose: corrections, and doses of a regularizer."""

import re
from collections.abc import Mapping
from typing import Literal, cast

import numpy as np
import pandas as pd

from homoreg.study.analysis import analysis_of, primary_estimator
from homoreg.study.arms import describe_settings, distinguishing_settings, name_arms, sort_models
from homoreg.study.comparisons import OUTCOMES, compare_arms, levels

# Options of which several values are doses.
PHOTOS = "data.train_photos"  # fewer of them are no dose of a regularizer
DOSED = re.compile(rf"regularizer\.|augmentation$|optimizer\.lr$|{re.escape(PHOTOS)}$")
DOSE_METRICS = ["auc_5px", "match_count_median", "precision_3px_median"]
ABLATION = ["precision_3px", "recall_3px", "auc_5px"]  # keys of OUTCOMES


def ablation_table(runs: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The effect of each correction of the notebook's protocol alone.

    Args:
        runs: finished ones; those that chose a ``correction`` are shown.
        rows: their evaluation.

    Returns:
        A row per arm and correction: ``protocol``, ``estimator``, ``seeds``, ``pairs``, ``_mean``,
        ``_low`` and ``_high`` of each of :data:`ABLATION`, and ``difference`` of AUC at 5 px from
        ``correction=none``, paired by seed, with its ``low`` and ``high``; intervals are over seeds
        and photos. ``error`` and ``kappa`` are medians over the rows that the run's own analysis
        keeps (``kept_percent``), of the columns that it reads (``error_column``,
        ``kappa_column``), as means over the seeds. Empty where no correction was varied.
    """
    correction = runs["settings"].map(lambda settings: settings.get("correction") or "")
    if correction.nunique() < 2 or not len(rows):
        return pd.DataFrame()
    chosen = runs.assign(correction=correction)[correction != ""]
    chosen = chosen.assign(arm=name_arms(chosen, ["correction"]))
    by_run = {str(run): part for run, part in rows.groupby("run") if run}
    chosen = chosen[chosen["run"].isin(by_run.keys())]
    parts = [
        _corrections(own, by_run).assign(arm=arm) for arm, own in chosen.groupby("arm", sort=False)
    ]
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts)
    # The uncorrected protocol first, the fully corrected one last.
    table["place"] = table["correction"].map({"none": 0, "all": 2}).fillna(1)
    return sort_models(table, ["arm", "place", "correction"]).drop(columns="place")


def _corrections(runs: pd.DataFrame, by_run: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The corrections of one arm, which stand in the place of arms here."""
    read, numbers = [], []
    for _, run in runs.iterrows():
        analysis, rows = analysis_of(run.to_frame().T), by_run[run["run"]]
        estimator = primary_estimator(rows, analysis)
        own = rows[rows["estimator"] == estimator]
        kept = analysis.apply(own)
        # Each correction by its own estimator.
        read.append(own.assign(protocol="corrected", estimator="", arm=run["correction"]))
        numbers.append(
            {
                **{key: run[key] for key in ("correction", "protocol")},
                "estimator": estimator,
                "error_column": analysis.error,
                "kappa_column": analysis.kappa,
                "error": kept[analysis.error].fillna(np.inf).median(),
                "kappa": kept[analysis.kappa].fillna(np.inf).median(),
                "kept_percent": 100 * len(kept) / len(own),
            }
        )
    together = pd.concat(read)
    keys = ["correction", "protocol", "estimator", "error_column", "kappa_column"]
    table = pd.DataFrame(numbers).groupby(keys, sort=False).mean().reset_index()
    outcomes = levels(together, {name: OUTCOMES[name] for name in ABLATION})
    compared = compare_arms(together)
    if len(compared):
        compared = compared[compared["metric"] == "auc_5px"]
        outcomes = outcomes.merge(compared[["arm", "difference", "low", "high"]], "left", "arm")
    return table.merge(outcomes.drop(columns="estimator"), left_on="correction", right_on="arm")


def dose_table(runs: pd.DataFrame, arms: pd.DataFrame) -> pd.DataFrame:
    """Arms of one regularizer that differ in one option: its doses.

    Args:
        runs: finished ones, without an ablation's or a search's.
        arms: a row per protocol, estimator and arm, with whatever numbers are to be shown.

    Returns:
        The rows of ``arms`` with the ``regularizer``, the ``option``, its ``dose`` as text and
        their order (``place``), and the arms' ``other settings``. An arm stands in as many rows as
        it has options with several doses. Empty where no option has.
    """
    parts = []
    for key, own in runs.groupby(["protocol", "training.regularizer"], sort=False):
        protocol, regularizer = cast(tuple[str, str], key)
        settings = distinguishing_settings(own).assign(arm=own["arm"]).drop_duplicates("arm")
        names = [str(name) for name in settings if name != "arm"]
        for option in filter(DOSED.match, names):
            others = describe_settings(settings[[name for name in names if name != option]])
            doses = pd.DataFrame(
                {
                    "protocol": protocol,
                    "regularizer": regularizer,
                    "option": option.removeprefix("regularizer."),
                    "dose": settings[option].replace("", "all"),
                    "place": rank_doses(settings[option]),
                    "other settings": others,
                    "arm": settings["arm"],
                }
            )
            several = doses.groupby("other settings")["dose"].transform("nunique") > 1
            parts.append(doses[several])
    table = pd.concat(parts) if parts else pd.DataFrame()
    if not len(table) or not len(arms):
        return pd.DataFrame()
    keys = ["protocol", "estimator", "regularizer", "option", "other settings", "place"]
    return sort_models(table.merge(arms, on=["protocol", "arm"]), keys)


def rank_doses(doses: pd.Series) -> pd.Series:
    """The place of each dose among all: numbers by size, then names, then an option that is unset.

    >>> rank_doses(pd.Series(["1e-3", "", "0.1", "1e-05", "0.1"])).tolist()
    [1, 3, 2, 0, 2]
    """
    numbers = pd.to_numeric(doses, errors="coerce").fillna(np.inf)
    ordered = sorted(set(zip(doses == "", numbers, doses, strict=True)))
    return pd.Series(
        [ordered.index(dose) for dose in zip(doses == "", numbers, doses, strict=True)], doses.index
    )


def winners(doses: pd.DataFrame, outcome: str, better: Literal["lower", "higher"]) -> pd.DataFrame:
    """The best dose of each option of a regularizer: the best mean of an outcome over the seeds.

    Arms that were trained on other numbers of photographs are no candidates.

    Args:
        doses: rows of :func:`dose_table` with ``<outcome>_mean``.
        outcome: the name of the outcome.
        better: ``lower`` or ``higher`` values are.
    """
    of_photos = (doses["option"] == PHOTOS) | doses["arm"].str.contains(f"{PHOTOS}=", regex=False)
    finite = doses[np.isfinite(doses[f"{outcome}_mean"]) & ~of_photos]
    ordered = finite.sort_values(f"{outcome}_mean", ascending=better == "lower", kind="stable")
    keys = ["protocol", "estimator", "regularizer", "option"]
    return sort_models(ordered.drop_duplicates(keys), keys)
