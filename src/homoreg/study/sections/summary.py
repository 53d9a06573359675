"""The first screen: the answer in words, one figure, one table."""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from homoreg.study import seed_figures
from homoreg.study.analysis import primary_estimator
from homoreg.study.arms import protocol_label
from homoreg.study.claims import MIN_SEEDS
from homoreg.study.comparisons import OUTCOMES, Outcome
from homoreg.study.data import BASELINE, MANY_ARMS, StudyData
from homoreg.study.document import (
    SEEDS,
    Column,
    Figure,
    Part,
    Section,
    Table,
    capitalized,
    counted,
    escape,
    number,
    probability,
    span,
    with_interval,
)
from homoreg.study.statistics import ALPHA, MAX_SKEWNESS, fewest_seeds
from homoreg.study.variations import PHOTOS

EASY_AUC = 80.0  # of AUC at 1 px: above this, a harder warp tells arms apart better
LIMITS = (
    "These runs do not show whether the same holds after longer training, for other networks, or "
    "on other kinds of photographs{}."
)
# The verdicts of a comparison in words, in the order in which the answer lists them.
VERDICTS = {
    "higher": "higher",
    "lower": "lower",
    "equivalent": "equivalent",
    "open": "neither different nor equivalent",
    "open: too few seeds": "too few seeds for a test",
    "not informative": "not informative: at the floor or ceiling of the outcome, or infinite",
}


def summary(study: StudyData) -> Section | None:
    """About the corrected protocol where it was run, recipe by recipe."""
    names = study.evaluated
    names = [name for name in names if not name.startswith("notebook")] or names[:1]
    if not names:
        return None
    shown = pd.concat([study.levels[name] for name in names])
    shown = shown.assign(failed_percent=100 * shown["failure_rate_mean"])
    of_each = [_of_protocol(study, name, shown) for name in names]
    crowded = study.crowded()
    limits = LIMITS.format("" if crowded else ", or at another dose")
    others = [name for name in study.evaluated if name not in {*names, *crowded}]
    of_each[-1][1:1] = [limits, *(_beside(study, name, names[0]) for name in others)]
    return Section("summary", "Summary", list(chain(*of_each)), {"levels": shown}, open=True)


