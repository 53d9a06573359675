"""What a study may conclude: paired differences over seeds, with photos as a second sample.

The unit of inference is the training run. Arms share initial weights, data order, pairs and
keypoints of their seed, so that seeds pair between arms. Photos are a sample as well, crossed with
the seeds: every run is evaluated on the same ones. So an interval carries the variance of both, and
a difference counts only where the exact test over seeds and the test over seeds and photos agree.
docs/statistics.md has the reasons and the error rates.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats

from homoreg.aggregates import ERROR_RANGE_PX, resampled_auc, resampled_mean, resampled_median
from homoreg.errors import HomoregError
from homoreg.keyed import keyed_rng
from homoreg.metrics import METRICS
from homoreg.study.analysis import ANALYSES, Analysis
from homoreg.study.arms import order_arms

ALPHA = 0.05  # of a family of tests, and 1 − the level of every interval
DRAWS = 400  # of the bootstrap over photos
MAX_SKEWNESS = 1.0  # beyond, sign-flip tests err too often: 6 to 7 % at 1, 12 to 13 % at 2

Alternative = Literal["two-sided", "greater", "less"]
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


# One number per run


@dataclass(frozen=True)
class Outcome:
    """A number per run, made of one per pair.

    Attributes:
        label: its name in a heading, with the unit.
        column: a metric, or ``failed``, 1 for a pair without an estimate.
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


def _auc(threshold: float) -> Outcome:
    return Outcome(
        f"AUC at {threshold:g} px (0–100)",
        "corner_error_px",
        lambda errors, counts: resampled_auc(errors, counts, threshold),
        margin=2.0,
        range=(0.0, 100.0),
        better="higher",
    )


LOG_ERROR_RANGE = (float(np.log10(ERROR_RANGE_PX[0])), float(np.log10(ERROR_RANGE_PX[1])))
# The margins: a factor of 1.12 (0.05) in errors and of 1.26 (0.1) in κ, 2 points of AUC, 2 % of
# pairs or matches, 10 matches.
OUTCOMES = {
    "log10_corner_error": Outcome(
        "mean log₁₀ corner error (px), clipped to 0.05 … 100, failures 100",
        *("corner_error_px", resampled_mean, 0.05, ERROR_RANGE_PX, True, LOG_ERROR_RANGE),
    ),
    "auc_1px": _auc(1),
    "auc_3px": _auc(3),
    "auc_5px": _auc(5),
    "log10_predicted_corner_error": Outcome(
        "mean log₁₀ predicted corner error (px), clipped to 0.05 … 100, failures 100",
        *("predicted_corner_error_px", resampled_mean, 0.05, ERROR_RANGE_PX, True),
        range=LOG_ERROR_RANGE,
    ),
    "log10_kappa": Outcome("log₁₀ median κ", "kappa", resampled_median, 0.1, log10=True),
    "match_count": Outcome(
        "median matches", "match_count", resampled_median, 10.0, better="higher"
    ),
    "failure_rate": Outcome(
        "share of pairs without an estimate",
        *("failed", resampled_mean, 0.02),
        range=(0.0, 1.0),
        all_rows=True,
    ),
    "precision_3px": Outcome(
        "median precision at 3 px",
        *("precision_3px", resampled_median, 0.02),
        range=(0.0, 1.0),
        better="higher",
    ),
    "recall_3px": Outcome(
        "median recall at 3 px",
        *("recall_3px", resampled_median, 0.02),
        range=(0.0, 1.0),
        better="higher",
    ),
    "log10_kappa_notebook": Outcome(
        "log₁₀ median κ, the notebook's", "kappa_notebook", resampled_median, 0.1, log10=True
    ),
    "log10_rmse_notebook": Outcome(
        "log₁₀ median RMSE, the notebook's (gray levels)",
        *("rmse_notebook_gray", resampled_median, 0.05),
        log10=True,
    ),
    "log10_rmse": Outcome(
        "log₁₀ median RMSE (gray levels)", "rmse_gray", resampled_median, 0.05, log10=True
    ),
}


