"""A benchmark → a table: a row for each pair, descriptor and estimator."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from hydra.utils import instantiate

from homoreg.aggregates import failed, summarize
from homoreg.data.manifest import PairManifest
from homoreg.errors import HomoregError, options_of
from homoreg.evaluation.benchmarks import Benchmark, ManifestBenchmark
from homoreg.evaluation.calibration import Calibration
from homoreg.evaluation.journal import Journal
from homoreg.evaluation.pair import (
    DescribedViews,
    Matcher,
    Method,
    Observation,
    PairDescriptors,
    PairMatches,
    ViewPair,
    describe_pair,
    evaluate_matches,
    match_described,
    match_images,
    observe,
    oracle_matches,
    without_ratio_test,
)
from homoreg.evaluation.systems import System
from homoreg.files import atomic_path, reading, write_json
from homoreg.geometry import Estimator, folds
from homoreg.matching import Detector, RatioMatcher, ShiTomasi, cached_detector
from homoreg.metrics import COLUMNS, ID_COLUMNS, METRICS

log = logging.getLogger(__name__)

# Whole numbers that may be missing: of a baseline, or of a system.
WHOLE = dict.fromkeys(("seed", "keypoints_1", "keypoints_2", "repeatable"), "Int64")
ORACLE = {"descriptor": "oracle", "regularizer": "", "seed": None}


@dataclass(frozen=True)
class EvaluationProtocol:
    """How pairs are evaluated, the same for every descriptor.

    Attributes:
        detector: keypoints of an image, detected once per image. Systems have their own.
        matcher: matches of two sets of descriptors; systems have their own.
        estimators: homographies from the same matches, by name.
    """

    detector: Detector
    matcher: Matcher
    estimators: Mapping[str, Estimator]

    def __post_init__(self) -> None:
        object.__setattr__(self, "detector", cached_detector(self.detector))

    @property
    def main_estimator(self) -> str:
        """The estimator that ranks pairs and is drawn: the first robust one, or the first."""
        return main_estimator(self.estimators)

    @classmethod
    def from_config(cls, cfg: Mapping[str, Any]) -> "EvaluationProtocol":
        """From the groups ``detector``, ``matcher`` and ``estimators`` of a command's config."""
        estimators = {}
        for name, options in (cfg.get("estimators") or {}).items():
            with options_of(f"estimators.{name}"):
                estimators[name] = instantiate(options)
        if not estimators:
            raise HomoregError("estimators=[]: choose at least one, as in estimators=[dlt]")
        return cls(instantiate(cfg["detector"]), instantiate(cfg["matcher"]), estimators)


@dataclass(frozen=True)
class PairEvaluation:
    """What the rows of a descriptor or system on one pair were computed from.

    Attributes:
        model: ``descriptor``, ``regularizer`` and ``seed`` of its rows.
        pair: the views and the truth.
        observation: the keypoints.
        descriptors: of these keypoints; None for a system.
        matches: those that the rows are about.
        protocol: detector, matcher and estimators.
        estimators: those of the protocol with the ratios chosen for this model.
    """

    model: Mapping[str, Any]
    pair: ViewPair
    observation: Observation
    descriptors: PairDescriptors | None
    matches: PairMatches
    protocol: EvaluationProtocol
    estimators: Mapping[str, Estimator]

    @cached_property
    def nearest(self) -> PairMatches:
        """What the matcher keeps without its ratio test."""
        return self.match(without_ratio_test(self.protocol.matcher))

    def match(self, matcher: Matcher) -> PairMatches:
        """Matches of the same descriptors by another matcher; a system has no others."""
        if self.descriptors is None:
            return self.matches
        return match_described(self.descriptors, self.pair, self.observation, matcher)


class Recorder(Protocol):
    """Collects what the table has no column for."""

    def measure(self, evaluation: PairEvaluation) -> Any:
        """What a descriptor contributes on one pair, as plain values and arrays."""
        ...

    def add(self, model: Mapping[str, Any], measured: Any) -> None:
        """Collect what :meth:`measure` returned (arrays may be lists), in the order of the rows."""
        ...


def evaluate_manifest(
    descriptors: Method | Sequence[Method],
    manifest: PairManifest | str | Path,
    protocol: EvaluationProtocol | None = None,
) -> pd.DataFrame:
    """:func:`evaluate_benchmark` on every pair of a manifest, given as such or as a path."""
    return evaluate_benchmark(descriptors, ManifestBenchmark(manifest), protocol)


