"""Outcomes of runs, and arms against a baseline by them: seed by seed, on the pairs they share."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from homoreg.aggregates import (
    ERROR_RANGE_PX,
    failed,
    resampled_auc,
    resampled_mean,
    resampled_median,
)
from homoreg.errors import HomoregError
from homoreg.metrics import METRICS
from homoreg.study.analysis import ANALYSES, Analysis
from homoreg.study.arms import order_arms
from homoreg.study.statistics import (
    ALPHA,
    DRAWS,
    Sample,
    SeedValues,
    fewest_seeds,
    holm,
    photo_sample,
    sign_flip_test,
)

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
Runs = dict[tuple[str, int], np.ndarray]  # (1 + B,) values by arm and seed


# One number per run


@dataclass(frozen=True)
class Outcome:
    """A number per run, made of one per pair.

    Attributes:
        label: its name in a heading, with the unit.
        column: a metric, or ``failed``, 1 for a pair without a usable estimate.
        statistic: values ``(P,)`` and counts ``(B, P)`` → the statistic of B samples in which each
            pair occurs so often.
        margin: arms that differ by less are equivalent; stated before any result was seen.
        limits: values are clipped to them, and a failure counts as the second.
        log10: of the value, after the limits.
        range: of the outcome, where it is bounded.
        all_rows: includes rows that an :class:`Analysis` leaves out.
        better: which values are.
    """

    label: str
    column: str
    statistic: Statistic
    margin: float
    limits: tuple[float, float] | None = None
    log10: bool = False
    range: tuple[float, float] | None = None
    all_rows: bool = False
    better: Literal["lower", "higher"] = "lower"

    def pair_values(self, rows: pd.DataFrame) -> pd.Series:
        """One number per row; NaN where the pair is left out."""
        values = rows[self.column].astype(float)
        worst = METRICS[self.column].failure if self.column in METRICS else None
        if worst is not None:
            values = values.fillna(worst)
        if self.limits:
            values = values.clip(*self.limits)
        with np.errstate(divide="ignore"):
            return pd.Series(np.log10(values)) if self.log10 else values

    def of(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """``(B,)`` statistics of a run on samples of its pairs; NaN where none has a value."""
        has = ~np.isnan(values)
        return self.statistic(values[has], counts[:, has])

    def uninformative(self, means: ArrayLike, percent: float) -> bool:
        """Whether all arms are within so many percent of one end of the outcome's range.

        So is an outcome that is infinite in an arm.

        >>> [OUTCOMES["auc_5px"].uninformative(means, 5) for means in ([1, 4], [1, 6], [96, 99])]
        [True, False, True]
        """
        values = np.asarray(means, float)
        if np.isinf(values).any():
            return True
        if self.range is None or not values.size:
            return False
        low, high = self.range
        edge = percent / 100 * (high - low)
        return bool((values < low + edge).all() or (values > high - edge).all())


LOG_ERROR_RANGE = (float(np.log10(ERROR_RANGE_PX[0])), float(np.log10(ERROR_RANGE_PX[1])))


def _auc(threshold: float) -> Outcome:
    def statistic(errors: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return resampled_auc(errors, counts, threshold)

    label = f"AUC at {threshold:g} px (0–100)"
    return Outcome(label, "corner_error_px", statistic, 2.0, range=(0.0, 100.0), better="higher")


def _log_error(column: str) -> Outcome:
    label = f"mean log₁₀ {METRICS[column].label} (px), clipped to 0.05 … 100, failures 100"
    return Outcome(label, column, resampled_mean, 0.05, ERROR_RANGE_PX, True, LOG_ERROR_RANGE)


def _median(column: str, margin: float, **options: Any) -> Outcome:
    metric = METRICS[column]
    label = f"{'log₁₀ ' if options.get('log10') else ''}median {metric.heading}"
    better = metric.better or "lower"
    return Outcome(label, column, resampled_median, margin, better=better, **options)


# The margins: a factor of 1.12 (0.05) in errors and of 1.26 (0.1) in κ, 2 points of AUC, 2 % of
# pairs or matches, 10 matches.
OUTCOMES = {
    "log10_corner_error": _log_error("corner_error_px"),
    **{f"auc_{threshold}px": _auc(threshold) for threshold in (1, 3, 5)},
    "log10_predicted_corner_error": _log_error("predicted_corner_error_px"),
    "log10_kappa": _median("kappa", 0.1, log10=True),
    "match_count": _median("match_count", 10.0),
    "failure_rate": Outcome(
        "share of pairs without an estimate",
        *("failed", resampled_mean, 0.02),
        range=(0.0, 1.0),
        all_rows=True,
    ),
    "precision_3px": _median("precision_3px", 0.02, range=(0.0, 1.0)),
    "recall_3px": _median("recall_3px", 0.02, range=(0.0, 1.0)),
    "precision_at_recall_10": Outcome(
        "mean precision at recall 0.1",
        *("precision_at_recall_10", resampled_mean, 0.02),
        range=(0.0, 1.0),
        better="higher",
    ),
    "log10_kappa_notebook": _median("kappa_notebook", 0.1, log10=True),
    "log10_rmse_notebook": _median("rmse_notebook_gray", 0.05, log10=True),
    "log10_rmse": _median("rmse_gray", 0.05, log10=True),
}


# Arms against a baseline


def identify_pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with ``pair_id`` the same for the same pair of views, whatever its number.

    A pair is the same where photograph and RMSE without a warp agree: under another warp the same
    photograph has another RMSE. Pairs of one manifest that agree are told apart by their order.
    Without an RMSE a pair is known by its manifest and number.
    """
    keys = rows["pair_id"].astype(str)
    manifest = pd.Series("", rows.index)
    if "manifest_hash" in rows:
        manifest = rows["manifest_hash"].astype(str)
        keys = manifest + " " + keys
    if "rmse_identity_gray" in rows:
        rmse = rows["rmse_identity_gray"].astype(float)
        views = rows["photo"].astype(str) + " " + rmse.round(3).astype(str)
        pairs = pd.DataFrame({"manifest": manifest, "views": views, "key": keys})
        each = pairs.drop_duplicates().sort_values("key")
        each["nth"] = each.groupby(["manifest", "views"]).cumcount().astype(str)
        views += " " + pairs.merge(each, how="left")["nth"].set_axis(rows.index)
        keys = keys.where(rmse.isna(), views)
    return rows.assign(pair_id=keys).drop_duplicates(["estimator", "arm", "seed", "pair_id"])


