"""Choices made on validation pairs: each descriptor's ``max_ratio``, and bounds on corner errors.

A chosen ratio and the bound of its estimator come from different photographs. None of these was
trained on, and no pair is one of a benchmark. The best epoch of a run was chosen on the photographs
for tuning.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from homoreg.aggregates import clipped_log10
from homoreg.data.datamodule import validation_halves, validation_photos
from homoreg.data.manifest import PairManifest
from homoreg.data.prepared import manifest_path
from homoreg.evaluation.benchmarks import Benchmark, ManifestBenchmark, spread_over_photos
from homoreg.evaluation.calibration import COVERAGE, Bound, Calibration, Key
from homoreg.evaluation.journal import Journal
from homoreg.evaluation.pair import (
    DescribedViews,
    Method,
    ViewPair,
    condition_estimate,
    estimate_from,
)
from homoreg.evaluation.table import (
    EvaluationProtocol,
    PairEvaluation,
    distinct_identities,
    label,
    pair_evaluations,
)
from homoreg.geometry import Estimator, conformal_factor, corner_error, corner_error_rms

log = logging.getLogger(__name__)

# Candidates for a max_ratio that is "auto".
RATIOS = tuple(np.round(np.arange(0.5, 0.96, 0.05), 2).tolist())

# What a pair contributes: descriptor, estimator, and a list of what was measured.
Measured = list[tuple[str, str, list[Any]]]


def calibrate_on_validation_photos(
    descriptors: Sequence[Method],
    data: Mapping[str, Any],
    count: int,
    protocol: EvaluationProtocol,
    journal: Journal | None = None,
) -> Calibration:
    """:func:`calibrate` on the pairs of :func:`validation_benchmarks`, empty if there are none."""
    halves = validation_benchmarks(data, count)
    return calibrate(descriptors, *halves, protocol, journal) if halves else Calibration()


def validation_benchmarks(
    data: Mapping[str, Any], count: int
) -> tuple[ManifestBenchmark, ManifestBenchmark] | None:
    """Pairs for tuning and for calibration, of different validation photos.

    Args:
        data: ``root`` of the training pairs, and ``validation_share`` and ``validation_split`` as
            the networks were trained with.
        count: at most so many pairs, half of them for each.

    Returns:
        None, with one line in the log, where there are no such pairs: no training manifest with
        homographies, no validation photos of its own (``validation_split=sample``), or ``count``
        is below 2.
    """
    path = manifest_path(data["root"], "train")
    reason = ""
    if count < 2:
        reason = f"validation_pairs={count}"
    elif data["validation_split"] != "photo":
        reason = "training held out no photos (data.validation_split)"
    elif not path.is_file():
        reason = f"there is no {path}"
    if reason:
        log.info("no ratio is tuned and no bound calibrated: %s", reason)
        return None
    manifest = PairManifest.load(path)
    if any(pair.homography is None for pair in manifest.pairs):
        log.info("no ratio is tuned and no bound calibrated: %s has no homographies", path)
        return None
    photos = {pair.photo for pair in manifest.pairs}
    halves = validation_halves(validation_photos(photos, data["validation_share"]))
    tuning, calibration = (
        _benchmark(manifest, half, count // 2, name)
        for half, name in zip(halves, ("tuning", "calibration"), strict=True)
    )
    return tuning, calibration


def _benchmark(
    manifest: PairManifest, photos: Iterable[str], count: int, name: str
) -> ManifestBenchmark:
    chosen = set(photos)
    pairs = [pair for pair in manifest.pairs if pair.photo in chosen]
    kept = spread_over_photos(pairs, count, "calibration")
    return ManifestBenchmark(PairManifest(manifest.path, kept, manifest.hash), name=name)


def calibrate(
    descriptors: Sequence[Method],
    tuning: Benchmark,
    calibration: Benchmark,
    protocol: EvaluationProtocol,
    journal: Journal | None = None,
) -> Calibration:
    """Choose the ratios of a protocol's estimators, and calibrate bounds on the corner error.

    An estimator with ``max_ratio="auto"`` gets the ratio of :data:`RATIOS` with the lowest mean
    log10 corner error (:func:`~homoreg.aggregates.clipped_log10`), the stricter one if equal. Its
    bound rests on the pairs of ``calibration`` alone, as do all bounds of a best epoch's weights.
    Otherwise nothing is chosen, and bounds rest on all pairs.

    Args:
        descriptors: those to be evaluated, systems included.
        tuning: pairs that choose the ratios.
        calibration: pairs of other photographs.
        protocol: detector, matcher and estimators of the evaluation.
        journal: keeps what each pair contributes, and has what was evaluated before.
    """
    models = distinct_identities(descriptors)
    chosen_epochs = {
        label(model)
        for model, descriptor in zip(models, descriptors, strict=True)
        if (origin := getattr(descriptor, "origin", None)) and origin.file.stem == "best"
    }
    journal = journal or Journal()
    automatic = {
        name
        for name, estimator in protocol.estimators.items()
        if getattr(estimator, "max_ratio", None) == "auto"
    }

    views = DescribedViews()

    def measure(pair: ViewPair, known: Calibration, tuned: Collection[str]) -> Measured:
        found = []
        for evaluation in pair_evaluations(descriptors, pair, protocol, known, views):
            for name, estimator in evaluation.estimators.items():
                values = (_errors if name in tuned else _scores)(evaluation, estimator)
                found.append((label(evaluation.model), name, values))
        return found

    errors: dict[Key, list[list[float]]] = defaultdict(list)
    scores: dict[Key, list[tuple[float, str]]] = defaultdict(list)
    first = partial(measure, known=Calibration(), tuned=automatic)
    for found in journal.evaluate(tuning, descriptors, first, models):
        for descriptor, name, values in found:
            if name in automatic:
                errors[descriptor, name] += values
            elif descriptor not in chosen_epochs:
                scores[descriptor, name] += values
    ratios = {
        key: RATIOS[int(clipped_log10(np.array(rows)).mean(0).argmin())]
        for key, rows in errors.items()
    }
    chosen = Calibration(ratios)
    second = partial(measure, known=chosen, tuned=())
    for found in journal.evaluate(calibration, descriptors, second, models, chosen.entries()):
        for descriptor, name, values in found:
            scores[descriptor, name] += values
    bounds = {}
    for key, values in scores.items():
        factors = [factor for factor, _ in values]
        photos = {photo for _, photo in values}
        factor = conformal_factor(factors, np.ones(len(factors)), COVERAGE)
        bounds[key] = Bound(factor, len(factors), len(photos))
    small = [bound.pairs for bound in bounds.values() if bound.is_small]
    if small:
        log.warning(
            "bounds on the corner error rest on as few as %d validation pairs: prepare more "
            "photographs, or more views of each (warp.repeats)",
            min(small),
        )
    return Calibration(ratios, bounds)


def _errors(evaluation: PairEvaluation, estimator: Any) -> list[list[float]]:
    """One row: the corner error with each of the ratios."""
    pair = evaluation.pair
    candidates = (replace(estimator, max_ratio=ratio) for ratio in RATIOS)
    estimates = (estimate_from(candidate, evaluation.matches) for candidate in candidates)
    return [[corner_error(e.homography, pair.homography, pair.size1) for e in estimates]]


def _scores(evaluation: PairEvaluation, estimator: Estimator) -> list[tuple[float, str]]:
    """True over predicted RMS corner error and the pair's photo; empty without a prediction."""
    pair = evaluation.pair
    estimate = estimate_from(estimator, evaluation.matches)
    numbers = condition_estimate(evaluation.matches, estimate, pair.size1)
    predicted = numbers.predicted_corner_error_px
    if not 0 < predicted < math.inf:
        return []
    true = corner_error_rms(estimate.homography, pair.homography, pair.size1)
    return [(true / predicted, pair.photo)]
