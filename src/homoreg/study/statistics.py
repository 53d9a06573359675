"""Tests and intervals: paired differences over seeds, with photos as a second sample.

The unit of inference is the training run. Arms share initial weights, data order, pairs and
keypoints of their seed, so that seeds pair between arms. Photos are a sample as well, crossed with
the seeds: every run is evaluated on the same ones. So an interval carries the variance of both, and
a difference counts only where the exact test over seeds and the test over seeds and photos agree.
docs/statistics.md has the reasons and the error rates.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from homoreg.keyed import keyed_rng

ALPHA = 0.05  # of a family of tests, and 1 − the level of every interval
DRAWS = 400  # of the bootstrap over photos
MAX_SKEWNESS = 1.0  # beyond, sign-flip tests err too often: 6 to 7 % at 1, 12 to 13 % at 2

Alternative = Literal["two-sided", "greater", "less"]


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
        """Of the seeds; NaN below three, for infinities, and where they are all the same."""
        if not self._spread(1e-9):
            return np.nan
        return float(stats.skew(self.seeds, bias=False))

    @property
    def effect_size(self) -> float:
        """Hedges' g_z: mean over standard deviation of the seeds, without its bias.

        The factor Γ(f/2) / (√(f/2) Γ((f − 1)/2)) with f = n − 1 (Hedges, 1981). NaN below three
        seeds, for infinities, and where they are all the same.

        >>> round(SeedValues(np.array([[1.0, 2.0, 3.0]]), 1).effect_size, 3)  # mean over sd is 2
        1.128
        """
        if not self._spread(0.0):
            return np.nan
        f = self.seeds.size - 1
        factor = np.exp(special.gammaln(f / 2) - special.gammaln((f - 1) / 2)) / np.sqrt(f / 2)
        return float(factor * self.seeds.mean() / self.seeds.std(ddof=1))

    def _spread(self, rounding: float) -> bool:
        """Whether there are three seeds or more that differ, and all numbers are finite."""
        d = self.seeds
        finite = d.size >= 3 and bool(np.isfinite(self.values).all())
        return finite and bool(np.ptp(d) > rounding * np.abs(d).max())

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


# Ranks


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's ρ, in which infinities are equal and last; NaN below 3 or where one is constant.

    >>> round(spearman([1.0, 2.0, float("inf")], [1.0, 3.0, 2.0]), 3)
    0.5
    """
    ranks = stats.rankdata(x), stats.rankdata(y)
    if len(x) < 3 or any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def share_interval(held: ArrayLike, photos: ArrayLike) -> tuple[float, float]:
    """95 % confidence interval of the share of pairs for which something holds, by photo.

    Clopper and Pearson's at the effective number of pairs (Korn and Graubard, Survey Methodology
    1998), which is smaller than their number where pairs of one photo agree. Where all pairs agree,
    each photo counts as one pair.

    Args:
        held: ``(N,)`` bool.
        photos: ``(N,)`` the photo of each pair.

    Returns:
        Both ends, in [0, 1]; NaN below two photos.

    >>> share_interval([True] * 40, np.arange(40) // 4)  # 0.025 ** (1 / 10) and 1
    (0.6915..., 1.0)
    """
    held = np.asarray(held, bool)
    _, labels = np.unique(np.asarray(photos), return_inverse=True)
    pairs = np.bincount(labels)
    count, clusters = len(held), len(pairs)
    if clusters < 2:
        return np.nan, np.nan
    share = held.mean()
    excess = np.bincount(labels, held) - share * pairs
    variance = clusters / (clusters - 1) * (excess**2).sum() / count**2
    tail = ALPHA / 2
    effective = float(clusters)
    if variance > 0:
        quantiles = stats.t.ppf(tail, [count - 1, clusters - 1])
        effective = share * (1 - share) / variance * (quantiles[0] / quantiles[1]) ** 2
    effective = min(effective, count)
    hits = share * effective
    low = stats.beta.ppf(tail, hits, effective - hits + 1) if hits > 0 else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, effective - hits) if hits < effective else 1.0
    return float(low), float(high)


def resampled_range(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The interquartile range of many samples of the same values, without interpolation.

    Args:
        values: ``(P,)``.
        counts: ``(B, P)`` how often each value occurs in each sample.

    >>> resampled_range(np.array([1.0, 2.0, 3.0, 9.0]), np.array([[1, 1, 1, 1], [2, 2, 0, 0]]))
    array([2., 1.])
    """
    order = np.argsort(values)
    ordered = np.append(values[order], np.nan)
    reached = np.cumsum(counts[:, order], axis=1)
    total = reached[:, -1:] if values.size else np.zeros((len(counts), 1))
    low, high = (ordered[(reached < q * total).sum(1)] for q in (0.25, 0.75))
    return np.where(total[:, 0] > 0, high - low, np.nan)


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