def shared_pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows about pairs that every run of one estimator evaluated.

    Args:
        rows: of :func:`identify_pairs`; a run is an ``arm`` and a ``seed``.
    """
    runs = rows.groupby(["arm", "seed"]).ngroups
    return rows[rows.groupby("pair_id")["arm"].transform("size") == runs]


def compare_arms(
    rows: pd.DataFrame,
    baseline: str = "none",
    analyses: Mapping[str, Analysis] = ANALYSES,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Every trained arm against the baseline arm, by paired differences over seeds.

    An arm and the baseline are compared on the pairs that all runs of both evaluated. Holm runs
    over the arms of one outcome, once for the differences and once for the equivalences.

    Args:
        rows: of one benchmark, with ``protocol``, ``estimator``, ``arm``, ``seed``, ``pair_id``,
            ``photo``, ``status``, ``corner_error_px`` and the columns of :data:`OUTCOMES`, as far
            as they are to be compared; ``manifest_hash`` and ``rmse_identity_gray`` tell pairs
            apart.
        baseline: the arm to compare with.
        analyses: by protocol.
        draws: of the bootstrap over photos.

    Returns:
        A row per protocol, estimator, outcome (``metric``) and arm: ``seeds`` that pair,
        ``seeds_left_out`` that only one of the two has; ``pairs`` and ``photos``; ``left_out``, how
        many rows of the two arms the analysis dropped; ``mean_baseline`` and ``mean_arm``;
        ``difference`` (arm minus baseline) with its interval ``low`` to ``high`` over seeds and
        photos; ``effect_size`` (Hedges' g_z) and ``skewness`` of the seeds' differences;
        ``p_seeds`` of the sign-flip test alone, ``p`` and ``p_holm`` (:meth:`SeedValues.test`);
        ``p_equivalence`` within ± ``margin`` and ``p_equivalence_holm``; ``verdict``: ``higher``,
        ``lower``, ``equivalent``, ``open``, ``open: too few seeds``, or ``not informative``.

    Raises:
        HomoregError: two runs with the same arm and seed, or an unknown protocol.
    """
    records = []
    for (protocol, estimator), group in protocol_groups(rows, analyses):
        arms = [arm for arm in order_arms(group["arm"]) if arm != baseline]
        names = [
            name
            for name, outcome in OUTCOMES.items()
            if outcome.column in group and group[outcome.column].notna().any()
        ]
        about = {"protocol": protocol, "estimator": estimator}
        compared = _differences(group, baseline, arms, names, analyses[protocol], draws)
        records += [about | record for record in compared]
    return _with_verdicts(records, ["protocol", "estimator", "metric"])


