"""The first screen: the answer in words, one figure, one table."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from homoreg.study import seed_figures
from homoreg.study.arms import order_arms, protocol_label
from homoreg.study.claims import MIN_SEEDS
from homoreg.study.data import BASELINE, StudyData
from homoreg.study.document import (
    SEEDS,
    Column,
    Figure,
    Part,
    Section,
    Table,
    capitalized,
    escape,
    number,
    probability,
    with_interval,
)
from homoreg.study.statistics import OUTCOMES, Outcome, fewest_seeds

EASY_AUC = 80.0  # of AUC at 1 px: above this, a harder warp tells arms apart better


def summary(study: StudyData) -> Section | None:
    """About the corrected protocol where it was run, recipe by recipe."""
    evaluated = [name for name in study.protocols if len(study.rows_of(name))]
    corrected = [name for name in evaluated if study.analyses[name].protocol != "notebook"]
    shown = corrected or evaluated[:1]
    if not shown:
        return None
    parts = [part for protocol in shown for part in _of_protocol(study, protocol)]
    parts.insert(1, LIMITS)
    frames = {"levels": pd.concat([_levels(study, protocol) for protocol in shown])}
    return Section("summary", "Summary", parts, frames, open=True)


LIMITS = (
    "These runs cannot tell whether the same holds at another dose, after longer training, for "
    "another network, or on other kinds of photographs."
)


def _levels(study: StudyData, protocol: str) -> pd.DataFrame:
    table = study.levels(protocol)
    return table.assign(failed_percent=100 * table["failure_rate_mean"])


def _of_protocol(study: StudyData, protocol: str) -> list[Part]:
    """The answer in words, the figure and the table of one protocol."""
    several = len([name for name in study.protocols if len(study.rows_of(name))]) > 1
    suffix, label = f"_{protocol}" if several else "", protocol_label(protocol)
    analysis, table = study.analyses[protocol], _levels(study, protocol)
    primary, estimator = analysis.outcomes[0], study.primary[protocol]
    outcome = OUTCOMES[primary]
    own = study.comparisons
    if len(own):
        own = own[(own["protocol"] == protocol) & (own["metric"] == primary)]
    answer = (
        _answer(own, estimator, outcome)
        if len(own)
        else f"There is no comparison of arms: it takes runs of `{BASELINE}` and of another arm."
    )
    levels = table[table["estimator"] == estimator]
    prefix = f"### {capitalized(label)}\n\n" if several else ""
    parts: list[Part] = [prefix + answer, _reading(levels, primary)]
    if protocol in study.crowded():
        return parts
    if len(own):
        names = [name for name in analysis.estimators if name in set(own["estimator"])]
        drawn = pd.concat([own[own["estimator"] == name] for name in names or [estimator]])
        parts.append(
            Figure(
                f"primary{suffix}",
                f"{capitalized(outcome.label)}, {label}: difference of each arm from "
                f"{BASELINE}, with its 95 % interval over seeds and photos. "
                f"{'Left is better. ' if outcome.log10 else ''}"
                "Gray: within the margin of equivalence. Lines: baselines.",
                "comparisons",
                partial(
                    seed_figures.primary_figure,
                    drawn,
                    _references(table, primary),
                    outcome.label,
                    study.styles,
                ),
            )
        )
    columns = [
        Column("arm", "model"),
        SEEDS,
        Column("pairs", "n"),
        with_interval(primary, outcome.label.partition(",")[0], 2),
        *(
            with_interval(name, OUTCOMES[name].label.partition(" (")[0], 1)
            for name in analysis.outcomes[1:]
        ),
        Column("failed_percent", "failed (%)", 1),
    ]
    parts.append(
        Table(
            f"answer{suffix}",
            f"Arms and baselines, {estimator}, {label}, with 95 % intervals over seeds and photos "
            "(photos alone for what was not trained; none with one seed). Compare arms by their "
            "differences, whose intervals are narrower. Other estimators are in the CSV.",
            "levels",
            levels,
            columns,
        )
    )
    return parts


def _answer(own: pd.DataFrame, estimator: str, outcome: Outcome) -> str:
    """What differs, by how much, with what certainty and under which estimators."""
    primary = own[own["estimator"] == estimator]
    others = own[own["estimator"] != estimator]
    fewest, most = int(primary["seeds"].min()), int(primary["seeds"].max())
    photos = int(primary["photos"].iloc[0])
    seeds = f"{fewest} to {most} seeds" if fewest < most else f"{most} seed{'s' * (most != 1)}"
    needed = fewest_seeds(len(primary))
    ranks = {verdict: place for place, verdict in enumerate(("higher", "lower", "equivalent"))}
    ordered = primary.sort_values("verdict", key=lambda v: v.map(ranks).fillna(9), kind="stable")
    text = [
        f"By the primary outcome ({outcome.label.partition(',')[0]}; {estimator}, {seeds}, "
        f"{primary['pairs'].iloc[0]} pairs of {photos} photo{'s' * (photos != 1)}), "
        + "; ".join(says(row, outcome) for row in ordered.to_dict("records"))
        + "."
    ]
    if most < needed:
        text.append(
            f"With {seeds} nothing can be tested: comparing "
            f"{len(primary)} arm{'s' * (len(primary) != 1)} with {BASELINE} takes at least "
            f"{needed} seeds, and the original study's claims {MIN_SEEDS}. The intervals are all "
            "that there is."
        )
    else:
        text += [_under_others(primary, others)]
        skewed = primary.loc[primary["skewness"].abs() > 1, "arm"]
        if len(skewed):
            text.append(
                f"The differences of {', '.join(map(escape, skewed))} are skewed over the seeds "
                "(beyond ±1): their p may be too small."
            )
    return " ".join(filter(None, text))


def says(row: Mapping[Any, Any], outcome: Outcome, reference: str = BASELINE) -> str:
    """One comparison as a clause."""
    arm = f"**{escape(str(row['arm']))}**"
    if not row["seeds"]:
        return f"{arm} and {reference} have no seed in common"
    if row["verdict"] == "not informative":
        return f"{arm} is not informative: the outcome is at its floor or ceiling, or infinite"
    difference, low, high, margin = (row[key] for key in ("difference", "low", "high", "margin"))
    if outcome.log10:
        show = number(2)
        size, ends = show(10**difference), f"{show(10**low)} to {show(10**high)}"
        limit = f"a factor of {10**margin:.2f}"
        amount = f"{size} times the error of {reference}"
    else:
        show = number(1)
        size, ends = show(difference), f"{show(low)} to {show(high)}"
        limit = f"±{margin:g}"
        amount = f"a difference of {size} from {reference}"
    interval = f"95 % interval {ends}" if np.isfinite(low) else "no interval"
    verdict = str(row["verdict"])
    if verdict in ("higher", "lower"):
        p = probability(row["p_holm"])
        return f"{arm} has {amount} ({interval}; p {p if p[0] == '<' else f'= {p}'})"
    if verdict == "equivalent":
        return f"{arm} is equivalent to {reference} within {limit} ({amount}, {interval})"
    if verdict == "open: too few seeds":
        return f"{arm} has {amount} ({interval}; too few seeds for a test)"
    return f"{arm} cannot be told from {reference} ({amount}, {interval})"


def _under_others(primary: pd.DataFrame, others: pd.DataFrame) -> str:
    """Whether the other estimators agree."""
    if others.empty:
        return ""
    verdicts = primary.set_index("arm")["verdict"]
    differ = [
        f"{escape(row['arm'])} is {row['verdict']} under {row['estimator']}"
        for row in others.to_dict("records")
        if row["verdict"] != verdicts[row["arm"]]
    ]
    names = ", ".join(dict.fromkeys(others["estimator"]))
    if not differ:
        return f"Under {names} the verdicts are the same."
    return f"This depends on the estimator: {'; '.join(differ)}."


def _reading(table: pd.DataFrame, primary: str) -> str:
    """The levels in pixels, and a hint where the pairs are too easy."""
    sentences = []
    if OUTCOMES[primary].log10:
        means = table.set_index("arm")[f"{primary}_mean"]
        named = [f"{escape(arm)} {10 ** means[arm]:.2f}" for arm in order_arms(means.index)]
        sentences.append(f"Geometric mean error in pixels: {', '.join(named[:12])}.")
    trained = table[table["seeds"] > 0]
    if "auc_1px_mean" in table and (trained["auc_1px_mean"] > EASY_AUC).any():
        sentences.append(
            f"AUC at 1 px exceeds {EASY_AUC:g}: these pairs are easy, and a harder warp would tell "
            "the arms apart better."
        )
    return " ".join(sentences)


def _references(table: pd.DataFrame, primary: str) -> pd.DataFrame:
    """Each baseline's difference from the baseline arm, by estimator."""
    value = f"{primary}_mean"
    arm = table[table["arm"] == BASELINE].set_index("estimator")[value]
    baselines = table[table["seeds"] == 0]
    difference = baselines[value] - baselines["estimator"].map(arm)
    return baselines.assign(difference=difference)[["estimator", "arm", "difference"]].dropna()
