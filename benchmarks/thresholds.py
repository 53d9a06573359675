"""``python -m benchmarks.thresholds``: the table behind the thresholds in ``conf/estimators``.

Matches of several descriptors on validation pairs go through MAGSAC and RANSAC at a grid of
thresholds of the search and of the final least squares, and through PoseLib, where installed, with
the same refit. The AUC is the mean over descriptors and matchers; the threshold to take is
the one with the largest mean over 1, 3, 5 and 10 px.

    python -m homoreg.prepare source=folder source.root=PHOTOS warp.repeats=4 data.root=ROOT
    python -m benchmarks.thresholds ROOT/pairs_train.json --option descriptors.tfeat.weights=FILE
"""

import argparse
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from homoreg.aggregates import AUC_THRESHOLDS_PX, corner_error_auc
from homoreg.cli import compose
from homoreg.evaluate import build_baselines
from homoreg.evaluation import ManifestBenchmark
from homoreg.evaluation.pair import describe_pair, match_described, observe
from homoreg.geometry import Estimator, corner_error
from homoreg.matching import RatioMatcher, ShiTomasi
from homoreg.progress import progress

SEARCH_PX = REFIT_PX = (1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class Matched:
    """The matches of one pair by one descriptor and matcher, and the truth."""

    source: str
    points1: np.ndarray
    points2: np.ndarray
    homography: np.ndarray
    size1: tuple[int, int]


def match_all(manifests: list[Path], overrides: list[str]) -> Iterator[Matched]:
    """Matches at a ratio of 0.8, with and without the mutual check, of every descriptor."""
    cfg = compose("evaluate", ["descriptors=[rootsift,untrained,tfeat]", *overrides])
    descriptors = build_baselines(cfg)
    matchers = {"ratio": RatioMatcher(0.8), "mutual": RatioMatcher(0.8, mutual=True)}
    for manifest in manifests:
        for pair in progress(ManifestBenchmark(manifest), f"matching {manifest}"):
            observation = observe(pair, ShiTomasi())
            for descriptor in descriptors:
                described = describe_pair(descriptor, pair, observation)
                for kind, matcher in matchers.items():
                    found = match_described(described, pair, observation, matcher)
                    source = f"{descriptor.name}, {kind}"
                    truth = pair.homography, pair.size1
                    yield Matched(source, found.points1, found.points2, *truth)


def estimators() -> dict[tuple[str, float, float], Estimator]:
    """By method, threshold of the search and threshold of the refit."""
    methods = ["magsac", "ransac"] + ["poselib"] * bool(importlib.util.find_spec("poselib"))
    return {
        (method, search, refit): Estimator(method, threshold_px=search, refit_px=refit)
        for method in methods
        for search in SEARCH_PX
        for refit in REFIT_PX
    }


def measure(matches: list[Matched]) -> pd.DataFrame:
    """One row for each source of matches and setting, with its AUCs in percent."""
    sources = np.array([matched.source for matched in matches])
    errors = {
        setting: [
            corner_error(estimate(m.points1, m.points2).homography, m.homography, m.size1)
            for m in progress(matches, " ".join(map(str, setting)))
        ]
        for setting, estimate in estimators().items()
    }
    rows = []
    for (method, search, refit), values in errors.items():
        for source in np.unique(sources):
            aucs = corner_error_auc(np.array(values)[sources == source], AUC_THRESHOLDS_PX)
            rows.append(
                {"source": source, "method": method, "search_px": search, "refit_px": refit}
                | {f"auc_{t}px": auc for t, auc in zip(AUC_THRESHOLDS_PX, aucs, strict=True)}
            )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.thresholds",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("manifests", nargs="+", type=Path, help="validation pairs")
    parser.add_argument("--out", type=Path, help="CSV with a row for each source and setting")
    parser.add_argument("--option", action="append", default=[], help="option of homoreg.evaluate")
    asked = parser.parse_args()
    table = measure(list(match_all(asked.manifests, asked.option)))
    if asked.out:
        table.to_csv(asked.out, index=False)
    settings = ["method", "search_px", "refit_px"]
    mean = table.drop(columns="source").groupby(settings).mean()
    mean["mean"] = mean.mean(axis=1)
    print(mean.sort_values("mean", ascending=False).round(1).to_string())


if __name__ == "__main__":
    main()