# Exact tests over seeds

EXACT_SEEDS = 20  # up to here all 2ⁿ flips are counted
FLIPS = 99_999  # random ones beyond, and the differences as they are


def _flipped_sums(differences: np.ndarray) -> np.ndarray:
    """``(..., F)`` sums of the differences that each flip negates; the first flip negates none."""
    n = differences.shape[-1]
    if n > EXACT_SEEDS:
        flips = keyed_rng("sign flips", n).random((FLIPS + 1, n)) < 0.5
        flips[0] = False
        return differences @ flips.T.astype(float)
    sums = np.zeros((*differences.shape[:-1], 1))
    for one in np.moveaxis(differences, -1, 0):
        sums = np.concatenate([sums, sums + one[..., None]], axis=-1)
    return sums


def sign_flip_test(differences: ArrayLike, alternative: Alternative = "two-sided") -> np.ndarray:
    """Fisher's test of a mean of 0: how many flips of the differences' signs have such a mean.

    Exact for differences that are symmetric about 0 under the null hypothesis (Fisher, The Design
    of Experiments, 1935, section 21) up to :data:`EXACT_SEEDS` seeds; beyond, over :data:`FLIPS`
    random flips of a fixed key with the unflipped differences among them, which keeps the test
    valid (Phipson and Smyth, 2010). ``scipy.stats.permutation_test`` counts the same flips; at 12
    seeds it takes 44 ms a test and cannot take many sets at once.

    Args:
        differences: ``(..., n)``, finite, one per seed; several sets at once take 2ⁿ numbers each.
        alternative: of the mean; the two-sided p is twice the smaller one, at most 1.

    Returns:
        ``(...)`` p-values in (0, 1].

    >>> float(sign_flip_test([3.0, 1.0, 2.0]))  # 2 of 8 flips
    0.25
    >>> float(sign_flip_test([3.0, 1.0, 2.0], "greater"))
    0.125
    """
    d = np.asarray(differences, float)
    # With the sum T of the negated ones, a flip has the sum S − 2T, which reaches S where T ≤ 0.
    sums = _flipped_sums(d)
    rounding = 1e-12 * np.abs(d).sum(-1, keepdims=True)  # 0.1 + 0.2 − 0.3 is a tie
    greater, less = (sums <= rounding).mean(-1), (sums >= -rounding).mean(-1)
    if alternative == "two-sided":
        return np.minimum(1.0, 2 * np.minimum(greater, less))
    return greater if alternative == "greater" else less


def effect_size(differences: ArrayLike) -> float:
    """Hedges' g_z: mean over standard deviation of the differences, without its bias.

    The factor Γ(f/2) / (√(f/2) Γ((f − 1)/2)) with f = n − 1 (Hedges, 1981). NaN below three
    differences and where they are all the same.

    >>> round(effect_size([1.0, 2.0, 3.0]), 3)  # mean over standard deviation is 2
    1.128
    """
    d = np.asarray(differences, float)
    f = d.size - 1
    if f < 2 or np.ptp(d) == 0:
        return np.nan
    factor = np.exp(special.gammaln(f / 2) - special.gammaln((f - 1) / 2)) / np.sqrt(f / 2)
    return float(factor * d.mean() / d.std(ddof=1))


def holm(p: ArrayLike) -> np.ndarray:
    """Holm's adjusted p-values of one family; NaN, a test that could not be made, counts as 1.

    >>> holm([0.01, 0.04, float("nan")]).round(6).tolist()
    [0.03, 0.08, 1.0]
    """
    known = np.nan_to_num(np.asarray(p, float), nan=1.0)
    order = np.argsort(known)
    steps = np.maximum.accumulate(known[order] * np.arange(known.size, 0, -1))
    return np.minimum(steps, 1.0)[np.argsort(order)]