def compare_contrasts(
    rows: pd.DataFrame, analyses: Mapping[str, Analysis], draws: int = DRAWS
) -> pd.DataFrame:
    """The contrasts that were stated beforehand, by the first outcome of each protocol.

    Holm runs over the contrasts of all protocols under one estimator.

    Args:
        rows: as for :func:`compare_arms`.
        analyses: by protocol, with the contrasts.
        draws: of the bootstrap over photos.

    Returns:
        A row per estimator, protocol and contrast: ``question``, ``against``, and the columns of
        :func:`compare_arms`. ``seeds`` is 0 where an arm was not run.
    """
    records = []
    for (protocol, estimator), group in protocol_groups(rows, analyses):
        analysis = analyses[protocol]
        names = analysis.outcomes[:1]
        about = {"protocol": protocol, "estimator": estimator, "metric": names[0]}
        for stated in analysis.contrasts:
            compared = _differences(group, stated.against, [stated.arm], names, analysis, draws)
            records += [about | vars(stated) | record for record in compared]
    table = _with_verdicts(records, ["estimator"])
    return table.drop(columns=["seeds_left_out", "left_out"], errors="ignore")


def compare_studies(
    rows: pd.DataFrame,
    matched: Iterable[tuple[str, str]],
    analyses: Mapping[str, Analysis],
    draws: int = DRAWS,
) -> pd.DataFrame:
    """The arms of a study against the same arms of another one, by the first outcome.

    Holm runs over the arms.

    Args:
        rows: as for :func:`compare_arms`.
        matched: protocols of the first and of the second study, as ``protocol`` has them.
        analyses: by protocol; that of the first study holds for both.
        draws: of the bootstrap over photos.

    Returns:
        A row per match, estimator and arm that both have, if they share a pair: ``first``,
        ``second`` (protocols), ``pairs_first`` and ``pairs_second``, how many pairs each evaluated,
        and the columns of :func:`compare_arms`: the first study is the baseline, and the difference
        is second minus first.
    """
    groups = dict(protocol_groups(rows, analyses))
    records = []
    for first, second in matched:
        analysis = analyses[first]
        for protocol, estimator in groups:
            if protocol != first or (second, estimator) not in groups:
                continue
            theirs, ours = groups[first, estimator], groups[second, estimator]
            about: dict[str, Any] = {"first": first, "second": second, "estimator": estimator}
            about["pairs_first"] = theirs["pair_id"].nunique()
            about["pairs_second"] = ours["pair_id"].nunique()
            for arm in order_arms({*theirs["arm"]} & {*ours["arm"]}):
                # The arm of the first study is the baseline.
                both = [theirs[theirs["arm"] == arm].assign(arm=first), ours[ours["arm"] == arm]]
                compared = _differences(
                    pd.concat(both), first, [arm], analysis.outcomes[:1], analysis, draws
                )
                records += [about | record for record in compared if record["pairs"]]
    return _with_verdicts(records, ["first", "second", "estimator"])