def _of_protocol(study: StudyData, protocol: str, table: pd.DataFrame) -> list[Part]:
    """The answer in words, the figure and the table of one protocol."""
    several = len(study.evaluated) > 1
    table = table[table["protocol"] == protocol]
    suffix, label = f"_{protocol}" if several else "", protocol_label(protocol)
    analysis, estimator = study.analyses[protocol], study.primary[protocol]
    primary = analysis.outcomes[0]
    outcome = OUTCOMES[primary]
    own = study.comparisons
    if len(own):
        own = own[(own["protocol"] == protocol) & (own["metric"] == primary)]
    levels = table[table["estimator"] == estimator]
    prefix = f"### {capitalized(label)}\n\n" if several else ""
    parts: list[Part] = [prefix + answer(own, levels, estimator, primary)]
    if protocol in study.crowded():
        return parts
    if len(own):
        names = [name for name in analysis.estimators if name in set(own["estimator"])]
        drawn = pd.concat([own[own["estimator"] == name] for name in names or [estimator]])
        references = _references(table, primary)
        parts.append(
            Figure(
                f"primary{suffix}",
                f"{capitalized(outcome.label)}, {label}: difference of each arm from "
                f"{BASELINE}, with its 95 % interval over n seeds and the photos; no interval with "
                f"one seed. {'Left is better. ' if outcome.log10 else ''}"
                "Gray: within the margin of equivalence. Lines: baselines; a number in the legend "
                "is that of one outside the axis.",
                "comparisons",
                partial(
                    seed_figures.primary_figure, drawn, references, outcome.label, study.styles
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
            f"Arms and baselines, {estimator}, {label}, on n pairs each, with 95 % intervals over "
            "seeds and photos (photos alone for what was not trained; no interval with one seed). "
            "Compare arms by their differences, whose intervals are narrower. Other estimators are "
            "in the CSV.",
            "levels",
            levels,
            columns,
        )
    )
    return parts


def _beside(study: StudyData, protocol: str, main: str) -> str:
    """The arms of another protocol under the estimator that the main one prefers."""
    primary = study.analyses[protocol].outcomes[0]
    estimator = primary_estimator(study.rows_of(protocol), study.analyses[main])
    own = study.levels[protocol].query("estimator == @estimator")
    means = zip(own["arm"], own[f"{primary}_mean"], strict=True)
    listing = ", ".join(f"{escape(arm)} {_level(mean, OUTCOMES[primary])}" for arm, mean in means)
    seeds = counted(span(own.loc[own["seeds"] > 0, "seeds"]), "seed")
    label = protocol_label(protocol)
    return f"Under {label} ({estimator}, {seeds}), {_name(OUTCOMES[primary])}: {listing}."


def answer(own: pd.DataFrame, levels: pd.DataFrame, estimator: str, primary: str) -> str:
    """What differs, by how much, with what certainty, and what it would take to tell.

    Args:
        own: the comparisons of one protocol by its primary outcome, under every estimator.
        levels: the outcomes of its arms and baselines under the primary estimator.
        estimator: the primary one.
        primary: the outcome.
    """
    outcome = OUTCOMES[primary]
    means = levels.set_index("arm")[f"{primary}_mean"]
    baselines = ", ".join(
        f"{escape(arm)} {_level(means[arm], outcome)}" for arm in levels.query("seeds == 0")["arm"]
    )
    end = [f"For comparison: {baselines}."] if baselines else []
    trained = levels[levels["seeds"] > 0]
    if "auc_1px_mean" in levels and trained["auc_1px_mean"].min() > EASY_AUC:
        end.append(
            f"AUC at 1 px exceeds {EASY_AUC:g} in every arm: these pairs are easy, and a harder "
            "warp would tell the arms apart better."
        )
    if not len(own):
        start = f"There is no comparison of arms: it takes runs of `{BASELINE}` and of another arm."
        return " ".join([start, *end])
    shown = own[own["estimator"] == estimator]
    value = _level(shown.nlargest(1, "seeds")["mean_baseline"].iloc[0], outcome)
    text = [
        f"The {_name(outcome)} of {BASELINE} is {value} ({estimator}, {shown['pairs'].iloc[0]} "
        f"pairs of {counted(shown['photos'].iloc[0], 'photo')}). The other arms are given relative "
        "to it, with 95 % intervals over seeds and photos."
    ]
    for verdict, words in VERDICTS.items():
        alike = shown[shown["verdict"] == verdict]
        if len(alike) > MANY_ARMS:
            words += f", {len(alike)} arms, of which the best of each regularizer"
            alike = alike.sort_values("difference", ascending=outcome.better == "lower")
            alike = alike[~alike["arm"].str.contains(f"{PHOTOS}=", regex=False)]
            alike = alike[~alike["arm"].str.partition(" ")[0].duplicated()]
        clauses = [
            f"**{escape(row['arm'])}** {effect(row, outcome)}" for row in alike.to_dict("records")
        ]
        if clauses:
            text.append(f"{capitalized(words)}: {', '.join(clauses)}.")
    needed = fewest_seeds(len(shown))
    if (shown["seeds"] < needed).any():
        text.append(
            f"A test takes at least {needed} seeds of an arm (Holm's correction over "
            f"{counted(len(shown), 'arm')} at {100 * ALPHA:g} %), and the original study's claims "
            f"take {MIN_SEEDS}."
        )
    if (shown["seeds"] >= needed).any():
        text += [_under_others(shown, own[own["estimator"] != estimator]), _to_decide(own)]
        skewed = shown.loc[shown["skewness"].abs() > MAX_SKEWNESS, "arm"]
        if len(skewed):
            text.append(
                f"The differences of {', '.join(map(escape, skewed))} are skewed over the seeds "
                f"(beyond ±{MAX_SKEWNESS:g}): their p may be too small."
            )
    return " ".join(filter(None, [*text, *end]))


def _name(outcome: Outcome) -> str:
    return "geometric mean corner error" if outcome.log10 else outcome.label


def _level(value: float, outcome: Outcome) -> str:
    return f"{number(2)(10**value)} px" if outcome.log10 else number(1)(value)


def effect(row: Mapping[Any, Any], outcome: Outcome) -> str:
    """The size of a difference, its interval, seeds and p: a factor of an error, else a sum.

    >>> row = {"difference": 0.1, "low": 0.0, "high": 0.2, "seeds": 7, "p_holm": 0.01}
    >>> effect(row | {"verdict": "higher"}, OUTCOMES["log10_corner_error"])
    '1.26 times (1.00 to 1.58; 7 seeds; p = 0.010)'
    """
    if not row["seeds"]:
        return "(no seed in common)"
    ends = (row[name] for name in ("difference", "low", "high"))
    if outcome.log10:
        size, low, high = (number(2)(10**end) for end in ends)
        size += " times"
    else:
        size, low, high = (f"{end:+.1f}".replace("-", "−") for end in ends)
    details = [f"{low} to {high}"] if np.isfinite(row["low"]) else []
    details.append(counted(row["seeds"], "seed"))
    if row["verdict"] in ("higher", "lower"):
        p = probability(row["p_holm"])
        details.append(f"p {p if p[0] == '<' else f'= {p}'}")
    return f"{size} ({'; '.join(details)})"


def says(row: Mapping[Any, Any], outcome: Outcome, reference: str) -> str:
    """One comparison as a sentence."""
    if not row["seeds"]:
        return f"**{escape(row['arm'])}** against {reference}: no runs of a common seed."
    verdict = VERDICTS[row["verdict"]]
    if row["verdict"] == "equivalent":
        margin = row["margin"]
        verdict += f" within {f'a factor of {10**margin:.2f}' if outcome.log10 else f'±{margin:g}'}"
    return f"**{escape(row['arm'])}** against {reference}: {effect(row, outcome)}, {verdict}."


def _under_others(primary: pd.DataFrame, others: pd.DataFrame) -> str:
    """Whether the other estimators agree."""
    verdicts = primary.set_index("arm")["verdict"]
    sentences = []
    for estimator, own in others.groupby("estimator", sort=False):
        differ = own[own["verdict"] != own["arm"].map(verdicts)]
        found = [
            f"{verdict.removeprefix('open: ')} for "
            f"{', '.join(map(escape, differ.loc[differ['verdict'] == verdict, 'arm']))}"
            for verdict in differ["verdict"].unique()
        ]
        text = f"verdicts differ: {'; '.join(found)}" if found else "the verdicts are the same"
        sentences.append(f"Under {estimator} {text}.")
    return " ".join(sentences)


def _to_decide(own: pd.DataFrame) -> str:
    """How many seeds it takes at least until no verdict of these comparisons is open.

    Where the interval is no wider than the margin, it leaves out 0 or lies within the margin,
    whatever the difference. Its width falls with the root of the seeds, and less by the photos'
    share.
    """
    undecided = own[own["verdict"] == "open"]
    if not len(undecided):
        return ""
    widths = (undecided["high"] - undecided["low"]) / undecided["margin"]
    seeds = int(np.ceil((undecided["seeds"] * widths**2).max()))
    return (
        f"To decide what is open takes at least {seeds} seeds: then an interval is no wider than "
        "the margin, and either leaves out 0 or lies within the margin."
    )


def _references(table: pd.DataFrame, primary: str) -> pd.DataFrame:
    """Each baseline's difference from the baseline arm, by estimator."""
    value = f"{primary}_mean"
    arm = table[table["arm"] == BASELINE].set_index("estimator")[value]
    baselines = table[table["seeds"] == 0]
    difference = baselines[value] - baselines["estimator"].map(arm)
    return baselines.assign(difference=difference)[["estimator", "arm", "difference"]].dropna()
