"""``python -m benchmarks.null_rates``: how often tests, intervals and bounds err on simulated data.

No arm of the simulated studies differs from another, and every bound is calibrated on data like
those that it is for. Prints the table of docs/statistics.md in about a minute; tests assert that
each row keeps what it promises, and that those marked "no" do not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from benchmarks.simulated_study import study
from homoreg.geometry import conformal_factor
from homoreg.study.arms import ORIGINAL_ARMS
from homoreg.study.claims import evaluate_claims
from homoreg.study.comparisons import compare_arms
from homoreg.study.statistics import (
    ALPHA,
    SeedValues,
    photo_sample,
    share_interval,
    sign_flip_test,
)


@dataclass(frozen=True)
class World:
    """How the differences of two arms that do not differ vary.

    Attributes:
        seeds, photos: of a study; two pairs a photo.
        seed_sd, photo_sd, both_sd: standard deviations of the effects of seeds, of photos, and of
            a pair under a seed.
    """

    seeds: int
    photos: int
    seed_sd: float
    photo_sd: float
    both_sd: float

    def __str__(self) -> str:
        sd = f"{self.seed_sd:g}, {self.photo_sd:g}, {self.both_sd:g}"
        return f"{self.seeds} seeds, {self.photos} photos, sd {sd}"

    def differences(self, rng: np.random.Generator) -> SeedValues:
        """The paired differences of one study."""
        values = rng.normal(0, self.seed_sd, (self.seeds, 1))
        values = np.repeat(values + rng.normal(0, self.photo_sd, self.photos), 2, axis=1)
        values = values + rng.normal(0, self.both_sd, values.shape)
        sample = photo_sample(np.repeat(np.arange(self.photos), 2), draws=100)
        means = sample.counts @ values.T / sample.counts.sum(1, keepdims=True)
        return SeedValues(means, sample.photos)


WORLDS = (
    World(7, 20, 0.1, 0.0, 0.5),
    World(12, 20, 0.1, 0.3, 0.3),
    World(12, 40, 0.0, 0.5, 0.5),
    World(8, 15, 0.3, 0.1, 0.1),
    World(18, 60, 0.05, 0.2, 1.0),
)


@dataclass(frozen=True)
class Rate:
    """How often something happened in simulated studies, and how often it may.

    Attributes:
        what: an error, or that an interval or a bound held.
        world: what was simulated.
        side: whether ``promised`` is a largest or a smallest rate.
        promised: in [0, 1].
        measured: in [0, 1].
        studies: that were simulated.
    """

    what: str
    world: str
    side: Literal["at most", "at least"]
    promised: float
    measured: float
    studies: int

    @property
    def error(self) -> float:
        """Three standard errors that the simulation has at the promised rate."""
        return float(3 * np.sqrt(self.promised * (1 - self.promised) / self.studies))

    @property
    def holds(self) -> bool:
        """Whether the promise is kept, within the error of the simulation."""
        if self.side == "at most":
            return self.measured <= self.promised + self.error
        return self.measured >= self.promised - self.error


def _errors(what: str, world: object, happened: ArrayLike) -> Rate:
    share = float(np.mean(happened))
    return Rate(what, str(world), "at most", ALPHA, share, np.size(happened))


def _hits(what: str, world: object, held: ArrayLike, promised: float) -> Rate:
    return Rate(what, str(world), "at least", promised, float(np.mean(held)), np.size(held))


def seeds_and_photos(world: World, studies: int) -> list[Rate]:
    """The interval, the test and the test of equivalence of a difference, seeds × photos."""
    rng = np.random.default_rng([world.seeds, world.photos])
    found = [world.differences(rng) for _ in range(studies)]
    low, high = np.transpose([one.interval() for one in found])
    margin = 0.5 * float(np.median(high - low))
    at_margin = [SeedValues(one.values + margin, one.photos) for one in found]
    return [
        # 95 % are asked for; the interval is approximate.
        _hits("95 % interval holds the truth", world, (low <= 0) & (high >= 0), 0.935),
        _errors("a difference is found", world, [one.test("two-sided") <= ALPHA for one in found]),
        _errors(
            "a difference as large as the margin is called equivalent",
            world,
            [one.within(margin) <= ALPHA for one in at_margin],
        ),
    ]


def seeds_alone(studies: int) -> Rate:
    """Arms that differ on some photos, equally at every seed: over seeds that is certain."""
    world = World(12, 20, 0.05, 0.3, 0.3)
    rng = np.random.default_rng(10)
    found = (world.differences(rng) for _ in range(studies))
    p = np.array([sign_flip_test(one.seeds) for one in found])
    return _errors("sign-flip test over seeds alone", world, p <= ALPHA)


def pairs_alone(studies: int) -> Rate:
    """Two runs, each with its own effect on all pairs, compared pair by pair."""
    rng = np.random.default_rng(4)
    runs = rng.normal(0, 0.1, (studies, 1, 2)) + rng.normal(0, 0.5, (studies, 200, 2))
    p = stats.wilcoxon(runs[..., 0], runs[..., 1], axis=1).pvalue
    world = "one run an arm, 200 pairs, sd of runs 0.1, of pairs 0.5"
    return _errors("Wilcoxon test over pairs", world, p <= ALPHA)


def holm_over_contrasts(draw: Literal["normal", "laplace", "uniform"], studies: int) -> Rate:
    """Three arms with one baseline: Holm rejects something where its first step does."""
    values = getattr(np.random.default_rng(5), draw)(size=(studies, 4, 7))
    p = sign_flip_test(values[:, 1:] - values[:, :1])
    world = f"3 arms, one baseline, 7 seeds, {draw}"
    return _errors("sign-flip tests with Holm, any", world, p.min(1) <= ALPHA / 3)


def skewed(skewness: float, seeds: int, studies: int) -> Rate:
    """Three sets of differences that are not symmetric about 0: shifted gamma variables."""
    shape = 4 / skewness**2
    values = np.random.default_rng(6).gamma(shape, size=(studies, 3, seeds)) - shape
    p = np.concatenate([sign_flip_test(some) for some in np.array_split(values, 20)])
    world = f"3 arms, {seeds} seeds, skewness {skewness:g}"
    return _errors("sign-flip tests with Holm, any", world, p.min(1) <= ALPHA / 3)


def all_arms(studies: int) -> Rate:
    """The comparison of the report: three arms by the primary outcome."""
    found = []
    for key in range(studies):
        table = compare_arms(study(seeds=7, pairs=20, key=key), draws=50)
        primary = table[table["metric"] == "log10_corner_error"]
        found.append(primary["verdict"].isin(["higher", "lower"]).any())
    return _errors("report: any arm is called better or worse", "7 seeds, 20 pairs", found)


def all_claims(studies: int) -> Rate:
    """The statements about a difference, and their opposites, of the six claims."""
    losses = pd.DataFrame({"arm": np.repeat(ORIGINAL_ARMS, 12), "seed": 4 * [*range(12)]})
    losses["protocol"] = "corrected"
    rng = np.random.default_rng(0)
    found = []
    for key in range(studies):
        losses["final_train_loss"] = 0.06
        losses["final_val_loss"] = 0.08 + rng.normal(0, 0.001, len(losses))
        _, statements = evaluate_claims(study(seeds=12, pairs=20, key=key), losses)
        # At no difference, it is true that an effect is smaller than a margin.
        directed = statements[(statements["kind"] != "equivalent") & (statements["margin"] == 0)]
        found.append(directed["says"].isin(["holds", "opposite holds"]).any())
    return _errors("claims: any statement is decided", "12 seeds, 20 pairs", found)


def next_pair(pairs: int, studies: int) -> Rate:
    """A bound that was calibrated on some pairs, for one more pair of the same kind."""
    true = np.random.default_rng(pairs).lognormal(sigma=1.5, size=(studies, pairs + 1))
    factors = np.array([conformal_factor(row[:-1], np.ones(pairs)) for row in true])
    world = f"calibrated on {pairs} pairs"
    return _hits("90 % bound holds for the next pair", world, true[:, -1] <= factors, 0.9)


def share_interval_by_photo(studies: int) -> Rate:
    """The interval of a measured coverage; the chance of a miss varies from photo to photo."""
    rng = np.random.default_rng(7)
    held = []
    for _ in range(studies):
        chances = rng.beta(4.5, 0.5, size=25).repeat(6)
        low, high = share_interval(rng.uniform(size=150) < chances, np.arange(150) // 6)
        held.append(low <= 0.9 <= high)
    return _hits("95 % interval of a coverage holds 90 %", "25 photos, 6 pairs each", held, 0.935)


def all_rates() -> Iterator[Rate]:
    """The rows of the table."""
    yield pairs_alone(1000)
    yield seeds_alone(1000)
    for world in WORLDS:
        yield from seeds_and_photos(world, 1000)
    for draw in ("normal", "laplace", "uniform"):
        yield holm_over_contrasts(draw, 10_000)
    for skewness in (1.0, 2.0):
        for seeds in (7, 12):
            yield skewed(skewness, seeds, 4000)
    yield all_arms(200)
    yield all_claims(60)
    for pairs in (9, 30, 100):
        yield next_pair(pairs, 20_000)
    yield share_interval_by_photo(2000)


def main() -> None:
    print("| what | simulated | promised | measured | ± | studies | holds |")
    print("| --- | --- | --: | --: | --: | --: | --- |")
    for rate in all_rates():
        promised = f"{rate.side} {100 * rate.promised:.3g} %"
        measured, error = f"{100 * rate.measured:.1f} %", f"{100 * rate.error:.1f}"
        holds = "yes" if rate.holds else "**no**"
        cells = (rate.what, rate.world, promised, measured, error, f"{rate.studies:,}", holds)
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