def _differences(
    rows: pd.DataFrame,
    baseline: str,
    arms: Sequence[str],
    names: Sequence[str],
    analysis: Analysis,
    draws: int,
) -> Iterator[dict[str, Any]]:
    """The outcomes of arms against a baseline on the pairs that they share, of one estimator.

    Yields:
        Records of :func:`compare_arms`, and whether the outcome is ``informative`` in the two arms.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for arm in arms:
        shared = shared_pairs(rows[rows["arm"].isin([arm, baseline])])
        alike.setdefault(tuple(shared["pair_id"].unique()), []).append(arm)
    for ids, together in alike.items():
        own = rows[rows["pair_id"].isin(ids) & rows["arm"].isin([baseline, *together])]
        kept = analysis.apply(own)
        lost = own["arm"].value_counts().sub(kept["arm"].value_counts(), fill_value=0)
        sample = sample_pairs(own, draws)
        for name in names:
            outcome = OUTCOMES[name]
            runs = run_samples(outcome, own if outcome.all_rows else kept, sample)
            means = arm_means(runs)
            for arm in together:
                ours, theirs = by_seed(runs, arm), by_seed(runs, baseline)
                values = paired(ours, theirs, sample.photos)
                both = sorted(ours.keys() & theirs.keys())
                low, high = values.interval()
                left_out = 0 if outcome.all_rows else int(lost.reindex([arm, baseline]).sum())
                enough = np.isfinite(values.values).all() and values.seeds.size
                yield {
                    **{"metric": name, "arm": arm},
                    "seeds_left_out": len(ours.keys() ^ theirs.keys()),
                    **{"pairs": len(sample.pairs), "photos": sample.photos, "left_out": left_out},
                    "informative": not outcome.uninformative(
                        [means[name] for name in (baseline, arm) if name in means],
                        analysis.floor_percent,
                    ),
                    "seeds": values.seeds.size,
                    "mean_baseline": np.mean([theirs[s][0] for s in both]) if both else np.nan,
                    "mean_arm": np.mean([ours[s][0] for s in both]) if both else np.nan,
                    **{"difference": values.estimate, "low": low, "high": high},
                    **{"effect_size": values.effect_size, "skewness": values.skewness},
                    "p_seeds": float(sign_flip_test(values.seeds)) if enough else np.nan,
                    "p": values.test("two-sided"),
                    **{"p_equivalence": values.within(outcome.margin), "margin": outcome.margin},
                }


def protocol_groups(
    rows: pd.DataFrame, analyses: Mapping[str, Analysis]
) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The trained runs' rows of each protocol and estimator, with a column ``failed``.

    Pairs are those of :func:`identify_pairs`.

    Raises:
        HomoregError: two runs with the same arm and seed, or an unknown protocol.
    """
    trained = rows[rows["seed"].notna()]
    trained = trained.assign(seed=trained["seed"].astype(int), failed=failed(trained).astype(float))
    for (protocol, estimator), group in trained.groupby(["protocol", "estimator"], sort=False):
        if protocol not in analyses:
            raise HomoregError(f"protocol {protocol}: known are {', '.join(analyses)}")
        twice = group[group.duplicated(["arm", "seed", "pair_id"])]
        if len(twice):
            raise HomoregError(
                f"two runs of the arm {twice.iloc[0]['arm']} have the seed "
                f"{twice.iloc[0]['seed']}: report on one of them, runs=PATH,…"
            )
        yield (str(protocol), str(estimator)), identify_pairs(group)


def levels(
    rows: pd.DataFrame, outcomes: Mapping[str, Outcome] = OUTCOMES, draws: int = DRAWS
) -> pd.DataFrame:
    """The outcomes of every arm and baseline, with intervals over seeds and photos.

    Args:
        rows: of one protocol and benchmark, with ``estimator``, ``arm``, ``seed``, ``pair_id``,
            ``photo`` and ``corner_error_px``; each arm's numbers are of the pairs that it was
            evaluated on.
        outcomes: to be shown.
        draws: of the bootstrap over photos.

    Returns:
        A row per estimator and arm: ``seeds`` (0 for a baseline), ``pairs``, ``photos``, and
        ``_mean``, ``_low`` and ``_high`` of each outcome, within its range.
    """
    rows = identify_pairs(rows.assign(failed=failed(rows).astype(float)))
    records = []
    for estimator, group in rows.groupby("estimator", sort=False):
        for arm in order_arms(group["arm"]):
            own = group[group["arm"] == arm]
            seeds = own["seed"].nunique()
            own = own.assign(seed=own["seed"].fillna(-1).astype(int))
            sample = sample_pairs(own, draws)
            record: dict[str, Any] = {"estimator": estimator, "arm": arm, "seeds": seeds}
            record |= {"pairs": len(sample.pairs), "photos": sample.photos}
            for name, outcome in outcomes.items():
                if outcome.column not in own:
                    continue
                runs = run_samples(outcome, own, sample)
                drawn = np.reshape(list(runs.values()), (len(runs), len(sample.counts)))
                values = SeedValues(drawn.T, sample.photos, trained=seeds > 0)
                low, high = np.clip(values.interval(), *(outcome.range or (-np.inf, np.inf)))
                record |= {f"{name}_mean": values.estimate, f"{name}_low": low}
                record[f"{name}_high"] = high
            records.append(record)
    return pd.DataFrame(records)


