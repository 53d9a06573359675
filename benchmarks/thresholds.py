"""``python -m benchmarks.thresholds``: the table behind the thresholds in ``conf/estimators``.

Matches of several descriptors on validation pairs go through MAGSAC and RANSAC at a grid of
thresholds of the search and of the final least squares, and through PoseLib (where installed) with
and without that refit. The AUC is the mean over descriptors and matchers; the threshold to take is
the one with the largest mean over 1, 3, 5 and 10 px.

    python -m homoreg.prepare source=folder source.root=PHOTOS warp.repeats=4 data.root=ROOT
    python -m benchmarks.thresholds ROOT/pairs_train.json --option descriptors.tfeat.weights=FILE
"""

import argparse
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from hydra.utils import instantiate

from homoreg.aggregates import corner_error_auc
from homoreg.cli import compose
from homoreg.data.images import read_image
from homoreg.data.manifest import PairManifest
from homoreg.geometry import Estimator, corner_error
from homoreg.matching import RatioMatcher, ShiTomasi
from homoreg.progress import progress

SEARCH_PX = REFIT_PX = (1.0, 1.5, 2.0, 3.0)
AUC_PX = (1, 3, 5, 10)


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
    descriptors = {name: instantiate(options) for name, options in cfg.descriptors.items()}
    matchers = {"ratio": RatioMatcher(0.8), "mutual": RatioMatcher(0.8, mutual=True)}
    detector = ShiTomasi()
    for manifest in manifests:
        for pair in progress(PairManifest.load(manifest).pairs, f"matching {manifest}"):
            image1, image2 = read_image(pair.img1), read_image(pair.img2)
            keypoints1, keypoints2 = detector(image1), detector(image2)
            for name, descriptor in descriptors.items():
                view1 = descriptor.describe(image1, keypoints1)
                view2 = descriptor.describe(image2, keypoints2)
                for kind, matcher in matchers.items():
                    rows1, rows2 = matcher(view1, view2, descriptor.metric).indices.T
                    yield Matched(
                        f"{name}, {kind}",
                        keypoints1[rows1],
                        keypoints2[rows2],
                        np.asarray(pair.homography),
                        (image1.shape[1], image1.shape[0]),
                    )


def estimators() -> dict[tuple[str, float, float], Estimator]:
    """By method, threshold of the search and threshold of the refit."""
    methods = ["magsac", "ransac"] + ["poselib"] * bool(importlib.util.find_spec("poselib"))
    return {
        (method, search, refit): Estimator(method, threshold_px=search, refit_px=refit)
        for method in methods
        for search in SEARCH_PX
        for refit in REFIT_PX
    }


def poselib_alone(matched: Matched, threshold_px: float) -> float:
    """The corner error of PoseLib's own solution, which is not refitted."""
    poselib = importlib.import_module("poselib")
    if len(matched.points1) < 4:
        return float("inf")
    options = {"max_reproj_error": threshold_px, "success_prob": 0.999, "max_iterations": 10_000}
    found, _ = poselib.estimate_homography(matched.points1, matched.points2, options, {})
    return corner_error(found, matched.homography, matched.size1)


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
    if importlib.util.find_spec("poselib"):
        for search in (0.5, *SEARCH_PX):
            setting = "poselib alone", search, np.nan
            errors[setting] = [poselib_alone(m, search) for m in matches]
    rows = []
    for (method, search, refit), values in errors.items():
        for source in np.unique(sources):
            aucs = corner_error_auc(np.array(values)[sources == source], AUC_PX)
            rows.append(
                {"source": source, "method": method, "search_px": search, "refit_px": refit}
                | {f"auc_{t}px": auc for t, auc in zip(AUC_PX, aucs, strict=True)}
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
    mean = table.drop(columns="source").groupby(settings, dropna=False).mean()
    mean["mean"] = mean.mean(axis=1)
    print(mean.sort_values("mean", ascending=False).round(1).to_string())


if __name__ == "__main__":
    main()