def evaluate_benchmark(
    descriptors: Method | Sequence[Method],
    benchmark: Benchmark,
    protocol: EvaluationProtocol | None = None,
    recorders: Sequence[Recorder] = (),
    *,
    oracle: bool = False,
    calibration: Calibration | None = None,
    journal: Journal | None = None,
) -> pd.DataFrame:
    """Evaluate descriptors and systems on every pair of a benchmark.

    Each pair is read and detected in once, networks of one window share their patches, and a view
    that the next pairs have as well is described once.

    Args:
        descriptors: one or several, systems included.
        benchmark: the pairs.
        protocol: detector, matcher and estimators; by default Shi-Tomasi corners, mutual nearest
            neighbors with ratio 0.8 and plain DLT.
        recorders: collect what the table has no column for; nothing is described again for them.
        oracle: add rows of the descriptor ``"oracle"``, which finds all true matches of the same
            keypoints: what these and the estimators allow.
        calibration: ratios of the estimators and factors of ``bound_90_px``.
        journal: keeps what each pair contributes, and has what was evaluated before.

    Returns:
        A table of :data:`homoreg.metrics.COLUMNS`. A descriptor's rows do not depend on which
        others are evaluated.

    Raises:
        HomoregError: two descriptors that the table could not tell apart.
    """
    protocol = protocol or EvaluationProtocol(
        ShiTomasi(), RatioMatcher(mutual=True), {"dlt": Estimator()}
    )
    calibration = calibration or Calibration()
    chosen = descriptors if isinstance(descriptors, Sequence) else [descriptors]
    if oracle and ORACLE in map(identity, chosen):
        raise HomoregError("a descriptor is called oracle: rename it, or give oracle=false")
    models = distinct_identities(chosen)
    head = {"benchmark": benchmark.name}
    views = DescribedViews()

    def evaluate_pair(pair: ViewPair) -> dict[str, Any]:
        if folds(pair.homography, pair.size1):
            log.warning(
                "pair %s: the true homography sends a part of view 1 to infinity, so every "
                "estimate's corner error is infinite",
                pair.id,
            )
        rows: list[dict[str, Any]] = []
        measured = []
        for evaluation in pair_evaluations(chosen, pair, protocol, calibration, views):
            observation = evaluation.observation
            if oracle and not rows:
                every = oracle_matches(pair, observation)
                found = evaluate_matches(pair, observation, every, protocol.estimators)
                rows += [ORACLE | head | row for row in found]
            factors = calibration.factors(label(evaluation.model), protocol.estimators)
            found = evaluate_matches(
                pair,
                observation,
                evaluation.matches,
                evaluation.estimators,
                factors,
                evaluation.nearest,
            )
            rows += [{**evaluation.model} | head | row for row in found]
            measured.append([recorder.measure(evaluation) for recorder in recorders])
        return {"rows": rows, "measured": measured}

    about = models, calibration.entries(), oracle, [type(r).__name__ for r in recorders]
    rows: list[dict[str, Any]] = []
    for record in (journal or Journal()).evaluate(benchmark, chosen, evaluate_pair, "rows", *about):
        rows += record["rows"]
        for model, measured in zip(models, record["measured"], strict=True):
            for recorder, values in zip(recorders, measured, strict=True):
                recorder.add(model, values)
    table = make_table(rows)
    warn_of_inverse(table, benchmark.name)
    return table


def distinct_identities(descriptors: Sequence[Method]) -> list[dict[str, Any]]:
    """The id columns of each descriptor; HomoregError for two that are the same."""
    models = [identity(descriptor) for descriptor in descriptors]
    for model in models:
        if models.count(model) > 1:
            raise HomoregError(f"two descriptors are called {label(model)}: give each its own name")
    return models


def pair_evaluations(
    descriptors: Sequence[Method],
    pair: ViewPair,
    protocol: EvaluationProtocol,
    calibration: Calibration,
    views: DescribedViews,
) -> Iterator[PairEvaluation]:
    """The matches of every descriptor and system on one pair, which is detected in once.

    Args:
        descriptors: with different names, systems included.
        pair: the views.
        protocol: detector, matcher and estimators.
        calibration: ratios of the estimators.
        views: what was described before with the same detector.
    """
    observation = observe(pair, protocol.detector)
    for descriptor in descriptors:
        model = identity(descriptor)
        described = None
        if isinstance(descriptor, System):
            matches = match_images(descriptor, pair)
        else:
            described = describe_pair(descriptor, pair, observation, views)
            matches = match_described(described, pair, observation, protocol.matcher)
        estimators = calibration.estimators(label(model), protocol.estimators)
        yield PairEvaluation(model, pair, observation, described, matches, protocol, estimators)


def warn_of_inverse(table: pd.DataFrame, benchmark: str) -> None:
    """Warn in one line if aligning by the true homographies is worse than not aligning at all."""
    pairs = table.drop_duplicates("pair_id")[["rmse_oracle_gray", "rmse_identity_gray"]].dropna()
    oracle, identity = pairs["rmse_oracle_gray"].median(), pairs["rmse_identity_gray"].median()
    if oracle > identity:
        log.warning(
            "benchmark %s: aligned by the true homographies the views differ more (RMSE %.1f gray "
            "levels) than unaligned (%.1f): are these homographies from view 2 to view 1?",
            benchmark,
            oracle,
            identity,
        )


