"""A robust estimator's own spread, for one that is known and for those of OpenCV."""

import math
from pathlib import Path

import numpy as np
import pytest
from tests.baselines import RootSift

from homoreg.evaluation import EvaluationProtocol, ManifestBenchmark, evaluate_benchmark
from homoreg.evaluation.reruns import Reruns
from homoreg.geometry import Estimate, Estimator
from homoreg.matching import RatioMatcher, ShiTomasi


class Wobbling(Estimator):
    """Moves everything by 3 px to the right or to the left, as the seed is even or odd."""

    def __call__(self, points1: np.ndarray, points2: np.ndarray) -> Estimate:
        homography = np.eye(3)
        homography[0, 2] = 3 if self.seed % 2 == 0 else -3
        return Estimate(homography, "ok", np.ones(len(points1), bool))


class Failing(Estimator):
    """Finds a homography under its own seed only."""

    def __call__(self, points1: np.ndarray, points2: np.ndarray) -> Estimate:
        found = np.eye(3) if self.seed == 0 else None
        return Estimate(found, "ok", np.zeros(len(points1), bool))


def spreads(prepared: Path, count: int, **estimators: Estimator) -> dict[str, dict]:
    reruns = Reruns(count)
    protocol = EvaluationProtocol(ShiTomasi(), RatioMatcher(), estimators)
    benchmark = ManifestBenchmark(prepared / "pairs_eval.json", limit=2)
    evaluate_benchmark(RootSift(support=32), benchmark, protocol, [reruns])
    return {entry["estimator"]: entry for entry in reruns.entries()}


def test_a_known_spread_is_found(prepared: Path) -> None:
    found = spreads(prepared, 3, wobbling=Wobbling("ransac"), failing=Failing("ransac"))
    entry = found["wobbling"]
    assert (entry["descriptor"], entry["pairs"], entry["seeds"]) == ("rootsift", 2, 4)
    # Sample variance of (3, -3, 3, -3): 36/3.
    assert entry["corner_spread_px"]["median"] == pytest.approx(math.sqrt(12))
    assert entry["failed_share"] == 0
    assert found["failing"]["corner_spread_px"]["median"] == np.inf
    assert found["failing"]["failed_share"] == 3 / 4


def test_only_what_draws_at_random_is_run_again(prepared: Path) -> None:
    found = spreads(prepared, 2, dlt=Estimator(), raw=Estimator("dlt_raw"), r=Estimator("magsac"))
    assert list(found) == ["r"]
    assert 0 <= found["r"]["corner_spread_px"]["median"] < 5
    assert spreads(prepared, 0, r=Estimator("magsac")) == {}
