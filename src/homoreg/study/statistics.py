"""What a study may conclude: paired tests and intervals over seeds, equivalence, bootstrap.

The unit of inference is the training run. Arms share initial weights, data order, pairs and
keypoints of their seed, so that seeds pair between arms, and everything here works on the
differences of one number per run. docs/statistics.md says why and what simulations measured.

From top to bottom: one number per run (:data:`OUTCOMES`,
:func:`summarize_runs`), tests and intervals of paired differences, how many seeds they need, the
bootstrap that carries the pairs' variance, and the two tables of a report (:func:`compare_arms`,
:func:`rank_correlations_by_seed`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats
from statsmodels.stats.power import TTestPower

from homoreg.aggregates import resampled_auc, resampled_mean, resampled_median
from homoreg.errors import HomoregError
from homoreg.keyed import keyed_rng
from homoreg.study.analysis import ANALYSES, Analysis
from homoreg.study.arms import order_arms

ALPHA = 0.05  # of a family of tests, and 1 − the level of every interval

Alternative = Literal["two-sided", "greater", "less"]


# One number per run


@dataclass(frozen=True)
class Outcome:
    """A number per run, made of one per pair.

    Attributes:
        label: its name in a heading, with the unit.
        column: of the rows, or ``failed``, 1 for a pair without an estimate.
        statistic: values ``(P,)`` and counts ``(B, P)`` → the statistic of B samples in which each
            pair occurs so often.
        margin: arms that differ by less are equivalent; stated before any result was seen.
        limits: no value counts as less than the first or more than the second. A failed pair has
            an infinite error and so counts as the second, and so does an estimate beyond it, which
            is no better. Differences between runs are finite for that reason.
        worst: what a pair without a value counts as; ``None`` leaves it out.
        log10: of the value, after the limits.
        of_all_rows: whatever an :class:`Analysis` leaves out.
    """

    label: str
    column: str
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray]
    margin: float
    limits: tuple[float, float] = (-np.inf, np.inf)
    worst: float | None = np.inf
    log10: bool = False
    of_all_rows: bool = False

    def pair_values(self, rows: pd.DataFrame) -> pd.Series:
        """One number a row, NaN where the pair is to be left out."""
        values = rows[self.column].astype(float)
        if self.worst is not None:
            values = values.fillna(self.worst)
        values = values.clip(*self.limits)
        return pd.Series(np.log10(values)) if self.log10 else values

    @property
    def ceiling(self) -> float:
        """The largest value there is, on the outcome's own scale."""
        return float(np.log10(self.limits[1])) if self.log10 else self.limits[1]

    def of(self, values: np.ndarray) -> float:
        """The statistic of a run; NaN where no pair has a value."""
        has = values[~np.isnan(values)]
        return float(self.statistic(has, np.ones((1, has.size)))[0])


