"""``python -m benchmarks.cross_check``: our robust estimates against PoseLib's on the same matches.

PoseLib (``pip install poselib``) has a threshold of its search and a loss of its final bundle
adjustment. The setting with the largest mean AUC over 1, 3, 5 and 10 px and over the descriptors
is chosen on validation pairs. Then it gets the matches of held-out pairs, as does the first robust
estimator of homoreg.evaluate, whose options these are:

    python -m benchmarks.cross_check data.root=ROOT runs=RUN descriptors=[rootsift,untrained]
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

import numpy as np

from benchmarks.held_out import evaluation_of
from homoreg.aggregates import AUC_THRESHOLDS_PX, corner_error_auc, resampled_auc
from homoreg.descriptors.descriptor import Descriptor
from homoreg.evaluation import EvaluationProtocol
from homoreg.evaluation.benchmarks import Benchmark
from homoreg.evaluation.calibration import Calibration
from homoreg.evaluation.pair import DescribedViews, estimate_from
from homoreg.evaluation.table import label, pair_evaluations
from homoreg.evaluation.validation import validation_benchmarks
from homoreg.geometry import Estimate, corner_error
from homoreg.study.statistics import photo_sample

PAIRS = 150  # of either kind, at most
SEARCH_PX = (1.0, 2.0, 3.0)
# Of the final bundle adjustment: the loss and its scale in pixels.
LOSSES = [
    *product(["CAUCHY"], (0.25, 0.5, 1.0)),
    *product(["TRUNCATED"], (0.5, 1.0, 1.5)),
    ("TRIVIAL", 1.0),
]

Estimator = Callable[[np.ndarray, np.ndarray], Estimate]


@dataclass(frozen=True)
class PoseLib:
    """PoseLib's LO-RANSAC and bundle adjustment, as it comes."""

    search_px: float
    loss: str
    loss_px: float

    def __str__(self) -> str:
        return f"search {self.search_px:g} px, {self.loss.lower()} loss of {self.loss_px:g} px"

    def __call__(self, points1: np.ndarray, points2: np.ndarray) -> Estimate:
        none = np.zeros(len(points1), bool)
        if len(points1) < 4:
            return Estimate(None, "too_few_matches", none)
        search = {"max_reproj_error": self.search_px, "success_prob": 0.999}
        homography, _ = importlib.import_module("poselib").estimate_homography(
            points1,
            points2,
            search | {"max_iterations": 10_000},
            {"loss_type": self.loss, "loss_scale": self.loss_px},
        )
        return Estimate(homography, "ok", none)


@dataclass(frozen=True)
class Errors:
    """Corner errors on some pairs.

    Attributes:
        photos: ``(P,)`` of each pair.
        px: ``(P,)`` by descriptor and estimator.
    """

    photos: list[str]
    px: Mapping[tuple[str, Any], list[float]]

    def auc(self, descriptor: str, estimator: Any) -> np.ndarray:
        return np.array(corner_error_auc(self.px[descriptor, estimator], AUC_THRESHOLDS_PX))


def measure(
    descriptors: Sequence[Descriptor],
    benchmarks: Sequence[Benchmark],
    protocol: EvaluationProtocol,
    estimators: Mapping[Any, Estimator],
) -> Errors:
    """Each estimator on the matches of each descriptor."""
    photos: dict[str, str] = {}
    px: dict[tuple[str, Any], list[float]] = {}
    views = DescribedViews()
    for pair in chain(*benchmarks):
        photos[pair.id] = pair.photo
        for evaluation in pair_evaluations(descriptors, pair, protocol, Calibration(), views):
            name = label(evaluation.model)
            for key, estimator in estimators.items():
                found = estimate_from(estimator, evaluation.matches).homography
                error = corner_error(found, pair.homography, pair.size1)
                px.setdefault((name, key), []).append(error)
    return Errors(list(photos.values()), px)


def rows(errors: Errors, estimators: Sequence[Any]) -> Iterator[str]:
    """A line for each descriptor and estimator: its AUCs, and these less the last estimator's.

    Intervals of 95 % by bootstrap over photos.
    """
    counts = photo_sample(errors.photos, draws=1000).counts
    for name in dict.fromkeys(name for name, _ in errors.px):
        for key in estimators:
            aucs = " / ".join(f"{auc:.1f}" for auc in errors.auc(name, key))
            differences = []
            for t in AUC_THRESHOLDS_PX:
                own, last = (
                    resampled_auc(np.array(errors.px[name, one]), counts, t)
                    for one in (key, estimators[-1])
                )
                low, high = np.quantile(own[1:] - last[1:], [0.025, 0.975])
                differences.append(f"{own[0] - last[0]:+.1f} ({low:+.1f} to {high:+.1f})")
            if key == estimators[-1]:
                differences = [""] * len(AUC_THRESHOLDS_PX)
            yield f"| {name} | {key} | {aucs} | " + " | ".join(differences) + " |"


def main(overrides: Sequence[str]) -> None:
    cfg, descriptors, protocol, benchmark = evaluation_of(overrides, PAIRS, "cross-check")
    ours = protocol.main_estimator
    settings = [PoseLib(search, *loss) for search, loss in product(SEARCH_PX, LOSSES)]

    validation = validation_benchmarks(cfg.data, PAIRS)
    if validation is None:
        sys.exit("there are no validation pairs to choose a setting on")
    tuning = measure(descriptors, validation, protocol, {setting: setting for setting in settings})
    names = {name for name, _ in tuning.px}
    best = max(settings, key=lambda own: sum(tuning.auc(name, own).mean() for name in names))

    compared = {ours: protocol.estimators[ours], "PoseLib": best}
    found = measure(descriptors, [benchmark], protocol, compared)
    print(f"PoseLib: {best}, chosen on {len(tuning.photos)} validation pairs")
    print(f"{len(found.photos)} held-out pairs of {len(set(found.photos))} photographs")
    heads = ["matches of", "estimator", "AUC", *(f"at {t} px" for t in AUC_THRESHOLDS_PX)]
    print("| " + " | ".join(heads) + " |")
    print("| --- " * len(heads) + "|")
    for row in rows(found, [*compared]):
        print(row)


if __name__ == "__main__":
    main(sys.argv[1:])
