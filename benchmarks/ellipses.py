"""``python -m benchmarks.ellipses``: how many corners lie inside the ellipses that figures draw.

Takes the folder of an evaluation, for its calibration, and the options that it was made with:

    python -m benchmarks.ellipses FOLDER data.root=ROOT runs=RUN descriptors=[rootsift]
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import f as f_distribution

from benchmarks.held_out import evaluation_of
from homoreg.evaluation.calibration import Calibration
from homoreg.evaluation.pair import DescribedViews, condition_estimate, estimate_from
from homoreg.evaluation.table import label, pair_evaluations
from homoreg.geometry import corners_of, transform_points

PAIRS = 150  # at most


def inside(
    offsets_px: np.ndarray, covariances: np.ndarray, match_count: int, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which corners lie inside the 95 % ellipse of the noise, and inside the calibrated one.

    Args:
        offsets_px: ``(4, 2)`` from the true corners to the estimated ones.
        covariances: ``(4, 2, 2)`` px², finite.
        match_count: number of matches of the solve, above 4.
        factor: of the calibrated bound; NaN without a calibration, where no corner is inside.
    """
    distances2 = np.einsum("ni,nij,nj->n", offsets_px, np.linalg.inv(covariances), offsets_px)
    limit = f_distribution.ppf(0.95, 2, 2 * match_count - 8)
    return distances2 <= 2 * limit, distances2 <= 2 * factor**2


def main(folder: Path, overrides: Sequence[str]) -> None:
    _, descriptors, protocol, benchmark = evaluation_of(overrides, PAIRS, "ellipses")
    calibration = Calibration.read(folder / "evaluation" / "calibration.json")

    found = defaultdict(list)
    views = DescribedViews()
    for pair in benchmark:
        corners = corners_of(pair.size1)
        truth = transform_points(corners, pair.homography)
        for evaluation in pair_evaluations(descriptors, pair, protocol, calibration, views):
            name = label(evaluation.model)
            factors = calibration.factors(name, evaluation.estimators)
            for key, estimator in evaluation.estimators.items():
                estimate = estimate_from(estimator, evaluation.matches)
                numbers = condition_estimate(evaluation.matches, estimate, pair.size1)
                # Undefined without an estimate, for four matches, and for one that folds the view.
                if np.isfinite(numbers.corner_covariances).all():
                    offsets = transform_points(corners, estimate.homography) - truth
                    count = int(estimate.inliers.sum())
                    covariances = numbers.corner_covariances
                    found[name, key].append(inside(offsets, covariances, count, factors[key]))

    photos = {pair.photo for pair in benchmark.pairs}
    print(f"{len(benchmark)} held-out pairs of {len(photos)} photographs")
    print("| descriptor | estimator | estimates | in the 95 % ellipse of the noise | calibrated |")
    print("| --- | --- | --: | --: | --: |")
    for (name, key), rows in found.items():
        by_noise, calibrated = 100 * np.mean(rows, axis=(0, 2))
        print(f"| {name} | {key} | {len(rows)} | {by_noise:.1f} % | {calibrated:.1f} % |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