@dataclass(frozen=True)
class PairSample(Sample):
    """A :class:`~homoreg.study.statistics.Sample` of the ``pairs`` with these ids."""

    pairs: pd.Index


def sample_pairs(rows: pd.DataFrame, draws: int = DRAWS) -> PairSample:
    """Samples of the pairs that rows are about, by photo."""
    pairs = rows.drop_duplicates("pair_id")
    return PairSample(**vars(photo_sample(pairs["photo"], draws)), pairs=pd.Index(pairs["pair_id"]))


def run_samples(outcome: Outcome, rows: pd.DataFrame, sample: PairSample) -> Runs:
    """``(1 + B,)`` values of an outcome for each arm and seed that has a pair with a value."""
    values = rows[["arm", "seed", "pair_id"]].assign(value=outcome.pair_values(rows))
    table = values.pivot(index=["arm", "seed"], columns="pair_id", values="value")
    table = table.reindex(columns=sample.pairs).dropna(how="all")
    return {
        key: outcome.of(own, sample.counts)
        for key, own in zip(table.index, table.to_numpy(float), strict=True)
    }


def by_seed(runs: Runs, arm: str) -> dict[int, np.ndarray]:
    """An arm's values of those of all runs."""
    return {seed: values for (name, seed), values in runs.items() if name == arm}


def arm_means(runs: Runs) -> dict[str, float]:
    """The mean over the seeds of each arm, on the pairs as they are."""
    arms = dict.fromkeys(arm for arm, _ in runs)
    return {
        arm: float(np.mean([values[0] for values in by_seed(runs, arm).values()])) for arm in arms
    }


def paired(
    ours: Mapping[int, np.ndarray], theirs: Mapping[int, np.ndarray], photos: int
) -> SeedValues:
    """Differences of the seeds that both have."""
    both = sorted(ours.keys() & theirs.keys())
    size = len(next(iter([*ours.values(), *theirs.values()]), [0.0]))
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is undefined, and stays so
        differences = [ours[seed] - theirs[seed] for seed in both]
    return SeedValues(np.reshape(differences, (len(both), size)).T, photos)


def _with_verdicts(records: list[dict[str, Any]], family: Sequence[str]) -> pd.DataFrame:
    """The records with verdicts, and Holm's p-values over those of the same ``family``."""
    if not records:
        return pd.DataFrame()
    parts = []
    for _, own in pd.DataFrame(records).groupby(list(family), sort=False):
        adjusted = {f"{name}_holm": holm(own[name]) for name in ("p", "p_equivalence")}
        significant = adjusted["p_holm"] <= ALPHA
        infinite = (own["seeds"] > 0) & ~np.isfinite(own["difference"])
        verdict = np.select(
            [
                infinite | ~own["informative"],
                own["seeds"] < fewest_seeds(len(own)),
                significant & (own["difference"] > 0),
                significant & (own["difference"] < 0),
                adjusted["p_equivalence_holm"] <= ALPHA,
            ],
            ["not informative", "open: too few seeds", "higher", "lower", "equivalent"],
            "open",
        )
        parts.append(own.assign(**adjusted, verdict=verdict))
    return pd.concat(parts, ignore_index=True).drop(columns="informative")