def _auc_5px(errors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return resampled_auc(errors, counts, 5)


# A median error of 10⁴ px is some twenty times the picture: whoever is that far off has failed.
ERROR_LIMITS_PX = (1e-3, 1e4)
GRAY_LIMITS = (1e-2, 255.0)
# Of the ratio σ1/σ8, usually 3 to 30, and of the notebook's of raw pixels, usually 10⁶ to 10⁷.
KAPPA_LIMITS, KAPPA_NOTEBOOK_LIMITS = (1.0, 1e4), (1.0, 1e12)

# The first is the primary outcome, the others describe. The margins: 2 points of AUC, 2 % of pairs
# or matches, 10 matches, a factor of 1.12 (0.05) in errors and of 1.26 (0.1) in κ.
OUTCOMES = {
    "auc_5px": Outcome("AUC at 5 px (0–100)", "corner_error_px", _auc_5px, 2.0),
    "log10_predicted_corner_error": Outcome(
        "log₁₀ median predicted corner error (px)",
        *("predicted_corner_error_px", resampled_median, 0.05, ERROR_LIMITS_PX),
        log10=True,
    ),
    "log10_kappa": Outcome(
        "log₁₀ median κ", "kappa", resampled_median, 0.1, KAPPA_LIMITS, log10=True
    ),
    "log10_corner_error": Outcome(
        "log₁₀ median corner error (px)",
        *("corner_error_px", resampled_median, 0.05, ERROR_LIMITS_PX),
        log10=True,
    ),
    "match_count": Outcome("median matches", "match_count", resampled_median, 10.0, worst=0.0),
    "failure_rate": Outcome(
        "share of pairs without an estimate", "failed", resampled_mean, 0.02, of_all_rows=True
    ),
    "precision_3px": Outcome(
        "median precision at 3 px", "precision_3px", resampled_median, 0.02, worst=0.0
    ),
    # Without repeatable keypoints no arm has a recall, so that the pair judges nobody.
    "recall_3px": Outcome(
        "median recall at 3 px", "recall_3px", resampled_median, 0.02, worst=None
    ),
    "log10_kappa_notebook": Outcome(
        "log₁₀ median κ, the notebook's",
        *("kappa_notebook", resampled_median, 0.1, KAPPA_NOTEBOOK_LIMITS),
        log10=True,
    ),
    "log10_rmse_notebook": Outcome(
        "log₁₀ median RMSE, the notebook's (gray levels)",
        *("rmse_notebook_gray", resampled_median, 0.05, GRAY_LIMITS),
        log10=True,
    ),
    "log10_rmse": Outcome(
        "log₁₀ median RMSE (gray levels)",
        *("rmse_gray", resampled_median, 0.05, GRAY_LIMITS),
        log10=True,
    ),
}


def summarize_runs(rows: pd.DataFrame, analyses: Mapping[str, Analysis] = ANALYSES) -> pd.DataFrame:
    """One row per protocol, estimator, arm and seed; baselines, which have no seed, are left out.

    Args:
        rows: of one benchmark, with ``protocol``, ``estimator``, ``arm``, ``seed``, ``pair_id``,
            ``status`` and the columns of :data:`OUTCOMES`, as far as they are to be summarized.
        analyses: by protocol.

    Returns:
        Those four; ``pairs`` that were judged, ``left_out`` by the protocol's :class:`Analysis`;
        a column per outcome, NaN where every pair was left out.

    Raises:
        HomoregError: two runs with the same arm and seed, or an unknown protocol.
    """
    records = []
    for (protocol, estimator), group in protocol_groups(rows, analyses):
        kept = analyses[protocol].apply(group)
        tables = {name: table for name, _, table in _outcome_tables(group, kept)}
        counts = group.groupby(["arm", "seed"]).size()
        counts_kept = kept.groupby(["arm", "seed"]).size()
        for arm, seed in counts.index:
            left_out = counts[arm, seed] - counts_kept.get((arm, seed), 0)
            record = {"protocol": protocol, "estimator": estimator, "arm": arm, "seed": seed}
            record |= {"pairs": counts[arm, seed], "left_out": left_out}
            for name, table in tables.items():
                has = (arm, seed) in table.index
                record[name] = (
                    OUTCOMES[name].of(table.loc[(arm, seed)].to_numpy()) if has else np.nan
                )
            records.append(record)
    return pd.DataFrame(records)


def protocol_groups(
    rows: pd.DataFrame, analyses: Mapping[str, Analysis]
) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The trained runs' rows of each protocol and estimator, with a column ``failed``.

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
        yield (str(protocol), str(estimator)), group


def _outcome_tables(
    group: pd.DataFrame, kept: pd.DataFrame
) -> Iterator[tuple[str, Outcome, pd.DataFrame]]:
    """Each outcome's values, a row per arm and seed, a column per pair, NaN where left out."""
    pairs = group["pair_id"].unique()
    for name, outcome in OUTCOMES.items():
        if outcome.column in group:
            of = group if outcome.of_all_rows else kept
            values = of[["arm", "seed", "pair_id"]].assign(value=outcome.pair_values(of))
            table = values.pivot(index=["arm", "seed"], columns="pair_id", values="value")
            yield name, outcome, table.reindex(columns=pairs)


# Tests and intervals of paired differences, one a seed

EXACT_SEEDS = 20  # up to here all 2ⁿ flips are tried
FLIPS = 99_999  # random ones beyond, and the differences as they are


def _flipped_sums(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of the differences whose signs are flipped, for every flip; the first flips none.

    With the sum T of the flipped ones, a flip has the sum S − 2T, which reaches S where T ≤ 0.
    scipy.stats.permutation_test goes through the same flips, one at a time, and has no interval.

    Args:
        differences: ``(..., n)``.

    Returns:
        ``(..., F)`` sums and ``(F,)`` how many differences each flip flips.
    """
    n = differences.shape[-1]
    if n > EXACT_SEEDS:
        flips = keyed_rng("sign flips", n).random((FLIPS + 1, n)) < 0.5
        flips[0] = False
        return differences @ flips.T.astype(float), flips.sum(1)
    sums, sizes = np.zeros((*differences.shape[:-1], 1)), np.zeros(1, int)
    for one in np.moveaxis(differences, -1, 0):
        sums = np.concatenate([sums, sums + one[..., None]], axis=-1)
        sizes = np.concatenate([sizes, sizes + 1])
    return sums, sizes


def sign_flip_test(differences: ArrayLike, alternative: Alternative = "two-sided") -> np.ndarray:
    """Fisher's test of a mean of 0: how many flips of the differences' signs have such a mean.

    Exact for any distribution that is symmetric about 0 under the null hypothesis (Fisher, The
    Design of Experiments, 1935, section 21), up to :data:`EXACT_SEEDS` seeds; beyond, over
    :data:`FLIPS` random flips of a fixed key, with the unflipped differences among them, which
    keeps the test valid (Phipson and Smyth, 2010).

    Args:
        differences: ``(..., n)``, finite, one a seed; several sets at once take 2ⁿ numbers each.
        alternative: of the mean; the two-sided p is twice the smaller one, at most 1.

    Returns:
        ``(...)`` p-values in (0, 1].

    >>> float(sign_flip_test([3.0, 1.0, 2.0]))  # 2 of 8 flips
    0.25
    >>> float(sign_flip_test([3.0, 1.0, 2.0], "greater"))
    0.125
    """
    d = np.asarray(differences, float)
    sums, _ = _flipped_sums(d)
    # What is 0 but for rounding is 0: 0.1 + 0.2 − 0.3 is a tie.
    rounding = 1e-12 * np.abs(d).sum(-1, keepdims=True)
    greater, less = (sums <= rounding).mean(-1), (sums >= -rounding).mean(-1)
    if alternative == "two-sided":
        return np.minimum(1.0, 2 * np.minimum(greater, less))
    return greater if alternative == "greater" else less


def sign_flip_interval(
    differences: ArrayLike, level: float = 1 - ALPHA
) -> tuple[np.ndarray, np.ndarray]:
    """The means that the two-sided sign-flip test does not reject.

    No search is needed: a mean θ has the one-sided p-value (1 + k)/2ⁿ, where k of the 2ⁿ − 1
    means of some of the differences are at most θ (Hartigan's typical values, JASA 1969). So the
    ends are order statistics of these means.

    Args:
        differences: ``(..., n)``, finite, one a seed.
        level: of confidence.

    Returns:
        ``(...)`` lower and upper ends; infinite where no flip is rare enough, below 6 seeds at
        95 %.

    >>> low, high = sign_flip_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    >>> float(low), float(high)
    (1.0, 6.0)
    """
    sums, sizes = _flipped_sums(np.asarray(differences, float))
    rank = int((1 - level) / 2 * sizes.size)
    if rank == 0:
        infinite = np.full(sums.shape[:-1], np.inf)
        return -infinite, infinite
    means = sums[..., sizes > 0] / sizes[sizes > 0]
    low = np.partition(means, rank - 1, axis=-1)[..., rank - 1]
    return low, np.partition(means, -rank, axis=-1)[..., -rank]


def equivalence_test(differences: ArrayLike, margin: float) -> np.ndarray:
    """Two one-sided sign-flip tests: is the mean within ± ``margin``?

    Schuirmann's procedure (1987): the larger of the p-values of a mean above −margin and one below
    margin. No correction for the two is needed, since both must reject.

    Args:
        differences: ``(..., n)``, finite, one a seed.
        margin: > 0, in the unit of the differences, stated beforehand.

    >>> float(equivalence_test([0.01, -0.02, 0.0, 0.01, -0.01], 0.1))  # 1 of 32 flips
    0.03125
    """
    d = np.asarray(differences, float)
    above = sign_flip_test(d + margin, "greater")
    return np.maximum(above, sign_flip_test(d - margin, "less"))


def outside_test(differences: ArrayLike, margin: float) -> np.ndarray:
    """The opposite of :func:`equivalence_test`: is the mean beyond ± ``margin``?

    Twice the smaller p-value of a mean above margin and one below −margin, since one is enough.
    """
    d = np.asarray(differences, float)
    above = sign_flip_test(d - margin, "greater")
    return np.minimum(1.0, 2 * np.minimum(above, sign_flip_test(d + margin, "less")))


def t_interval(differences: ArrayLike, level: float = 1 - ALPHA) -> tuple[float, float]:
    """Student's interval of the mean; NaN below two differences.

    >>> [round(end, 3) for end in t_interval([1.0, 2.0, 3.0])]
    [-0.484, 4.484]
    """
    d = np.asarray(differences, float)
    if d.size < 2:
        return np.nan, np.nan
    half = stats.t.ppf((1 + level) / 2, d.size - 1) * stats.sem(d)
    return float(d.mean() - half), float(d.mean() + half)


def effect_size(differences: ArrayLike) -> float:
    """Hedges' g_z: Cohen's d_z, mean over standard deviation of the differences, less its bias.

    The factor Γ(f/2) / (√(f/2) Γ((f − 1)/2)) with f = n − 1 (Hedges, 1981). NaN below three
    differences and where they are all the same.

    >>> round(effect_size([1.0, 2.0, 3.0]), 3)  # d_z = 2
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
    # statsmodels' multipletests has it too, and collects garbage on every call: 50 ms a family.
    order = np.argsort(known)
    steps = np.maximum.accumulate(known[order] * np.arange(known.size, 0, -1))
    return np.minimum(steps, 1.0)[np.argsort(order)]


# How many seeds


def fewest_seeds(tests: int = 3, alternative: Alternative = "two-sided") -> int:
    """Below this no sign-flip test of so many can be significant after Holm.

    All differences on one side are 1 flip of 2ⁿ, or 2, and the first step of Holm asks for a p of
    5 % over the number of tests.

    >>> fewest_seeds(3)  # 2/2⁷ = 0.0156 < 0.05/3 < 2/2⁶
    7
    """
    sides = 2 if alternative == "two-sided" else 1
    return int(np.ceil(np.log2(sides * tests / ALPHA)))


MOST_SEEDS = 1000  # nobody trains more
MIN_SEEDS = fewest_seeds(3)  # the study's three contrasts against none


def sign_flip_power(
    effect: float,
    seeds: int,
    tests: int = 3,
    alternative: Alternative = "two-sided",
    simulations: int = 4000,
) -> float:
    """How often the sign-flip test finds an effect, at the first step of Holm over ``tests``.

    Simulated with normal differences; the standard error is below 0.008.

    Args:
        effect: mean over standard deviation of the paired differences.
        seeds: at most :data:`EXACT_SEEDS`.
        tests: in the family.
        alternative: of the test.
        simulations: studies that are simulated.

    >>> sign_flip_power(1.0, seeds=6)
    0.0
    """
    if seeds < fewest_seeds(tests, alternative):
        return 0.0
    rng = keyed_rng("power", seeds)
    found = 0
    block = max(1, 2**22 // 2**seeds)  # 2²² flips at a time: some 30 MB
    for start in range(0, simulations, block):
        size = (min(block, simulations - start), seeds)
        p = sign_flip_test(rng.normal(effect, 1.0, size), alternative)
        found += int((p <= ALPHA / tests).sum())
    return found / simulations


def seeds_needed(
    effect: float,
    tests: int = 3,
    alternative: Alternative = "two-sided",
    power: float = 0.8,
) -> int | None:
    """The fewest seeds at which an effect is found with this power, as in :func:`sign_flip_power`.

    The t-test's number (statsmodels), and where that is 12 or less, what simulation makes of it;
    with more seeds the two tests' powers differ by less than a seed's worth.

    Returns:
        The number; ``None`` above :data:`MOST_SEEDS`.

    >>> seeds_needed(1.0), seeds_needed(3.0), seeds_needed(0.01)
    (14, 7, None)
    """
    fewest = fewest_seeds(tests, alternative)
    size = abs(effect)
    if not size > 0:
        return None
    sides: Literal["two-sided", "larger"]
    sides = "two-sided" if alternative == "two-sided" else "larger"

    def too_few(seeds: int) -> bool:  # statsmodels has NaN where the power is 1 to all digits
        return TTestPower().power(min(size, 3.0), seeds, ALPHA / tests, alternative=sides) < power

    if too_few(MOST_SEEDS):
        return None
    low, high = fewest, MOST_SEEDS
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if too_few(middle) else (low, middle)
    sided: Alternative = "two-sided" if alternative == "two-sided" else "greater"
    while low <= 12 and sign_flip_power(size, low, tests, sided) < power:
        low += 1
    return low


# The crossed bootstrap


def pair_draws(clusters: np.ndarray, draws: int = 1000) -> np.ndarray:
    """How often each pair occurs in each of the draws with replacement, ``(draws, pairs)``.

    Args:
        clusters: ``(pairs,)`` the photo of each pair; pairs of one photo are drawn together.
        draws: of as many photos as there are.
    """
    photos, photo = np.unique(clusters, return_inverse=True)
    rng = keyed_rng("bootstrap pairs", photos.size, draws)
    return rng.multinomial(photos.size, np.full(photos.size, 1 / photos.size), draws)[:, photo]


def crossed_bootstrap(differences: np.ndarray, level: float = 1 - ALPHA) -> tuple[float, float]:
    """Percentile interval of the mean difference with seeds and pairs drawn, crossed.

    Every draw takes seeds with replacement and pairs with replacement, the same pairs for all arms
    and seeds (Owen's pigeonhole bootstrap, Annals of Applied Statistics 2007, whose variance is
    never too small on average). It carries the variance of the pairs, which the tests over seeds
    take as given; by its seeds alone it would be too narrow, as all percentile intervals of few.

    Args:
        differences: ``(draws, seeds)``, each seed's difference on the pairs of each draw, see
            :func:`pair_draws`.

    Returns:
        Its ends; NaN without seeds.
    """
    draws, seeds = differences.shape
    if seeds == 0:
        return np.nan, np.nan
    drawn = keyed_rng("bootstrap seeds", seeds, draws).integers(seeds, size=(draws, seeds))
    means = np.take_along_axis(differences, drawn, axis=1).mean(1)
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# The tables of a report


def compare_arms(
    rows: pd.DataFrame,
    baseline: str = "none",
    analyses: Mapping[str, Analysis] = ANALYSES,
    draws: int = 1000,
) -> pd.DataFrame:
    """Every arm against the baseline, by paired differences over seeds.

    Holm runs over the arms of one outcome, once for the differences and once for the equivalences.
    The first outcome is the primary one; who reads the others for significance reads more than
    one family.

    Args:
        rows: as :func:`summarize_runs` takes them; with a column ``photo``, pairs of one photo are
            drawn together, and with ``manifest_hash`` only runs on the baseline's pairs count.
        baseline: the arm to compare with.
        analyses: by protocol.
        draws: of the bootstrap.

    Returns:
        A row per protocol, estimator, outcome (``metric``) and arm: ``seeds`` that pair,
        ``seeds_left_out`` that only one of the two has; ``pairs`` that any run was judged on,
        ``left_out``, how many of the rows of these two arms the analysis dropped; ``mean_baseline``
        and ``mean_arm``, ``difference`` (arm minus baseline), its t interval ``low`` to ``high``,
        the inverted sign-flip test's and the crossed bootstrap's; ``effect_size`` (Hedges' g_z);
        ``p`` of the two-sided sign-flip test and ``p_method``; ``p_holm``; ``p_equivalence``
        within ± ``margin`` and ``p_equivalence_holm``; ``verdict``: ``higher``, ``lower``,
        ``equivalent``, ``open``, or ``open: too few seeds``.

    Raises:
        HomoregError: two runs with the same arm and seed, or an unknown protocol.
    """
    parts = []
    for (protocol, estimator), of_group in protocol_groups(rows, analyses):
        group = _on_the_pairs_of(of_group, baseline)
        kept = analyses[protocol].apply(group)
        arms = [arm for arm in order_arms(of_group["arm"]) if arm != baseline]
        clusters = group.drop_duplicates("pair_id")
        weights = pair_draws(clusters["photo" if "photo" in group else "pair_id"].to_numpy(), draws)
        for name, outcome, table in _outcome_tables(group, kept):
            runs = {key: values.to_numpy() for key, values in table.iterrows()}
            value = pd.Series({key: outcome.of(values) for key, values in runs.items()})
            value = value.dropna()
            drawn = {key: _drawn(outcome, runs[key], weights) for key in value.index}
            records = []
            for arm in arms:
                ours, theirs = _seeds(value, arm), _seeds(value, baseline)
                both = ours.index.intersection(theirs.index)
                record = {
                    "protocol": protocol,
                    "estimator": estimator,
                    "metric": name,
                    "arm": arm,
                    "seeds": len(both),
                    "seeds_left_out": len(ours.index.union(theirs.index)) - len(both),
                    "pairs": len(clusters),
                    "left_out": 0 if outcome.of_all_rows else _lost(group, kept, [arm, baseline]),
                }
                boot = [drawn[arm, seed] - drawn[baseline, seed] for seed in both]
                record |= _compare(ours[both].to_numpy(), theirs[both].to_numpy(), outcome.margin)
                ends = crossed_bootstrap(np.reshape(boot, (len(both), draws)).T)
                record["bootstrap_low"], record["bootstrap_high"] = ends
                records.append(record)
            parts.append(_judge(pd.DataFrame(records)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _on_the_pairs_of(group: pd.DataFrame, baseline: str) -> pd.DataFrame:
    if "manifest_hash" not in group:
        return group
    manifests = group.loc[group["arm"] == baseline, "manifest_hash"].unique()
    return group[group["manifest_hash"].isin(manifests)]


def _drawn(outcome: Outcome, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    has = ~np.isnan(values)
    return outcome.statistic(values[has], weights[:, has])


def _seeds(values: pd.Series, arm: str) -> pd.Series:
    """One arm's values by seed; empty where it has none."""
    of_arm = values[[key[0] == arm for key in values.index]]
    return of_arm.set_axis([key[1] for key in of_arm.index])


def _lost(group: pd.DataFrame, kept: pd.DataFrame, arms: list[str]) -> int:
    return int(group["arm"].isin(arms).sum() - kept["arm"].isin(arms).sum())


def _compare(arm: np.ndarray, baseline: np.ndarray, margin: float) -> dict[str, float | str]:
    differences = arm - baseline
    empty = differences.size == 0
    low, high = t_interval(differences)
    flip_low, flip_high = sign_flip_interval(differences)
    exact = differences.size <= EXACT_SEEDS
    return {
        "mean_baseline": np.nan if empty else float(baseline.mean()),
        "mean_arm": np.nan if empty else float(arm.mean()),
        "difference": np.nan if empty else float(differences.mean()),
        "low": low,
        "high": high,
        "sign_flip_low": np.nan if empty else float(flip_low),
        "sign_flip_high": np.nan if empty else float(flip_high),
        "bootstrap_low": np.nan,
        "bootstrap_high": np.nan,
        "effect_size": effect_size(differences),
        "p": np.nan if empty else float(sign_flip_test(differences)),
        "p_method": f"all {2**differences.size} flips" if exact else f"{FLIPS} random flips",
        "p_equivalence": np.nan if empty else float(equivalence_test(differences, margin)),
        "margin": margin,
    }


def _judge(table: pd.DataFrame) -> pd.DataFrame:
    """Add Holm's p-values over the rows, and the verdict."""
    if table.empty:
        return table
    table["p_holm"] = holm(table["p"])
    table["p_equivalence_holm"] = holm(table["p_equivalence"])
    needed = max(MIN_SEEDS, fewest_seeds(len(table)))
    table["verdict"] = np.select(
        [
            table["seeds"] < needed,
            (table["p_holm"] <= ALPHA) & (table["difference"] > 0),
            (table["p_holm"] <= ALPHA) & (table["difference"] < 0),
            table["p_equivalence_holm"] <= ALPHA,
        ],
        ["open: too few seeds", "higher", "lower", "equivalent"],
        "open",
    )
    return table


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's ρ, in which infinities are equal and last; NaN below 3 or where one is constant.

    >>> round(spearman([1.0, 2.0, float("inf")], [1.0, 3.0, 2.0]), 3)
    0.5
    """
    ranks = stats.rankdata(x), stats.rankdata(y)
    if len(x) < 3 or any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def spearman_interval(rho: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a rank correlation (Bonett and Wright, Psychometrika 2000).

    Fisher's z with the variance (1 + ρ²/2)/(n − 3). NaN below 4 observations; no width at ρ = ±1.

    >>> [round(end, 3) for end in spearman_interval(0.5, 53)]
    [0.25, 0.688]
    """
    if n < 4 or np.isnan(rho):
        return np.nan, np.nan
    half = stats.norm.ppf((1 + level) / 2) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    with np.errstate(divide="ignore"):
        z = np.arctanh(rho)
    return float(np.tanh(z - half)), float(np.tanh(z + half))


# What a missing number counts as in a rank correlation; anything else as the largest.
WORST = {"fit_gap": 0.0, "hull_fraction": 0.0, "match_count": 0.0, "ssim": -1.0}


def rank_correlations_by_seed(
    rows: pd.DataFrame, x: str, y: str, analyses: Mapping[str, Analysis] = ANALYSES
) -> pd.DataFrame:
    """Spearman's ρ of two columns over the pairs of each run.

    A failed pair has no κ and no finite error. To rank both last would make the two related by
    what they lack, so that ρ is over the pairs that have both numbers (an infinite error is one),
    and ``spearman_all`` shows what the others would make of it.

    Args:
        rows: as :func:`summarize_runs` takes them.
        x: a column.
        y: another.
        analyses: by protocol.

    Returns:
        ``protocol, estimator, arm, x, y, seed``; ``pairs`` that were judged, ``left_out`` by the
        analysis, ``n`` that have both numbers; ``spearman`` with ``low`` and ``high``, its 95 %
        interval over the n; ``spearman_all`` over all that the analysis keeps, a missing number
        counting as the worst.
    """
    records = []
    for (protocol, estimator), group in protocol_groups(rows, analyses):
        for arm in order_arms(group["arm"]):
            for seed, of_run in group[group["arm"] == arm].groupby("seed"):
                kept = analyses[protocol].apply(of_run)
                rho, rho_all, n = run_correlation(kept, x, y)
                low, high = spearman_interval(rho, n)
                who = {"protocol": protocol, "estimator": estimator, "arm": arm}
                what = {"x": x, "y": y, "seed": seed}
                counts = {"pairs": len(of_run), "left_out": len(of_run) - len(kept), "n": n}
                found = {"spearman": rho, "low": low, "high": high, "spearman_all": rho_all}
                records.append(who | what | counts | found)
    return pd.DataFrame(records)


def run_correlation(rows: pd.DataFrame, x: str, y: str) -> tuple[float, float, int]:
    """A run's ρ over the pairs that have both numbers, over all, and how many have."""
    values = rows[[x, y]].astype(float)
    has = values.notna().all(axis=1)
    of_all = values.fillna({x: WORST.get(x, np.inf), y: WORST.get(y, np.inf)})
    rho, rho_all = (spearman(*part.to_numpy().T) for part in (values[has], of_all))
    return rho, rho_all, int(has.sum())


def rank_correlations_over_seeds(by_seed: pd.DataFrame) -> pd.DataFrame:
    """The mean of each arm's ρ over its seeds, with the t interval of that mean.

    Args:
        by_seed: :func:`rank_correlations_by_seed`.

    Returns:
        A row per protocol, estimator, arm, x and y: ``seeds`` that have a ρ, ``seeds_left_out``,
        ``spearman`` (their mean), ``low``, ``high``, and ``least`` and ``most`` of the seeds.
    """
    keys = ["protocol", "estimator", "arm", "x", "y"]
    records = []
    for key, group in by_seed.groupby(keys, sort=False):
        rho = group["spearman"].dropna().to_numpy()
        low, high = t_interval(rho)
        record = dict(zip(keys, key, strict=True))
        record |= {"seeds": rho.size, "seeds_left_out": len(group) - rho.size}
        record |= {"spearman": rho.mean() if rho.size else np.nan, "low": low, "high": high}
        record |= {"least": min(rho, default=np.nan), "most": max(rho, default=np.nan)}
        records.append(record)
    return pd.DataFrame(records)