def fewest_seeds(tests: int, alternative: Alternative = "two-sided") -> int:
    """Below this no sign-flip test of so many can be significant after Holm.

    All differences on one side are 1 flip of 2ⁿ, or 2, and the first step of Holm needs a p below
    5 % over the number of tests.

    >>> fewest_seeds(3)  # 2/2⁷ = 0.0156 < 0.05/3 < 2/2⁶
    7
    """
    sides = 2 if alternative == "two-sided" else 1
    return int(np.ceil(np.log2(sides * tests / ALPHA)))


def sign_flip_power(
    effect: float,
    seeds: int,
    tests: int,
    alternative: Alternative = "two-sided",
    simulations: int = 2000,
) -> float:
    """How often the sign-flip test finds an effect at the first step of Holm over ``tests``.

    Simulated with normal differences; the standard error is at most 0.011.

    Args:
        effect: mean over standard deviation of the paired differences.
        seeds: of each study.
        tests: in the family.
        alternative: of the test.
        simulations: studies that are simulated.

    >>> sign_flip_power(1.0, seeds=6, tests=3)
    0.0
    """
    if seeds < fewest_seeds(tests, alternative):
        return 0.0
    if seeds > EXACT_SEEDS:  # the t-test's, which differs by less than a seed's worth
        level = ALPHA / tests / (2 if alternative == "two-sided" else 1)
        limit = stats.t.ppf(1 - level, seeds - 1)
        return float(stats.nct.sf(limit, seeds - 1, effect * np.sqrt(seeds)))
    rng = keyed_rng("power", seeds)
    found = 0
    block = max(1, 2**22 // 2**seeds)  # 2²² flips at a time take 30 MB
    for start in range(0, simulations, block):
        size = (min(block, simulations - start), seeds)
        p = sign_flip_test(rng.normal(effect, 1.0, size), alternative)
        found += int((p <= ALPHA / tests).sum())
    return found / simulations


# Seeds and photos, crossed


@dataclass(frozen=True)
class Sample:
    """How often each pair occurs in bootstrap samples of the photos.

    Attributes:
        counts: ``(1 + B, P)``; the first line has each pair once, which is the sample itself.
        photos: how many there are.
    """

    counts: np.ndarray
    photos: int


def photo_sample(photos: ArrayLike, draws: int = DRAWS) -> Sample:
    """Samples of as many photos as there are, with replacement, pairs of one photo together.

    Args:
        photos: ``(P,)`` the photo of each pair.
        draws: how many samples.
    """
    names, photo = np.unique(np.asarray(photos), return_inverse=True)
    if not names.size:
        return Sample(np.ones((1 + draws, 0), int), 0)
    rng = keyed_rng("bootstrap pairs", names.size, draws)
    drawn = rng.multinomial(names.size, np.full(names.size, 1 / names.size), draws)[:, photo]
    return Sample(np.vstack([np.ones_like(photo), drawn]), names.size)


@dataclass(frozen=True)
class SeedValues:
    """A number per seed, and what it would be on other photos.

    The variance of the mean over seeds is the sum of what seeds and photos contribute, less their
    interaction, which both contain (Cameron, Gelbach and Miller's two-way clustering, 2011): seeds
    by the usual formula, photos by the bootstrap. Student's t has the degrees of freedom of
    Satterthwaite. A percentile bootstrap of few seeds would be too narrow.

    Attributes:
        values: ``(1 + B, S)`` the number of each seed, on the pairs as they are and on each sample.
        photos: how many photos the samples draw from.
        trained: whether there are seeds at all; a baseline has one column without any.
    """

    values: np.ndarray
    photos: int
    trained: bool = True

    @property
    def seeds(self) -> np.ndarray:
        """``(S,)`` the numbers themselves."""
        return self.values[0]

    @property
    def estimate(self) -> float:
        return float(self.seeds.mean()) if self.seeds.size else np.nan

    @property
    def skewness(self) -> float:
        """Of the seeds; NaN below three and where they are all the same, but for rounding."""
        if self.seeds.size < 3 or np.ptp(self.seeds) <= 1e-9 * np.abs(self.seeds).max():
            return np.nan
        return float(stats.skew(self.seeds, bias=False))

    def error(self) -> tuple[float, float]:
        """The standard error of the estimate and its degrees of freedom.

        NaN with one photo or one seed, of which neither tells a variance; a baseline has that of
        the photos alone.
        """
        drawn, seeds = self.values[1:], self.seeds.size
        enough = seeds > 1 or (seeds == 1 and not self.trained)
        if not enough or self.photos < 2 or not np.isfinite(self.values).all():
            return np.nan, np.nan
        degrees = self.photos - 1
        correction = self.photos / degrees
        by_photo = correction * drawn.mean(1).var(ddof=1)
        if seeds == 1:
            return float(np.sqrt(by_photo)), float(degrees)
        by_seed = self.seeds.var(ddof=1) / seeds
        apart = drawn - drawn.mean(1, keepdims=True)
        both = correction * apart.var(axis=0, ddof=1).mean() / (seeds - 1)
        variance = max(by_seed + by_photo - both, by_seed, by_photo)
        if variance <= (1e-12 * np.abs(self.values).max()) ** 2:  # 0 but for rounding
            return 0.0, float(seeds - 1)
        df = 1 / ((by_seed / variance) ** 2 / (seeds - 1) + (by_photo / variance) ** 2 / degrees)
        return float(np.sqrt(variance)), float(min(df, seeds - 1 + degrees))

    def interval(self) -> tuple[float, float]:
        """Of the mean over seeds and photos; NaN where it is not defined."""
        error, df = self.error()
        half = error * stats.t.ppf(1 - ALPHA / 2, df) if np.isfinite(error) else np.nan
        return self.estimate - half, self.estimate + half

    def test(self, alternative: Alternative, reference: float = 0.0) -> float:
        """The p-value of a mean beyond a reference: the larger of two tests'.

        The sign-flip test over seeds is exact and takes the photos as given; the t-test over seeds
        and photos carries both. To reject, both must.
        """
        error, df = self.error()
        if np.isnan(error):
            return np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.divide(self.estimate - reference, error)
            t = np.nan_to_num(t, nan=0.0, posinf=1e9, neginf=-1e9)
        by_photo = {
            "two-sided": 2 * stats.t.sf(abs(t), df),
            "greater": stats.t.sf(t, df),
            "less": stats.t.cdf(t, df),
        }[alternative]
        return float(max(by_photo, sign_flip_test(self.seeds - reference, alternative)))

    def within(self, margin: float) -> float:
        """Equivalence: two one-sided tests of a mean within ± margin (Schuirmann, 1987)."""
        return float(np.maximum(self.test("greater", -margin), self.test("less", margin)))

    def beyond(self, margin: float) -> float:
        """The opposite of :meth:`within`: a mean above margin or below −margin."""
        p = np.minimum(self.test("greater", margin), self.test("less", -margin))
        return float(np.minimum(1.0, 2 * p))


# Arms against a baseline


def identify_pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with ``pair_id`` the same for the same pair of views, whatever its number.

    A pair is the same where photograph and RMSE without a warp agree: under another warp the same
    photograph has another RMSE. Without an RMSE a pair is known by its manifest and number.
    """
    keys = rows["pair_id"].astype(str)
    if "manifest_hash" in rows:
        keys = rows["manifest_hash"].astype(str) + " " + keys
    if "rmse_identity_gray" in rows:
        rmse = rows["rmse_identity_gray"].astype(float)
        views = rows["photo"].astype(str) + " " + rmse.round(3).astype(str)
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
            ``photo``, ``status`` and the columns of :data:`OUTCOMES`, as far as they are to be
            compared; ``manifest_hash`` and ``rmse_identity_gray`` tell pairs apart.
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
        Records of :func:`compare_arms`, and whether the outcome is ``informative`` in the arms that
        were compared on the same pairs.
    """
    alike: dict[tuple[str, ...], list[str]] = {}
    for arm in arms:
        shared = shared_pairs(rows[rows["arm"].isin([arm, baseline])])
        alike.setdefault(tuple(shared["pair_id"].unique()), []).append(arm)
    for ids, together in alike.items():
        own = rows[rows["pair_id"].isin(ids) & rows["arm"].isin([baseline, *together])]
        kept = analysis.apply(own)
        pairs = own.drop_duplicates("pair_id")
        sample = photo_sample(pairs["photo"], draws)
        for name in names:
            outcome = OUTCOMES[name]
            runs = _run_samples(outcome, own if outcome.all_rows else kept, pairs, sample)
            of_arms = {arm: by_seed(runs, arm) for arm in [baseline, *together]}
            means = [np.mean([v[0] for v in of.values()]) for of in of_arms.values() if of]
            for arm in together:
                ours, theirs = of_arms[arm], of_arms[baseline]
                lost = own["arm"].isin([arm, baseline]).sum()
                lost -= kept["arm"].isin([arm, baseline]).sum()
                yield {
                    **{"metric": name, "arm": arm},
                    "seeds_left_out": len(ours.keys() ^ theirs.keys()),
                    **{"pairs": len(pairs), "photos": sample.photos},
                    "left_out": 0 if outcome.all_rows else int(lost),
                    "informative": not outcome.uninformative(means, analysis.floor_percent),
                    **_compare(ours, theirs, sample.photos, outcome.margin),
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
    trained = trained.assign(
        seed=trained["seed"].astype(int), failed=(trained["status"] != "ok").astype(float)
    )
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
            ``photo`` and ``status``; each arm's numbers are of the pairs that it was evaluated on.
        outcomes: to be shown.
        draws: of the bootstrap over photos.

    Returns:
        A row per estimator and arm: ``seeds`` (0 for a baseline), ``pairs``, ``photos``, and
        ``_mean``, ``_low`` and ``_high`` of each outcome, within its range.
    """
    rows = identify_pairs(rows.assign(failed=(rows["status"] != "ok").astype(float)))
    records = []
    for estimator, group in rows.groupby("estimator", sort=False):
        for arm in order_arms(group["arm"]):
            own = group[group["arm"] == arm]
            own = own.assign(seed=own["seed"].fillna(-1).astype(int))
            pairs = own.drop_duplicates("pair_id")
            sample = photo_sample(pairs["photo"], draws)
            seeds = own["seed"].nunique() if (own["seed"] >= 0).any() else 0
            record: dict[str, Any] = {"estimator": estimator, "arm": arm, "seeds": seeds}
            record |= {"pairs": len(pairs), "photos": sample.photos}
            for name, outcome in outcomes.items():
                if outcome.column not in own:
                    continue
                runs = _run_samples(outcome, own, pairs, sample)
                drawn = np.reshape(list(runs.values()), (len(runs), len(sample.counts)))
                values = SeedValues(drawn.T, sample.photos, trained=seeds > 0)
                low, high = np.clip(values.interval(), *(outcome.range or (-np.inf, np.inf)))
                record |= {f"{name}_mean": values.estimate, f"{name}_low": low}
                record[f"{name}_high"] = high
            records.append(record)
    return pd.DataFrame(records)


def _run_samples(
    outcome: Outcome, rows: pd.DataFrame, pairs: pd.DataFrame, sample: Sample
) -> dict[tuple[str, int], np.ndarray]:
    """``(1 + B,)`` values of an outcome for each arm and seed that has a pair with a value."""
    values = rows[["arm", "seed", "pair_id"]].assign(value=outcome.pair_values(rows))
    table = values.pivot(index=["arm", "seed"], columns="pair_id", values="value")
    table = table.reindex(columns=pairs["pair_id"]).dropna(how="all")
    return {
        key: outcome.of(own, sample.counts)
        for key, own in zip(table.index, table.to_numpy(float), strict=True)
    }


def by_seed(runs: Mapping[tuple[str, int], np.ndarray], arm: str) -> dict[int, np.ndarray]:
    """An arm's values of those of all runs."""
    return {seed: values for (name, seed), values in runs.items() if name == arm}


def paired(
    ours: Mapping[int, np.ndarray], theirs: Mapping[int, np.ndarray], photos: int
) -> SeedValues:
    """Differences of the seeds that both have."""
    both = sorted(ours.keys() & theirs.keys())
    size = len(next(iter([*ours.values(), *theirs.values()]), [0.0]))
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is undefined, and stays so
        differences = [ours[seed] - theirs[seed] for seed in both]
    return SeedValues(np.reshape(differences, (len(both), size)).T, photos)


def _compare(
    ours: Mapping[int, np.ndarray], theirs: Mapping[int, np.ndarray], photos: int, margin: float
) -> dict[str, Any]:
    d = paired(ours, theirs, photos)
    both = sorted(ours.keys() & theirs.keys())
    low, high = d.interval()
    finite = bool(np.isfinite(d.values).all()) and d.seeds.size > 0
    return {
        "seeds": d.seeds.size,
        "mean_baseline": np.mean([theirs[seed][0] for seed in both]) if both else np.nan,
        "mean_arm": np.mean([ours[seed][0] for seed in both]) if both else np.nan,
        "difference": d.estimate,
        "low": low,
        "high": high,
        "effect_size": effect_size(d.seeds) if finite else np.nan,
        "skewness": d.skewness if finite else np.nan,
        "p_seeds": float(sign_flip_test(d.seeds)) if finite else np.nan,
        "p": d.test("two-sided"),
        "p_equivalence": d.within(margin),
        "margin": margin,
    }


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


# Rank correlations


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's ρ, in which infinities are equal and last; NaN below 3 or where one is constant.

    >>> round(spearman([1.0, 2.0, float("inf")], [1.0, 3.0, 2.0]), 3)
    0.5
    """
    ranks = stats.rankdata(x), stats.rankdata(y)
    if len(x) < 3 or any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def resampled_spearman(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Spearman's ρ of many samples of the same pairs.

    Args:
        x: ``(P,)``; infinities are equal and last.
        y: the same.
        counts: ``(B, P)`` how often each pair occurs in each sample.

    Returns:
        ``(B,)``; NaN where a sample leaves it undefined.

    >>> resampled_spearman([1, 2, 3], [1, 3, 2], [[1, 1, 1], [2, 0, 2]]).tolist()
    [0.5, 1.0]
    """
    weights = np.asarray(counts, float)
    a, b = (_resampled_ranks(np.asarray(values, float), weights) for values in (x, y))
    total = weights.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (v - (weights * v).sum(1, keepdims=True) / total for v in (a, b))
        cross, aa, bb = ((weights * product).sum(1) for product in (a * b, a * a, b * b))
        return np.where(aa * bb > 1e-9, cross / np.sqrt(aa * bb), np.nan)


def _resampled_ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``(B, P)`` mid-ranks of each value in each sample."""
    names, group = np.unique(values, return_inverse=True)
    order = np.argsort(values, kind="stable")
    starts = np.searchsorted(values[order], names)
    of_group = np.add.reduceat(counts[:, order], starts, axis=1)
    return (np.cumsum(of_group, axis=1) - (of_group - 1) / 2)[:, group]


def spearman_interval(rho: float, n: int) -> tuple[float, float]:
    """95 % confidence interval of a rank correlation (Bonett and Wright, Psychometrika 2000).

    Fisher's z with the variance (1 + ρ²/2)/(n − 3). NaN below 4 observations; no width at ρ = ±1.

    >>> [round(end, 3) for end in spearman_interval(0.5, 53)]
    [0.25, 0.688]
    """
    if n < 4 or np.isnan(rho):
        return np.nan, np.nan
    half = stats.norm.ppf(1 - ALPHA / 2) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    with np.errstate(divide="ignore"):
        z = np.arctanh(rho)
    return float(np.tanh(z - half)), float(np.tanh(z + half))