def make_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table of :data:`homoreg.metrics.COLUMNS`.

    Raises:
        HomoregError: a row lacks a registered column or has one that is not registered.
    """
    for row in rows:
        check_columns("a row", row, COLUMNS)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(WHOLE)


def check_columns(what: str, columns: Any, required: Sequence[str]) -> None:
    """HomoregError unless the required columns are there, and no column is unregistered."""
    missing = [name for name in required if name not in columns]
    unknown = [str(name) for name in columns if name not in COLUMNS]
    if missing:
        raise HomoregError(f"{what} lacks {', '.join(missing)} of the registry homoreg/metrics.py")
    if unknown:
        raise HomoregError(f"{what} has {', '.join(unknown)}: register it in homoreg/metrics.py")


def main_estimator(names: Iterable[str]) -> str:
    """The first robust estimator, or the first if there is none.

    >>> main_estimator(["dlt", "magsac", "ransac"]), main_estimator(["dlt"])
    ('magsac', 'dlt')
    """
    return min(names, key=lambda name: name.startswith("dlt"))


def ranked_pairs(table: pd.DataFrame, estimator: str) -> list[str]:
    """Pair ids, best first, by the corner error of one estimator.

    Of several descriptors the worst counts. Ties, such as infinite errors, are broken by the number
    of failures under all estimators, then by the largest finite error.

    >>> rows = [("a", "magsac", 2.0), ("b", "magsac", np.inf), ("c", "magsac", np.inf)]
    >>> rows += [("a", "dlt", 9.0), ("b", "dlt", np.inf), ("c", "dlt", 5.0)]
    >>> table = pd.DataFrame(rows, columns=["pair_id", "estimator", "corner_error_px"])
    >>> ranked_pairs(table, "magsac")
    ['a', 'c', 'b']
    """
    errors = table["corner_error_px"].astype(float)
    keys = pd.DataFrame(
        {
            "pair_id": table["pair_id"],
            "error": errors.where(table["estimator"] == estimator),
            "failures": failed(table),
            "finite": errors.where(np.isfinite(errors)),
        }
    )
    by_pair = keys.groupby("pair_id", sort=False).agg(
        {"error": "max", "failures": "sum", "finite": "max"}
    )
    order = by_pair.sort_values(["error", "failures", "finite"], kind="stable")
    return order.index.tolist()


def identity(descriptor: Method) -> dict[str, Any]:
    """The id columns of a descriptor or system; a trained network has a regularizer and a seed."""
    return {
        "descriptor": descriptor.name,
        "regularizer": getattr(descriptor, "regularizer", ""),
        "seed": getattr(descriptor, "seed", None),
    }


def arm(model: Mapping[str, Any]) -> str:
    """The key of a descriptor's style in figures: its regularizer, or a baseline's name."""
    return str(model["regularizer"] or model["descriptor"])


def label(model: Mapping[str, Any]) -> str:
    """A descriptor's name in figures and tables, such as ``cnn l2 0``.

    >>> label({"descriptor": "rootsift", "regularizer": "", "seed": None})
    'rootsift'
    """
    seed = "" if model["seed"] is None else str(model["seed"])
    return " ".join(part for part in (model["descriptor"], model["regularizer"], seed) if part)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write the rows of an evaluation as CSV, atomically."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def write_summary(
    table: pd.DataFrame,
    folder: Path,
    benchmark: str,
    details: Mapping[str, Sequence[dict[Any, Any]]],
) -> None:
    """Write ``summary.json``: the entries of ``summarize``, and ``details`` by key."""
    summary = {"benchmark": benchmark, "entries": summarize(table), **details}
    write_json(folder / "summary.json", summary)


def read_evaluation(path: str | Path) -> pd.DataFrame:
    """A table as it was written: ids stay text, empty names stay empty, counts are whole.

    A metric that was registered after the table was written is absent.

    Raises:
        HomoregError: the table lacks an id column or the corner error, or has a column that is not
            registered.
    """
    numbers = {"seed", *METRICS}
    with reading(path, "an evaluation's table"):
        table = pd.read_csv(
            path,
            dtype={name: str for name in COLUMNS if name not in numbers} | WHOLE,
            keep_default_na=False,
            na_values={name: ["", "nan"] for name in numbers},
        )
        present = [name for name in METRICS if name in table]
        table[present] = table[present].apply(pd.to_numeric)  # text among numbers is an error
    required = [*ID_COLUMNS, "corner_error_px"]
    check_columns(f"{path} was written by another version of homoreg: it", table.columns, required)
    return table
